#!/usr/bin/env bash
# Shows greedylrd at work: a real training run takes its rates from it, and the daemon is killed in the middle.
# Usage: demo.sh [BUILD]; `make demo` installs what is missing, builds, and calls it.  Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build}
python=${PYTHON:-/usr/bin/python3}
# Ten times below 0.1, which is about the best constant rate here.  A rate chosen too small is where GreedyLR helps
# most: it can raise it.  Started at 0.1 the two runs end alike.
rate=0.01
epochs=60
kill_at=25

work=$(mktemp -d)
daemon='' trainer=''
cleanup() {
    trap - EXIT INT TERM
    [ -z "$trainer" ] || kill "$trainer" 2>/dev/null || true
    [ -z "$daemon" ] || kill -9 "$daemon" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start ADDRESS: sets daemon and url once the daemon is ready
start() {
    : >"$work/ready"
    "$build/greedylrd" --listen "$1" --data-dir "$work/data" --log-level warning >"$work/ready" &
    daemon=$!
    until url=$(sed -n 's/^greedylrd listening on //p' "$work/ready") && [ -n "$url" ]; do
        kill -0 "$daemon" 2>/dev/null || { echo "demo: the daemon did not start" >&2; exit 1; }
        sleep 0.02
    done
}

try() {
    local url=$1 body=${2:-}
    printf "\n$ curl -s '%s'" "$url"
    [ -z "$body" ] || printf " -d '%s'" "$body"
    echo
    curl -sS "$url" ${body:+-d "$body"}
}

start 127.0.0.1:0
echo "== greedylrd is at $url, its data in $work/data"
echo
echo "== A training run with GreedyLR, initial rate $rate: too small on purpose"
"$python" client/examples/train_digits.py --url "$url" --lr $rate --epochs $epochs --json-out "$work/greedy.json" \
    >"$work/table" &
trainer=$!
tail -n +1 -f --pid=$trainer "$work/table" &
tail=$!
until grep -q "^ *$kill_at " "$work/table"; do
    kill -0 $trainer 2>/dev/null || { echo "demo: the training run ended early" >&2; exit 1; }
    sleep 0.01
done
kill -9 "$daemon"
wait "$daemon" 2>/dev/null || true
echo "      ---- greedylrd killed with -9; the run knocks until it is back ----"
sleep 0.5
start "${url#http://}"
wait $trainer
trainer=''
wait $tail

echo
echo "== The same run with a constant rate"
"$python" client/examples/train_digits.py --constant --lr $rate --epochs $epochs --json-out "$work/constant.json" |
    sed -n '1p;$p'

echo
echo "== Did the kill -9 change anything?"
"$python" - "$url" "$work" <<'PYTHON'
import json, sys, urllib.request
url, work = sys.argv[1:]
greedy, constant = (json.load(open(f"{work}/{name}.json")) for name in ("greedy", "constant"))
recorded = json.load(urllib.request.urlopen(f"{url}/v1/jobs/digits/decisions?page_size=1000"))["decisions"]
spec = json.load(urllib.request.urlopen(f"{url}/v1/jobs/digits"))["spec"]
body = {"spec": spec, "losses": [row["loss"] for row in greedy["rows"]]}
simulated = json.load(urllib.request.urlopen(f"{url}/v1/simulate", json.dumps(body).encode()))["decisions"]
same = [d["lrs"] for d in recorded] == [d["lrs"] for d in simulated]
steps = [d["step"] for d in recorded] == [row["epoch"] for row in greedy["rows"]]
if not same or not steps:
    sys.exit("demo: the history is not what an uninterrupted run decides")
print(f"No: {len(recorded)} epochs, {len(recorded)} decisions, each the same as without it, to the last bit.")
print()
print("== Result")
print(f"{'':14}{'validation loss':>16}{'accuracy':>10}")
for name, run in (("GreedyLR", greedy), ("constant rate", constant)):
    print(f"{name:14}{run['loss']:16.4f}{100 * run['accuracy']:8.1f} %")
PYTHON

echo
echo "== Three things to ask it"
try "$url/v1/jobs/digits/lr"
try "$url/v1/jobs/digits/decisions?from_step=$((epochs - 1))&format=csv"
try "$url/v1/jobs/yours:report" '{"step": 1, "loss": 2.31, "lr": 0.1}'
echo
echo "This daemon ends now.  To keep one:  $build/greedylrd --data-dir ~/greedylrd   (http://127.0.0.1:8571)"
kill -TERM "$daemon"
wait "$daemon"
daemon=''
