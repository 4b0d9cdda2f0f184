#!/bin/bash
# isolation_test.sh SYMBOLS: reads nm's listing of libraries compiled for an
# instruction set. Fails if it has a symbol that the linker may prefer over
# the same one of ordinary code: a weak one (an inline function, a template)
# outside the set's own namespace. A processor without the set would then
# meet its instructions.
set -euo pipefail
grep -qE ' T narrow::(avx2|avx512)::' "$1" || {
  echo "$1 lists no functions"
  exit 1
}
if grep -E ' [WVui] ' "$1" | grep -vE 'narrow::(avx2|avx512)::'; then
  echo "these must not be in a library of one instruction set"
  exit 1
fi
