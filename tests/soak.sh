#!/usr/bin/env bash
# The long figures, in slices: `make soak`, with MINUTES (60) for the whole, PART=name,... to choose, SEED=n.
#
# build/soak/PART.state counts what was done over all runs; the next run goes on from there with new seeds, and
# leaves out what is done unless PART names it.  A part takes slices of COUNT units in turn with the others, each
# with a SEED of its own; one that fails, or that takes longer than its limit, is a violation: its output and how to
# repeat it are shown, and the part stops.  A slice that the end of MINUTES cuts off does not count.
# `rm -r build/soak` starts afresh.  Ends with a line for each part; exit status 1 after any violation.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
export BUILD=${BUILD:-build} PYTHONDONTWRITEBYTECODE=1 MAKEFLAGS='' MFLAGS=''
export PYTHON=${PYTHON:-/usr/bin/python3}
soak=$BUILD/soak
end=$((SECONDS + ${MINUTES:-60} * 60))
names=() violated=0
declare -A goal unit slice limit needs command what

# part NAME GOAL UNIT SLICE LIMIT NEEDS COMMAND WHAT
#   GOAL units are the figure to reach, a slice of SLICE of them may take LIMIT seconds; NEEDS is what make has to
#   build; COMMAND finds COUNT and SEED in its environment and fails at any violation.
part() {
    names+=("$1")
    goal[$1]=$2 unit[$1]=$3 slice[$1]=$4 limit[$1]=$5 needs[$1]=$6 command[$1]=$7 what[$1]=$8
}

part kill9 10000 kills 500 600 "$BUILD/greedylrd" \
    'KILLS=$COUNT $PYTHON tests/crash/test_kill9.py' \
    'kill -9 under load, then compared with a model: nothing acknowledged lost, nothing decided twice'
part model 100000 schedules 2000 600 "$BUILD/model" \
    '$BUILD/model --first $SEED --count $COUNT' \
    'random schedules of ranks, rewinds, failed commits and crashes, compared with a model'
part power 100000 states 5000 900 "$BUILD/power" \
    '$BUILD/power --first $SEED --count $COUNT' \
    'power losses: unsynced writes lost, kept or torn; everything acknowledged is there, nothing by half'
part store-faults 20 stories 1 900 "$BUILD/power" \
    '$BUILD/power --faults --every --first $SEED' \
    'every I/O call of a story failing, once and for ever (EIO, ENOSPC, EDQUOT, short): no false answer, nothing lost'
part disk 1000 cycles 50 600 "$BUILD/greedylrd" \
    'cd tests/integration && CYCLES=$COUNT $PYTHON -m unittest -v test_faults.FullDisk.test_filled_and_freed' \
    'a disk filled and freed: writes resume by themselves, nothing acknowledged lost'

part fuzz 3600 'seconds each' 60 1200 fuzz-build \
    'make fuzz FUZZ_SECONDS=$COUNT SEED=$SEED' \
    'every fuzz target of tests/fuzz, going on from what it learned: no crash, no hang, no property broken'
part allocations 1 run 1 1200 "$BUILD/greedylrd $BUILD/faults.so" \
    'cd tests/integration && STRIDE=1 SEED=$SEED $PYTHON -m unittest -v test_allocations' \
    'each allocation of each request failing, alone and with all behind it: no false 200, no crash, nothing lost'
part asan 1 run 1 3600 "$BUILD/greedylrd" \
    'set -e; make -s BUILD=build/asan SANITIZE=address,undefined CFLAGS="-O1 -g" all build/asan/unit-plain build/asan/clib_driver
     build/asan/unit-plain; BUILD=build/asan $PYTHON tests/parallel.py tests/integration' \
    'every unit and integration test under AddressSanitizer and UndefinedBehaviorSanitizer: no error, no leak'
part tsan 1 run 1 7200 "$BUILD/greedylrd" \
    'set -e; make -s BUILD=build/tsan SANITIZE=thread CFLAGS="-O1 -g" all build/tsan/unit-plain build/tsan/clib_driver
     build/tsan/unit-plain; BUILD=build/tsan $PYTHON tests/parallel.py tests/integration' \
    'every unit and integration test under ThreadSanitizer: no race'

