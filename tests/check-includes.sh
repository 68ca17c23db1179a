#!/usr/bin/env bash
# The rooms of the house and what each may include; the layout stays true because this fails when it does not.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
# forbid PATTERN FILES...: no file may include what matches
forbid() {
  local pattern=$1; shift
  if grep -nHE "^#include [<\"]($pattern)" "$@" 2>/dev/null; then bad=1; fi
}
files() { find "$@" -name '*.[ch]' | sort; }
not() { files daemon | grep -v "$1"; }
forbid '(store|rpc|server)/|microhttpd|uv\.h|jansson|sqlite3|protobuf-c|greedylr/|stdio_ext|pthread|time\.h|unistd|fcntl|sys/' $(files daemon/core)
forbid '(rpc|server)/|microhttpd|uv\.h|jansson|protobuf-c|greedylr/' $(files daemon/store)
forbid '(store|server)/|microhttpd|uv\.h|sqlite3|core/(job|policy|params|state_io|greedy|smooth)' $(files daemon/rpc)
forbid 'microhttpd' $(not daemon/server/http)
forbid 'uv\.h' $(not daemon/server/)
forbid 'jansson' $(not daemon/rpc/)
forbid 'sqlite3' $(not daemon/store/)
if [ -d client ]; then forbid '(rpc|server|store)/' $(files client /dev/null); fi
if [ $bad = 0 ]; then echo "include directions: ok"; fi
exit $bad
