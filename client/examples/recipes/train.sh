#!/usr/bin/env bash
# Any program, from a shell: start it with the rate in force, report the loss that it printed.
#
#     client/examples/recipes/train.sh [JOB]
#
# The daemon is at GREEDYLR_URL, or at http://127.0.0.1:8571; greedylr is in PATH.  The same job again gets the
# recorded decisions.
set -euo pipefail
job=${1:-recipe-bash}
weight=0

# epoch LR: an epoch of a program of yours, here awk that fits one weight; sets loss
epoch() {
    weight=$(awk -v w="$weight" -v lr="$1" 'BEGIN { for (x = -2; x <= 2; x++) w -= lr * 2 * (w - 3) * x * x; print w }')
    loss=$(awk -v w="$weight" 'BEGIN { print 2 * (w - 3) ^ 2 }')
}

greedylr create "$job" --lr 0.003 --greedy.patience 2 >/dev/null
for step in {1..10}; do
    lr=$(greedylr lr "$job")
    epoch "$lr"
    greedylr report "$job" --step "$step" --loss "$loss" --applied-lr "$lr" | tail -1
done
