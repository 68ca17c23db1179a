#!/usr/bin/env bash
# Compares the contract with the last release, the highest tag v* behind this commit: what breaks a client fails.
# Usage: breaking.sh [PATH OF BUF]
set -euo pipefail
cd "$(dirname "$0")/../.."
buf=$(realpath "${1:-tests/node_modules/.bin/buf}")
if [ ! -e .git ]; then
    echo 'breaking: this is no git repository, nothing to compare'
    exit
fi
git=$(git rev-parse --path-format=absolute --git-common-dir)
tag=$(git -c versionsort.suffix=- tag --list 'v[0-9]*' --merged HEAD --sort=-v:refname | sed -n 1p)
if [ -z "$tag" ]; then
    echo 'breaking: no release yet, nothing to compare'
    exit
fi
echo "breaking: comparing the contract with $tag"
cd proto
"$buf" breaking --against "$git#format=git,tag=$tag,subdir=proto"
