#!/usr/bin/env bash
# Every test: `tests/check.sh`, or the inner loop without sanitizers: `tests/check.sh fast`.
# Each step prints its output as it runs; the end counts the steps.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1
passed=0 failed=0 names=
jobs=-j$(nproc)
step() {
  local name=$1; shift
  echo "== $name"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); names="$names $name"; echo "FAILED: $name"; fi
}
integration() { BUILD=$1 /usr/bin/python3 -m unittest discover -s tests/integration -t tests/integration; }
step build make --no-print-directory -s $jobs WERROR=1 all build/unit
step unit build/unit --timeout 120
step includes tests/check-includes.sh
step integration integration build
if [ "${1:-}" != fast ]; then
  step clang make --no-print-directory -s $jobs CC=clang WERROR=1 BUILD=build/clang all build/clang/unit
  step sanitized-build make --no-print-directory -s $jobs SANITIZE=address,undefined CFLAGS='-O1 -g' BUILD=build/asan all build/asan/unit
  step sanitized-unit build/asan/unit --timeout 300
  step sanitized-integration integration build/asan
fi
[ $failed = 0 ] || echo "failed:$names"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
