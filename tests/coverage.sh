#!/usr/bin/env bash
# Lines and branches that the tests reach: `make coverage`, in build/coverage, with clang's source-based coverage (a
# branch is a condition, seen true and seen false).  Runs the unit tests, the model check, the store's failing calls and
# the integration tests of TESTS ('test_*.py'); fails where daemon/core or daemon/store has less than 90 % of lines or
# 80 % of branches.
# build/coverage/uncovered.txt has the source with counts.  Processes that tests kill say nothing of what they did.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-build/coverage} python=${PYTHON:-/usr/bin/python3}
version=$(clang --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
export LLVM_PROFILE_FILE=$PWD/$build/profiles/%m.profraw
failed=0
rm -rf "$build/profiles"
mkdir -p "$build/profiles"
"$build/unit" --timeout 300 >"$build/unit.log" 2>&1 || { tail -30 "$build/unit.log"; failed=1; }
"$build/model" --count "${SCHEDULES:-300}" >"$build/model.log" 2>&1 || { tail -30 "$build/model.log"; failed=1; }
"$build/power" --faults >"$build/power.log" 2>&1 || { tail -30 "$build/power.log"; failed=1; }
# Valgrind cannot read what clang says of its lines.
SKIP="${SKIP:-} test_valgrind.py" BUILD=$build "$python" tests/parallel.py tests/integration "${TESTS:-test_*.py}" >"$build/integration.log" 2>&1 ||
    { tail -30 "$build/integration.log"; failed=1; }
"llvm-profdata-$version" merge -o "$build/all.profdata" "$build"/profiles/*.profraw || exit 1
programs=("$build/unit" -object "$build/model" -object "$build/power" -object "$build/greedylrd" -object "$build/greedylr")
"llvm-cov-$version" export -summary-only -instr-profile "$build/all.profdata" "${programs[@]}" \
    daemon client/lib client/cli >"$build/coverage.json" || exit 1
"llvm-cov-$version" show -instr-profile "$build/all.profdata" -show-branches=count "${programs[@]}" \
    daemon/core daemon/store >"$build/uncovered.txt"
"$python" - "$build/coverage.json" <<'PYTHON' || failed=1
import json, os, sys

LIMITS = {"daemon/core": (90, 80), "daemon/store": (90, 80)}
rows = {}
for file in json.load(open(sys.argv[1]))["data"][0]["files"]:
    name = os.path.relpath(file["filename"])
    if not name.endswith(".c"):
        continue
    for key in (os.path.dirname(name), "core and store" if os.path.dirname(name) in LIMITS else None):
        if key:
            row = rows.setdefault(key, [0, 0, 0, 0])
            for i, kind in enumerate(("lines", "branches")):
                row[2 * i] += file["summary"][kind]["covered"]
                row[2 * i + 1] += file["summary"][kind]["count"]
bad = 0
print(f"{'':18}{'lines':>18}{'branches':>18}")
for name, row in sorted(rows.items()):
    percent = [100 * row[2 * i] / max(row[2 * i + 1], 1) for i in range(2)]
    print(f"{name:18}" + "".join(f"{row[2 * i]:6}/{row[2 * i + 1]:5} {percent[i]:4.1f} %" for i in range(2)))
    for kind, reached, limit in zip(("lines", "branches"), percent, LIMITS.get(name, (0, 0))):
        if reached < limit:
            print(f"{name}: {reached:.1f} % of {kind}, must be {limit}; build/coverage/uncovered.txt says which are not reached")
            bad += 1
sys.exit(bad > 0)
PYTHON
exit $failed
