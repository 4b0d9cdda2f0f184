#!/bin/bash
# `narrow quantize --shard` and `narrow merge` from the command line: the
# directory of a single run, byte for byte; and what cannot be done in parts is
# refused with what to do instead. Prints GoogleTest's summary lines; exits 1
# on a failure.
set -u
narrow=$PWD/converter/narrow
tiny=$PWD/testdata/tiny-llama
imatrix=$PWD/testdata/imatrix/tiny-llama-imatrix.gguf
text=$PWD/testdata/text/wikitext2-sample.txt
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
# Fails with this exit code and a message that has these words.
refused() {  # STATUS WORDS OPTION...
  local status=$1 words=$2
  shift 2
  "$narrow" "$@" 2>refused.err
  test $? -eq "$status" && grep -q -- "$words" refused.err
}
# In N parts with these flags, merged: the directory of a run without --shard.
same() {  # N FLAG...
  local n=$1
  shift
  rm -rf single parts merged && mkdir parts
  "$narrow" quantize "$tiny" "$@" --out single -q --no-manifest \
    2>/dev/null || return 1
  for k in $(seq "$n"); do
    "$narrow" quantize "$tiny" "$@" --shard "$k/$n" --out "parts/$k" -q \
      --threads $((k % 3 + 1)) 2>/dev/null || return 1
  done
  "$narrow" merge $(ls parts/* | sort -r) --out merged -q --no-manifest &&
    diff -r single merged
}

check "rounded" same 4 --method rtn --bits 4
check "HQQ with importance" same 3 --method hqq --bits 3 --imatrix "$imatrix"
check "NF4, doubly quantized" same 2 --method nf4 --double-quant
check "FP4" same 2 --method fp4
check "several files, layers left out" same 5 --method rtn --bits 8 \
  --max-shard-size 1MB --ignore 'layers\.0\.' --override 'down_proj=bits:4'
check "more parts than layers" same 40 --method rtn --bits 2
check "FP8 in blocks" same 3 --method fp8
check "MXFP4" same 2 --method mxfp4

# With manifests: the merged directory can be verified and made again.
rm -rf parts merged && mkdir parts
for k in 1 2; do
  "$narrow" quantize "$tiny" --method hqq --shard "$k/2" --out "parts/$k" -q || n_failed=9
done
check "merge with a manifest" "$narrow" merge parts/1 parts/2 --out merged -q
check "verified and made again" "$narrow" verify merged --rederive 2 -q
check "the manifest has no shard" bash -c '! grep -q -- --shard merged/narrow-manifest.json'

cp -rL "$tiny" other && chmod -R u+w other
printf 'XY' | dd of=other/model.safetensors bs=1 seek=7348700 conv=notrunc status=none
check "another model" refused 1 "is not the model" merge parts/1 parts/2 \
  --model other --out bad
check "a part is missing" refused 1 "missing: 2" merge parts/1 --out bad
check "a part twice" refused 1 "given twice" merge parts/1 parts/1 --out bad
"$narrow" quantize "$tiny" --method hqq --bits 3 --shard 2/2 --out parts/3 -q
check "another recipe" refused 1 "different plans" merge parts/1 parts/3 --out bad
"$narrow" convert "$tiny" --to Q8_0 --shard 2/2 --out parts/gguf -q
check "another kind" refused 1 "different" merge parts/1 parts/gguf --out bad
cp parts/2 parts/damaged
printf 'XY' | dd of=parts/damaged bs=1 seek=1000 conv=notrunc status=none
check "a damaged part" refused 1 "has not the bytes" merge parts/1 parts/damaged --out bad
head -c 5000 parts/2 >parts/cut
check "a part cut short" refused 1 "reading parts/cut" merge parts/1 parts/cut --out bad
check "calibrated methods" refused 1 "calibrated" quantize "$tiny" --method gptq \
  -c "$text" --shard 1/2 --out part
check "K above N" refused 2 "3/2" quantize "$tiny" --shard 3/2 --out part
check "measuring" refused 2 "merged" quantize "$tiny" --shard 1/2 --out part \
  --measure "$text"
check "nothing is left of what failed" bash -c '! ls -d bad* part part.* 2>/dev/null'

echo "[==========] $n_failed failed"
[ "$n_failed" -eq 0 ]
