#!/usr/bin/env bash
# Compares the contract with the last release, the newest tag v* behind this commit: what breaks a client fails.
# Usage: breaking.sh [PATH OF BUF]
set -euo pipefail
cd "$(dirname "$0")/../.."
buf=$(realpath "${1:-tests/node_modules/.bin/buf}")
if ! git=$(git rev-parse --path-format=absolute --git-common-dir 2>/dev/null); then
    echo 'breaking: this is no git repository, nothing to compare'
elif ! tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); then
    echo 'breaking: no release yet, nothing to compare'
else
    echo "breaking: comparing the contract with $tag"
    cd proto
    "$buf" breaking --against "$git#format=git,tag=$tag,subdir=proto"
fi
