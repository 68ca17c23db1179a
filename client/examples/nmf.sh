#!/usr/bin/env bash
# Factorises handwritten digits with rates from a daemon of its own, and says which schedule ends lowest.
# Usage: nmf.sh [BUILD [ARGUMENTS OF nmf]]; `make nmf` installs what is missing, builds, and calls it.  Leaves nothing
# behind but the picture, BUILD/nmf.svg.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build}
work=$(mktemp -d)
daemon=''
cleanup() {
    trap - EXIT INT TERM
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

: >"$work/ready"
"$build/greedylrd" --listen 127.0.0.1:0 --data-dir "$work/data" --log-level warning >"$work/ready" &
daemon=$!
until url=$(sed -n 's/^greedylrd listening on //p' "$work/ready") && [ -n "$url" ]; do
    kill -0 "$daemon" 2>/dev/null || { echo "nmf: the daemon did not start" >&2; exit 1; }
    sleep 0.02
done
"$build/examples/nmf" --url "$url" --svg "$build/nmf.svg" "${@:2}"
echo "Picture: $build/nmf.svg"
