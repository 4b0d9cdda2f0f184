#!/bin/bash
# The packages hold a program that runs, pages that man and the shells take,
# and are the same bytes when they are made again.
set -u
deb=$PWD/narrow.deb
tar=$PWD/narrow.tar.gz
model=$PWD/testdata/tiny-llama
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
fail() {
  echo "FAILED: $*"
  failed=1
}

check_program() { # name, program
  "$2" --version >"$work/version" || fail "$1: --version"
  for line in '^narrow [0-9]' '^build: ' '^instruction sets: ' '^devices: cpu'; do
    grep -q "$line" "$work/version" || fail "$1: --version has no $line"
  done
  "$2" convert "$model" --to Q4_K_M --out "$work/$1.gguf" -q || fail "$1: convert"
}

# The Debian package.
dpkg-deb -x "$deb" "$work/deb" || fail "dpkg-deb -x"
check_program deb "$work/deb/usr/bin/narrow"
dpkg-deb -f "$deb" >"$work/control"
for field in Package Version Architecture Maintainer Depends Description; do
  grep -q "^$field: ." "$work/control" || fail "control has no $field"
done
# Every library that the program names belongs to a package it depends on.
dpkg-deb -f "$deb" Depends | tr ',' '\n' | sed 's/^ *//; s/ .*//' >"$work/depends"
ldd "$work/deb/usr/bin/narrow" | grep -q 'not found' && fail "libraries are missing"
while read -r package; do
  dpkg-query -W "$package" >/dev/null || fail "depends on $package"
done <"$work/depends"
grep -qx libc6 "$work/depends" || fail "does not depend on libc6"
dpkg-deb -c "$deb" | awk '$2 != "root/root" {exit 1}' || fail "owners"
dpkg-deb -c "$deb" | grep -v '1970-01-01' && fail "times"
dpkg-deb -c "$deb" | grep -E '^-rwxr-xr-x' | grep -v usr/bin/narrow && fail "modes"
dpkg-deb -e "$deb" "$work/control.d"
(cd "$work/deb" && md5sum --quiet -c "$work/control.d/md5sums") || fail "md5sums"

# The tarball, in another place, finds its own libraries.
mkdir "$work/a folder" && tar -C "$work/a folder" -xzf "$tar" || fail "tar"
program=$(echo "$work/a folder"/narrow-*/bin/narrow)
check_program tar "$program"
cmp "$work/deb.gguf" "$work/tar.gguf" || fail "another file"
ldd "$program" | grep -v -e linux-vdso -e ld-linux |
  grep -v -F "$work/a folder" | grep -v -e libc.so -e libm.so -e libpthread -e libdl -e librt &&
  fail "libraries from outside"
tar -tvzf "$tar" | awk '$2 != "0/0" {exit 1}' || fail "owners of the tarball"

# Made again, byte for byte.
pages="narrow.1 narrow.bash _narrow README.md"
# shellcheck disable=SC2086
tools/package/make_deb.sh converter/narrow $pages "$work/again.deb" || fail "make_deb.sh"
cmp "$deb" "$work/again.deb" || fail "the package differs"
# shellcheck disable=SC2086
tools/package/make_tar.sh converter/narrow_relocatable $pages "$work/again.tar.gz" || fail "make_tar.sh"
cmp "$tar" "$work/again.tar.gz" || fail "the tarball differs"

[ "$failed" -eq 0 ] && echo PASSED
exit "$failed"
