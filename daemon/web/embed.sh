#!/usr/bin/env bash
# Prints the C table of what server/web.h serves; the assembler takes the bytes from the files themselves.
# Usage: embed.sh FOLDER PATH=FILE...   PATH is below / of the daemon; FOLDER is where the gzip variants go.
set -euo pipefail
folder=$1
shift
mkdir -p "$folder"

content_type() { # FILE
    case $1 in
    *.html) echo 'text/html; charset=utf-8' ;;
    *.css) echo 'text/css; charset=utf-8' ;;
    *.js) echo 'text/javascript; charset=utf-8' ;;
    *.svg) echo 'image/svg+xml' ;;
    *) echo "embed.sh: $1: no content type is known for this ending" >&2; exit 1 ;;
    esac
}

bytes() { # NAME FILE
    printf '__asm__(".section .rodata\\n.balign 16\\n.hidden %s\\n.global %s\\n%s:\\n.incbin \\"%s\\"\\n.byte 0\\n.previous");\n' \
        "$1" "$1" "$1" "$2"
    echo "extern const char $1[];"
}

echo '/* Made by daemon/web/embed.sh. */'
echo '#include "server/web.h"'
rows='' n=0
for pair; do
    path=/${pair%%=*} file=${pair#*=}
    type=$(content_type "$file")
    gzip -9nc "$file" >"$folder/$n.gz"
    bytes "web_bytes_$n" "$file"
    bytes "web_gzip_$n" "$folder/$n.gz"
    sum=$(sha256sum "$file")
    rows+="    {\"$path\", \"$type\", \"\\\"${sum:0:20}\\\"\", \"\\\"${sum:0:20}-gzip\\\"\", {web_bytes_$n, $(stat -c %s "$file")}, {web_gzip_$n, $(stat -c %s "$folder/$n.gz")}},"$'\n'
    n=$((n + 1))
done
printf 'const struct web_asset web_assets[] = {\n%s};\nconst size_t web_n_assets = %d;\n' "$rows" "$n"
