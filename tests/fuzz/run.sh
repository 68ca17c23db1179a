#!/usr/bin/env bash
# Runs fuzz targets, two at a time: run.sh [TARGET...], all of them by default, FUZZ_SECONDS each (10).  Each starts
# from tests/fuzz/corpus/TARGET and goes on in FUZZ_CORPUS/TARGET (build/fuzz/corpus), where what it learns is kept for
# the next run.  SEED makes a run of one target repeatable.  Findings are kept in FUZZ_BUILD/findings.
# Prints a line for each target and "N passed, M failed".
set -uo pipefail
cd "$(dirname "$0")/../.."
build=${FUZZ_BUILD:-build/fuzz} seconds=${FUZZ_SECONDS:-10} jobs=${FUZZ_JOBS:-2}
corpus=${FUZZ_CORPUS:-$build/corpus} findings=$build/findings logs=$build/logs
mkdir -p "$findings" "$logs"
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for file in tests/fuzz/fuzz_*.c tests/fuzz/client_*.c; do targets+=("$(basename "$file" .c)"); done
fi

one() { # TARGET
    local seeds=tests/fuzz/corpus/$1 log=$logs/$1.log seed=${SEED:-$((RANDOM << 15 | RANDOM | 1))} dictionary=()
    mkdir -p "$corpus/$1"
    case $1 in
    fuzz_json | fuzz_spec | fuzz_dict | client_*) dictionary=(-dict=tests/fuzz/json.dict) ;;
    fuzz_rest | fuzz_connect | fuzz_guard) dictionary=(-dict=tests/fuzz/http.dict) ;;
    esac
    "$build/$1" -seed="$seed" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
        -artifact_prefix="$findings/$1-" -print_final_stats=1 -close_fd_mask=1 "${dictionary[@]}" \
        "$corpus/$1" $([ ! -d "$seeds" ] || echo "$seeds") >"$log" 2>&1
    local rc=$? executions coverage
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -1)
    if [ $rc = 0 ]; then
        echo "$1: ok, ${executions:-0} executions, ${coverage:-no coverage}, seed $seed"
        return 0
    fi
    echo "$1: FAILED ($rc), seed $seed, $(grep -oE 'Test unit written to .*' "$log" | tail -1)"
    grep -vE '^#|^INFO' "$log" | grep -E 'ERROR|SUMMARY|runtime error|^tests/fuzz' | head -5
    return 1
}

export -f one
export build seconds corpus findings logs
out=$logs/all.txt
printf '%s\n' "${targets[@]}" | nice xargs -P "$jobs" -I{} bash -c 'one {} && echo "passed {}" || echo "failed {}"' >"$out" 2>&1
grep -vE '^(passed|failed) ' "$out" | sort
passed=$(grep -c '^passed ' "$out") failed=$(grep -c '^failed ' "$out")
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" = ${#targets[@]} ]
