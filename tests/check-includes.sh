#!/usr/bin/env bash
# Keeps the layout true: which directory may include what, and which library lives in which room.
# Rules are "DIRECTORY  HEADER" patterns of the shell, first matching line wins.  Prove a change by breaking a file.
set -euo pipefail
cd "$(dirname "$0")/.."

# Values and arithmetic only: no I/O beyond formatting into memory, no clock, no threads.
pure='<assert.h>|<ctype.h>|<errno.h>|<float.h>|<inttypes.h>|<limits.h>|<math.h>|<stdarg.h>|<stdbool.h>|<stddef.h>'
pure+='|<stdint.h>|<stdio.h>|<stdlib.h>|<string.h>|<strings.h>'
# Whatever belongs to libc and the kernel, for the rooms that may do I/O.
system='<dirent.h>|<fcntl.h>|<getopt.h>|<grp.h>|<locale.h>|<netdb.h>|<poll.h>|<pthread.h>|<pwd.h>|<signal.h>|<stdatomic.h>'
system+='|<malloc.h>|<syslog.h>|<time.h>|<unistd.h>|<sys/*>|<net/*>|<netinet/*>|<arpa/*>|<linux/*>'

allowed() { # FILE INCLUDE
    local room
    room=${1#daemon/} room=${room%%/*}
    if [[ "$room" =~ ^(core|store|rpc|server)$ && "$2" == @($pure) ]]; then return 0; fi
    if [[ "$room" =~ ^(store|rpc|server)$ && "$2" == @($system) ]]; then return 0; fi
    if [[ "$1" == client/* && "$2" == @($pure|$system) ]]; then return 0; fi
    case "$1 $2" in
    daemon/core/*' "core/'*) ;;
    daemon/store/*' "core/'* | daemon/store/*' "store/'* | daemon/store/sqlite*' <sqlite3.h>' | daemon/store/*' <uthash.h>') ;;
    daemon/rpc/*' "core/status.h"' | daemon/rpc/*' "core/spec.h"' | daemon/rpc/*' "core/scheduler_dict.h"' | daemon/rpc/*' "rpc/'*) ;;
    daemon/rpc/*' "greedylr/v1/'*'.pb-c.h"' | daemon/rpc/*' "google/protobuf/'*'.pb-c.h"') ;;
    daemon/rpc/*' <protobuf-c/'* | daemon/rpc/*' <jansson.h>') ;;
    daemon/rpc/json_load.c' <setjmp.h>') ;;
    daemon/server/*' "core/'* | daemon/server/*' "store/'* | daemon/server/*' "rpc/'* | daemon/server/*' "server/'*) ;;
    daemon/server/*' "greedylr/v1/'*'.pb-c.h"' | daemon/server/*' "google/protobuf/'*'.pb-c.h"') ;;
    daemon/server/*' <protobuf-c/'* | daemon/server/*' <uv.h>' | daemon/server/*' <uthash.h>') ;;
    daemon/server/tls*' <gnutls/'* | daemon/server/auth*' <gnutls/'* | daemon/server/http*' <gnutls/'* | client/cli/token*' <gnutls/'*) ;;
    daemon/server/http*' <microhttpd.h>' | daemon/server/sd.c' <systemd/'*) ;;
    client/lib/*' "lib/'* | client/lib/*' <jansson.h>' | client/lib/transport*.c' <curl/curl.h>') ;;
    client/cli/*' "cli/'* | client/cli/*' "lib/'* | client/cli/*' <jansson.h>' | client/cli/*' <protobuf-c/'*) ;;
    client/cli/*' "greedylr/v1/'*'.pb-c.h"' | client/cli/*' "google/protobuf/'*'.pb-c.h"') ;;
    client/cli/screen.c' <termios.h>' | client/cli/doctor_daemon.c' <dlfcn.h>') ;;
    client/examples/*' <greedylr.h>') ;;
    client/train/*' "core/'* | client/train/*' "train/'* | client/train/past.c' "lib/transport.h"' | client/train/past.c' <jansson.h>') ;;
    *) return 1 ;;
    esac
}

shopt -s extglob nullglob globstar
bad=0 seen=0
for file in daemon/**/*.[ch] client/**/*.[ch]; do
    while IFS= read -r include; do
        seen=$((seen + 1))
        allowed "$file" "$include" && continue
        echo "$file: may not include $include" >&2
        bad=$((bad + 1))
    done < <(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*\([<"][^>"]*[>"]\).*/\1/p' "$file")
    # A header comes first in its own source file, so that it is known to stand alone.
    top=${file%%/*} own=${file%.c}.h own=${own#*/}
    if [[ "$file" == *.c && -e "$top/$own" ]] && ! grep -m1 "^#include" "$file" | grep -qF -e "\"$own\"" -e "\"${own%.h}_impl.h\""; then
        echo "$file: its first include must be \"$own\"" >&2
        bad=$((bad + 1))
    fi
done
[ "$seen" -gt 0 ] || { echo "no includes found: is this the repository?" >&2; exit 1; }
[ "$bad" = 0 ] || { echo "$bad includes against the layout" >&2; exit 1; }
echo "$seen includes, all within the layout"
