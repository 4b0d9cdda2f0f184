#!/bin/bash
# The program with the code of a card, run on the processor, against the
# program with the processor's own. Prints GoogleTest's summary lines; exits 1
# on a failure.
set -u
narrow=$PWD/converter/narrow
tiny=$PWD/testdata/tiny-llama
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n_failed=0

check() {  # DESCRIPTION COMMAND...
  local what=$1
  shift
  if "$@"; then
    echo "[       OK ] $what"
  else
    echo "[  FAILED  ] $what"
    n_failed=$((n_failed + 1))
  fi
}
says() { grep -qF -- "$1" err.txt; }
lacks() { ! grep -q -- "$1" "$2"; }

"$narrow" convert "$tiny" --to Q4_0,Q4_K_M --out cpu/ -q --device cpu
"$narrow" convert "$tiny" --to Q4_0,Q4_K_M --out card/ -q --device emulated
for type in Q4_0 Q4_K_M; do
  check "a card's $type is the processor's" cmp -s \
    cpu/tiny-llama-$type.gguf card/tiny-llama-$type.gguf
done
"$narrow" convert "$tiny" --to Q4_K_M --out little.gguf -q \
  --device emulated:100000 2>err.txt
check "with little memory too" cmp -s \
  cpu/tiny-llama-Q4_K_M.gguf little.gguf
check "which it says" says "batches of"
"$narrow" convert "$tiny" --to Q4_K_M --out none.gguf -q \
  --device emulated:100 2>err.txt
check "and with none" cmp -s cpu/tiny-llama-Q4_K_M.gguf none.gguf
check "which it says" says "the processor encodes"
"$narrow" convert "$tiny" --to Q4_K_M --out auto.gguf -q --device auto
check "auto gives the same bytes" cmp -s \
  cpu/tiny-llama-Q4_K_M.gguf auto.gguf
check "the manifest has no device" lacks device auto.gguf.manifest.json

"$narrow" convert "$tiny" --to Q8_0 --out x.gguf --device gpu 2>err.txt
check "an unknown device is a usage error" test $? -eq 2
check "which names the known ones" says "auto, cpu and cuda"
if "$narrow" --version | grep -q "no card"; then
  "$narrow" convert "$tiny" --to Q8_0 --out x.gguf --device cuda 2>err.txt
  check "a card that is not there is an error" test $? -eq 1
  check "which names the option" says "--device cuda"
  check "and writes nothing" test ! -e x.gguf
fi

echo "$n_failed failed"
test "$n_failed" -eq 0
