#!/usr/bin/env bash
# Runs the checks and counts them; `make check` calls it with "all", `make check-fast` with "fast", and
# `make check-all` with "more": all, and then what takes too long for every change.
# Each stage's output goes to build/check/STAGE.log and is shown if the stage fails.
set -uo pipefail
cd "$(dirname "$0")/.."
mode=${1:-all}
logs=build/check
python=${PYTHON:-/usr/bin/python3}
passed=0 failed=0 skipped=0 failures=
mkdir -p $logs
export MAKEFLAGS= MFLAGS= PYTHONDONTWRITEBYTECODE=1
jobs=-j$(nproc)

# count LOG: adds what Criterion, unittest, node and the model check say in their summaries; false if there is none.
count() {
    local p f s
    if p=$(sed -n 's/.*Passing: *\([0-9]*\).*/\1/p' "$1" | tail -1) && [ -n "$p" ]; then
        f=$(sed -n 's/.*Failing: *\([0-9]*\).*Crashing: *\([0-9]*\).*/\1 + \2/p' "$1" | tail -1)
        f=$((f)) s=0
    elif p=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in.*/\1/p' "$1" | tail -1) && [ -n "$p" ]; then
        f=$(grep -cE '^(FAIL|ERROR): ' "$1")
        s=$(sed -n 's/.*skipped=\([0-9]*\).*/\1/p' "$1" | tail -1)
        s=${s:-0} p=$((p - s > f ? p - s - f : 0))
    elif p=$(node_says pass "$1") && [ -n "$p" ]; then
        f=$(node_says fail "$1") s=$(node_says skipped "$1")
        f=$((f + $(node_says cancelled "$1")))
    elif p=$(sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p' "$1" | tail -1) && [ -n "$p" ]; then
        f=$(sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p' "$1" | tail -1) s=0
    else
        return 1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    outcome="$p passed, $f failed$([ "$s" = 0 ] || echo ", $s skipped")"
}

node_says() { # WORD LOG
    sed -n "s/^[^a-z ]* $1 \([0-9]*\)\$/\1/p" "$2" | tail -1
}

# stage NAME COMMAND...: counts as one check, or as the tests it ran
stage() {
    local name=$1 start=$SECONDS rc outcome=''
    shift
    printf '%-28s' "$name"
    "$@" >"$logs/$name.log" 2>&1
    rc=$?
    if count "$logs/$name.log"; then
        if [ $rc != 0 ] && [[ "$outcome" == *" 0 failed"* ]]; then failed=$((failed + 1)); fi
    elif [ $rc = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
    if [ $rc = 0 ]; then
        echo "ok      $((SECONDS - start)) s  $outcome"
        grep -hE 'skipped .|seed' "$logs/$name.log" | grep -oE "(test[A-Za-z0-9_]* .*skipped .*|.*seed.*)" | sed 's/^/    /' | sort -u | head -20
    else
        echo "FAILED  $((SECONDS - start)) s  $outcome"
        tail -n 60 "$logs/$name.log" | sed 's/^/    /'
        failures+=$(grep -hE '^(FAIL|ERROR): |^\[FAIL\]|^ *not ok|error:' "$logs/$name.log" | head -20 | sed "s/^/    $name: /")
        failures+=$'\n'"    $name: failed"$'\n'
    fi
    return $rc
}

tests() { # DIRECTORY BUILD [PATTERN]...
    BUILD=$2 "$python" tests/parallel.py "$1" "${@:3}"
}

interop() { # BUILD
    make interop-client && BUILD=$1 node --test --test-reporter=spec tests/interop/all.test.js
}

browser() { # BUILD
    BUILD=$1 node --test --test-reporter=spec tests/browser/all.test.js
}

unit_plain() { # BUILD ARGUMENTS...: in two halves, side by side
    local unit=$1/unit-plain half rc=0
    shift
    for half in 1 2; do "$unit" --part $half/2 "$@" >"$logs/unit-half$half.log" 2>&1 & done
    wait -n || rc=1
    wait -n || rc=1
    cat "$logs"/unit-half[12].log
    awk '/^[0-9]+ passed, [0-9]+ failed$/ { n++; p += $1; f += $3 } END { if (n == 2) print p " passed, " f " failed" }' \
        "$logs"/unit-half[12].log
    return $rc
}

# What more than one thread takes part in; the store's own tests have one thread, and the long ones are left out.
unit_tsan() { # BUILD
    unit_plain "$1" --filter 'server*/*' --filter 'store*/*' --not '*every*' --not '*fold*' --not '*garbage*' \
        --not '*failing*' --not '*full_disk*' --not '*retries*'
}

slow_under_asan='test_backlog.py test_cli_doctor.py test_cli_memory.py test_cli_top.py test_compare.py test_docs.py test_man.py
    test_monitoring.py test_nmf.py test_python_ddp.py test_python_torch.py test_readme.py test_recipes.py test_train.py test_training.py'
gcc=build/gcc clang=build/clang asan=build/asan tsan=build/tsan
if [ "$mode" = fast ]; then
    stage include-directions tests/check-includes.sh
    stage build make $jobs all build/unit WERROR=1
    stage unit build/unit --timeout 120
    SKIP=test_recipes.py stage integration-basic tests tests/integration build 'test_[or]*.py'
else
    stage format make format-check
    stage include-directions tests/check-includes.sh
    stage cppcheck make cppcheck
    stage proto-lint make lint
    stage proto-breaking make breaking
    stage build-gcc make $jobs BUILD=$gcc WERROR=1 all $gcc/unit $gcc/model $gcc/power $gcc/clib_driver $gcc/cost headers
    stage build-clang make $jobs BUILD=$clang CC=clang WERROR=1 all $clang/unit $clang/model $clang/power $clang/clib_driver headers
    stage build-asan-ubsan make $jobs BUILD=$asan SANITIZE=address,undefined CFLAGS='-O1 -g' WERROR=1 all $asan/unit-plain $asan/model $asan/power $asan/clib_driver
    stage unit $gcc/unit --timeout 120
    stage instructions make BUILD=$gcc instructions
    stage unit-clang $clang/unit --timeout 120
    stage build-tsan make $jobs BUILD=$tsan SANITIZE=thread CFLAGS='-O1 -g' WERROR=1 $tsan/greedylrd $tsan/unit-plain
    stage unit-asan-ubsan unit_plain $asan
    stage unit-tsan unit_tsan $tsan
    stage fuzz make fuzz FUZZ_SECONDS="${FUZZ_SECONDS:-5}"
    stage model $gcc/model --count "${SCHEDULES:-3000}"
    stage model-asan-ubsan $asan/model --count "${ASAN_SCHEDULES:-200}"
    stage power-loss $gcc/power --count "${CRASHES:-2000}"
    stage store-faults $gcc/power --faults
    stage store-faults-asan-ubsan $asan/power --faults
    stage power-loss-asan-ubsan $asan/power --count "${ASAN_CRASHES:-100}"
    stage integration tests tests/integration $gcc
    stage crash-kill9 tests tests/crash $gcc
    stage interop interop $gcc
    stage browser browser $gcc
    # Without those in which PyTorch takes the time, or 50,000 reports, and those of the pages.
    SKIP=$slow_under_asan stage integration-asan-ubsan tests tests/integration $asan
    stage interop-asan-ubsan interop $asan
    stage integration-tsan tests tests/integration $tsan test_in_flight.py test_rounds.py test_service.py test_watch.py
    KILLS=${ASAN_KILLS:-20} stage crash-kill9-asan-ubsan tests tests/crash $asan
fi
if [ "$mode" = more ]; then
    # The integration tests left out above.
    stage integration-asan-slow tests tests/integration $asan $slow_under_asan
    stage packages make deb
    stage deploy tests tests/deploy build
fi
[ -z "$failures" ] || printf 'what failed:\n%s' "$failures"
[ "$skipped" = 0 ] || echo "$skipped skipped, named above"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
