#!/bin/sh
# Makes the relocatable tarball: the program with the libraries it needs, but
# for the C library's own, in a folder that may lie anywhere.
#
#   make_tar.sh NARROW MAN_PAGE BASH_COMPLETION ZSH_COMPLETION README OUT.tar.gz
#
# NARROW looks for libraries in ../lib/narrow first (//:narrow_relocatable).
set -eu
program=$1 man_page=$2 bash_completion=$3 zsh_completion=$4 readme=$5 out=$6
export LC_ALL=C
umask 022
root=$(mktemp -d)
chmod 755 "$root"
trap 'rm -rf "$root"' EXIT
version=$("$program" --version | sed -n '1s/^narrow //p')
top=narrow-$version

put() { install -D -m "$1" "$2" "$root/$top/$3"; }
put 755 "$program" bin/narrow
strip --strip-unneeded -R .comment -R .note "$root/$top/bin/narrow"
put 644 "$man_page" share/man/man1/narrow.1
put 644 "$bash_completion" share/bash-completion/completions/narrow
put 644 "$zsh_completion" share/zsh/site-functions/_narrow
put 644 "$readme" share/doc/narrow/README.md

# The C library and the loader are those of the machine: at least this one's
# version. Everything else comes along, with its terms.
ldd "$program" | awk '$2 == "=>" && $3 != "" {print $1, $3}' | sort |
  while read -r name path; do
    package=
    for candidate in "$path" "/usr$path" "$(readlink -f "$path")"; do
      package=$(dpkg-query -S "$candidate" 2>/dev/null | sed -n '1s/[:,].*//p')
      [ -z "$package" ] || break
    done
    [ "$package" != libc6 ] || continue
    put 644 "$path" "lib/narrow/$name"
    if [ -n "$package" ] && [ -e "/usr/share/doc/$package/copyright" ]; then
      put 644 "/usr/share/doc/$package/copyright" \
        "share/doc/narrow/libraries/$package"
    fi
  done
tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
  --format=ustar -cf - "$top" | gzip -6n >"$out"
