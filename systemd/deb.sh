#!/usr/bin/env bash
# Builds the Debian packages from a copy of the sources, and has lintian look at them; `make deb` calls it.
# Usage: deb.sh FOLDER VERSION REVISION BUILD_DEPENDENCY...: the packages and the build's log are in FOLDER afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1 version=$2-$3
shift 3
# Debian's own tools, whatever else is installed.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
copy=$out/greedylrd-${version%-*}

rm -rf "$out"
mkdir -p "$copy"
sources=(Makefile README.md proto daemon client systemd)
[ ! -f CHANGELOG.md ] || sources+=(CHANGELOG.md)
tar -c --exclude=__pycache__ --exclude='*.egg-info' --exclude=build "${sources[@]}" | tar -x -C "$copy"
cp -a systemd/debian "$copy/debian"

depends=$(printf ', %s' "$@")
sed "s/@BUILD_DEPENDS@/debhelper-compat (= 13)$depends/" systemd/debian/control.in >"$copy/debian/control"
when=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
cat >"$copy/debian/changelog" <<END
greedylrd ($version) bookworm; urgency=medium

  * Built from the project's own sources; what is new is in its CHANGELOG.md.

 -- $(sed -n 's/^Maintainer: //p' systemd/debian/control.in)  $(LC_ALL=C date -u -R -d "@$when")
END

echo "deb: building $version in $copy"
(cd "$copy" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u BUILD dpkg-buildpackage -b -us -uc) >"$out/build.log" 2>&1 ||
    { tail -n 20 "$out/build.log" | cut -c -200; echo "deb: the build failed; $out/build.log has all of it" >&2; exit 1; }
# Nobody asked Debian for a package of it, so there is no such request to close.
lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$out"/*.changes
ls -1 "$out"/*.deb
