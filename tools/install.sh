#!/bin/sh
# Installs the Debian packages that Narrow is built from (packages.txt), when
# any is missing. Needs root only then.
set -eu
packages=$(dirname "$0")/packages.txt
missing=
for package in $(cat "$packages"); do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null |
    grep -qx installed || missing="$missing $package"
done
if [ -n "$missing" ]; then
  echo "installing:$missing"
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
