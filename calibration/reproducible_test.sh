#!/bin/bash
# reproducible_test.sh TOOL: what the tool prints (hidden_hash: of the forward
# pass; stats_hash: of calibration), in reproducible precision,
# is the same for every instruction set and number of threads, and
# with a C library that believes the processor to have neither AVX2 nor fused
# multiply-adds.
set -euo pipefail
tool=$1
models="${NARROW_HASH_MODELS:-$(echo testdata/arch/*/ testdata/arch_options/*/)}"
want=$($tool 1 $models)
echo "$want"
[ "$(wc -l <<< "$want")" -ge 3 ] || { echo "fewer than 3 models"; exit 1; }
check() {
  local got
  got=$("$@" $models)
  if [ "$got" != "$want" ]; then
    echo "differs: $*"
    diff <(echo "$want") <(echo "$got") || true
    exit 1
  fi
}
for threads in 1 2 5; do
  for isa in avx512 avx2 scalar; do
    check env NARROW_ISA=$isa $tool $threads
  done
done
check env GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-FMA,-FMA_Usable \
  NARROW_ISA=scalar $tool 2
