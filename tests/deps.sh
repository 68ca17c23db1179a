#!/usr/bin/env bash
# Installs the Debian packages that are missing, after saying so.  Nothing missing: no output, no network.
# Usage: deps.sh PACKAGE...    or    deps.sh --command NAME...: packages only whose command is not there, wherever
# it came from.
set -euo pipefail

missing=()
if [ "${1:-}" = --command ]; then
    shift
    for name; do command -v "$name" >/dev/null || missing+=("$name"); done
elif ! command -v dpkg-query >/dev/null; then
    echo "deps: not a Debian system; these packages or their equivalents are needed: $*" >&2
    exit 0
else
    for package; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
fi
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "deps: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi
echo "deps: these Debian packages are missing and will be installed now: ${missing[*]}"
echo "deps: ${as_root[*]} apt-get update, then apt-get install --no-install-recommends"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" \
    >/dev/null || { echo "deps: apt-get failed; run it by hand: apt-get install ${missing[*]}" >&2; exit 1; }
echo "deps: done"
