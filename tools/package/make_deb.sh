#!/bin/sh
# Makes the Debian package: a function of the program, its pages and the
# distribution's package names, so that the same build gives the same bytes.
#
#   make_deb.sh NARROW MAN_PAGE BASH_COMPLETION ZSH_COMPLETION README OUT.deb
set -eu
program=$1 man_page=$2 bash_completion=$3 zsh_completion=$4 readme=$5 out=$6
export LC_ALL=C SOURCE_DATE_EPOCH=0
umask 022
root=$(mktemp -d)
chmod 755 "$root"
trap 'rm -rf "$root"' EXIT

put() { install -D -m "$1" "$2" "$root/$3"; }
put 755 "$program" usr/bin/narrow
strip --strip-unneeded -R .comment -R .note "$root/usr/bin/narrow"
put 644 "$man_page" usr/share/man/man1/narrow.1
gzip -9n "$root/usr/share/man/man1/narrow.1"
put 644 "$bash_completion" usr/share/bash-completion/completions/narrow
put 644 "$zsh_completion" usr/share/zsh/vendor-completions/_narrow
doc=usr/share/doc/narrow
put 644 "$readme" $doc/README.md
gzip -9n "$root/$doc/README.md"

version=$("$program" --version | sed -n '1s/^narrow //p')
[ -n "$version" ] || { echo "make_deb.sh: narrow has no version" >&2; exit 1; }
cat >"$root/$doc/copyright" <<EOF
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: narrow
Files: *
Copyright: the authors of Narrow
License: see-source
 The terms are those under which the sources were received.
EOF
chmod 644 "$root/$doc/copyright"
printf 'narrow (%s) unstable; urgency=medium\n\n  * Version %s.\n\n -- %s  %s\n' \
  "$version" "$version" "The authors of Narrow <narrow@example.invalid>" \
  "Thu, 01 Jan 1970 00:00:00 +0000" | gzip -9n >"$root/$doc/changelog.gz"
chmod 644 "$root/$doc/changelog.gz"

# Packages of the libraries that the program itself names, at least as new as
# those it was linked with. Where several packages have a library of a name,
# the one that the loader takes decides.
depends=
for library in $(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort); do
  path=$(ldd "$program" | awk -v l="$library" '$1 == l && $3 != "" {print $3}')
  [ -n "$path" ] || case $library in ld-linux*) continue ;; esac
  package=
  for name in "$path" "/usr$path" "$(readlink -f "$path")"; do
    package=$(dpkg-query -S "$name" 2>/dev/null | sed -n '1s/[:,].*//p')
    [ -z "$package" ] || break
  done
  [ -n "$package" ] || { echo "make_deb.sh: no package has $library" >&2; exit 1; }
  least=$(dpkg-query -W -f='${source:Upstream-Version}\n' "$package" | head -n 1)
  case " $depends" in *" $package "*) continue ;; esac
  depends="$depends${depends:+, }$package (>= $least)"
done
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<EOF
Package: narrow
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: The authors of Narrow <narrow@example.invalid>
Installed-Size: $(find "$root/usr" -type f -printf '%s\n' | awk '{s += int(($1 + 1023) / 1024)} END {print s}')
Depends: $depends
Section: science
Priority: optional
Description: quantizer of language models
 Narrow turns full-precision language models into small ones: GGUF files of
 every type, and packed safetensors (GPTQ, AWQ, HQQ, bitsandbytes, FP8,
 compressed-tensors). It makes importance matrices, chooses types by budget,
 and measures what was lost: perplexity and KL divergence with their errors.
EOF
(cd "$root" && find usr -type f -print | sort | xargs md5sum >DEBIAN/md5sums)
chmod 644 "$root"/DEBIAN/*
find "$root" -exec touch -h -d @0 {} +
dpkg-deb --root-owner-group -Zxz -z4 --threads-max=1 --build "$root" "$out" >/dev/null