part hostile 3600 seconds 3600 4500 "$BUILD/greedylrd" \
    'cd tests/integration && SECONDS=$COUNT SEED=$SEED $PYTHON -m unittest -v test_hostile.Hostile' \
    'hostile peers of every kind among honest ones: all of those served, memory within 1 % over the second half'
part connections 1024 counts 1024 1800 "$BUILD/greedylrd" \
    'cd tests/integration && COUNTS=all $PYTHON -m unittest -v test_connections.Counts' \
    'every count of connections from 1 to 1,024: no answer later than 1 s'
part tricklers 5000 tricklers 5000 1200 "$BUILD/greedylrd" \
    'cd tests/integration && TRICKLERS=$COUNT $PYTHON -m unittest -v test_tricklers' \
    'peers that send a byte at a time: closed at the deadline, others served'

random_seed() { od -An -N4 -tu4 /dev/urandom | tr -d ' '; }

# load NAME: reached, seed and bad of its state
load() {
    reached=0 seed=${SEED:-$(random_seed)} bad=0
    if [ -f "$soak/$1.state" ]; then
        read -r reached next bad <"$soak/$1.state"
        seed=${SEED:-$next}
    fi
}

save() { echo "$reached $seed $bad" >"$soak/$1.state.new" && mv "$soak/$1.state.new" "$soak/$1.state"; }

# run_slice NAME: 0 done, 1 violated, 2 cut off
run_slice() {
    local name=$1 start=$SECONDS left=$((end - SECONDS)) most rc
    load "$name"
    [ -z "${next_seed[$name]:-}" ] || seed=${next_seed[$name]}
    most=$((left < ${limit[$name]} ? left : ${limit[$name]}))
    COUNT=${slice[$name]} SEED=$seed timeout -s INT -k 20 "$most" bash -c "${command[$name]}" >"$soak/$name.log" 2>&1
    rc=$?
    if [ $rc = 124 ] && [ "$most" -lt "${limit[$name]}" ]; then return 2; fi
    if [ $rc = 0 ]; then
        reached=$((reached + ${slice[$name]})) seed=$((seed + ${slice[$name]}))
        next_seed[$name]=$seed
        save "$name"
        echo "$name: $reached/${goal[$name]} ${unit[$name]}, $((SECONDS - start)) s, next seed $seed"
        return 0
    fi
    bad=$((bad + 1))
    cp "$soak/$name.log" "$soak/$name.violation.$seed.log"
    echo "$name: VIOLATION with seed $seed (exit $rc); $soak/$name.violation.$seed.log ends with"
    tail -n 40 "$soak/$name.log" | sed 's/^/    /'
    echo "    again: COUNT=${slice[$name]} SEED=$seed BUILD=$BUILD PYTHON=$PYTHON bash -c '${command[$name]}'"
    seed=$((seed + ${slice[$name]}))
    save "$name"
    return 1
}

mkdir -p "$soak"
declare -A next_seed
todo=()
if [ -n "${PART:-}" ]; then
    for name in ${PART//,/ }; do
        [ -n "${goal[$name]:-}" ] || { echo "soak: no part $name; there are: ${names[*]}" >&2; exit 2; }
        todo+=("$name")
    done
else
    for name in "${names[@]}"; do
        load "$name"
        [ "$reached" -ge "${goal[$name]}" ] || todo+=("$name")
    done
fi
for name in "${todo[@]}"; do
    # shellcheck disable=SC2086
    make -s -j"$(nproc)" ${needs[$name]} || exit 2
    load "$name"
    echo "$name: ${what[$name]}; $reached/${goal[$name]} ${unit[$name]} so far, seed $seed"
done
while [ ${#todo[@]} -gt 0 ] && [ $SECONDS -lt $end ]; do
    left=()
    for name in "${todo[@]}"; do
        [ $SECONDS -lt $end ] || break
        run_slice "$name"
        rc=$?
        if [ $rc = 1 ]; then violated=1; fi
        if [ $rc = 0 ] && [ "$reached" -lt "${goal[$name]}" ]; then left+=("$name"); fi
    done
    todo=("${left[@]}")
done
echo
for name in "${names[@]}"; do
    [ -f "$soak/$name.state" ] || continue
    SEED='' load "$name"
    printf 'soak: %-10s %s/%s %s, %s violations, next seed %s\n' "$name" "$reached" "${goal[$name]}" "${unit[$name]}" "$bad" "$seed"
done
exit $violated
