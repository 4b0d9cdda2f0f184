#!/bin/bash
# Manifests from the command line: every output has one, `narrow verify` finds
# what was changed and names it, and makes tensors again from the original.
# Prints GoogleTest's summary lines; exits 1 on a failure.
set -u
narrow=$PWD/converter/narrow
tiny=$PWD/testdata/tiny-llama
imatrix=$PWD/testdata/imatrix/tiny-llama-imatrix.gguf
text=$PWD/testdata/text/wikitext2-sample.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export TMPDIR=$work
n_failed=0

check() {  # DESCRIPTION COMMAND...
  local what=$1
  shift
  if "$@"; then
    echo "[       OK ] $what"
  else
    echo "[  FAILED  ] $what"
    n_failed=$((n_failed + 1))
    cat err.txt 2>/dev/null
  fi
}
verifies() { "$narrow" verify "$@" -q 2>err.txt; }
# Fails with a message that has these words.
differs() {  # WORDS ARGUMENT...
  local words=$1
  shift
  "$narrow" verify "$@" -q 2>err.txt
  test $? -eq 1 && grep -q -- "$words" err.txt
}
flip() {  # FILE OFFSET: another byte there
  local old
  old=$(od -An -tu1 -j "$2" -N 1 "$1")
  printf "$(printf '\\x%02x' $((old ^ 1)))" |
    dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

"$narrow" convert "$tiny" --to Q4_K_M,IQ3_S --imatrix "$imatrix" --out out/ \
  -q 2>/dev/null
gguf=out/tiny-llama-IQ3_S.gguf
check "every output has a manifest" test -s $gguf.manifest.pb \
  -a -s $gguf.manifest.json -a -s out/tiny-llama-Q4_K_M.gguf.manifest.pb
check "with the file's SHA-256" grep -q "$(sha256sum <$gguf | cut -c1-64)" \
  $gguf.manifest.json
check "that of the input" grep -q \
  "$(sha256sum <"$tiny/model.safetensors" | cut -c1-64)" $gguf.manifest.json
check "and of the importance matrix" grep -q \
  "$(sha256sum <"$imatrix" | cut -c1-64)" $gguf.manifest.json
check "a GGUF file verifies" verifies $gguf
check "and its tensors are made again" verifies $gguf --rederive 8 --seed 1
check "no folder is left" bash -c '! ls -d narrow-rederive-* 2>/dev/null'
cp -rL "$tiny" copy
chmod -R u+w copy
check "from a copy of the original" verifies $gguf --rederive 2 --original copy
size=$(stat -c %s copy/model.safetensors)
flip copy/model.safetensors $((size - 1000))
check "not from another model" differs "is not the model that" $gguf \
  --rederive 2 --original copy
cp "$imatrix" im.gguf
"$narrow" convert "$tiny" --to Q3_K_M --imatrix im.gguf --out moved.gguf -q \
  2>/dev/null
mv im.gguf elsewhere.gguf
check "a file that moved is asked for" differs "give the file with SHA-256" \
  moved.gguf --rederive 1
check "and taken by its contents" verifies moved.gguf --rederive 1 --file \
  elsewhere.gguf
size=$(stat -c %s $gguf)
flip $gguf $((size - 100))
check "a flipped byte is found in the file" differs \
  "file 'tiny-llama-IQ3_S.gguf' has SHA-256" $gguf
check "and in its tensor" differs "tensor '.*' has other bytes" $gguf
head -c $((size - 64)) $gguf >cut.gguf
cp $gguf.manifest.pb cut.gguf.manifest.pb
check "a cut file too" differs "bytes, the manifest has" cut.gguf

"$narrow" convert "$tiny" --to Q8_0 --split-max-size 1M --out split/m -q \
  2>/dev/null
shard=$(ls split/*-00002-of-*.gguf)
check "shards have one manifest" test "$(ls split/*.manifest.pb | wc -l)" -eq 1
check "found by any of them" verifies "$shard" --rederive 3
rm "$shard"
check "a missing shard is named" differs "cannot be read" \
  "$(ls split/*-00001-of-*.gguf)"

for k in 1 2; do
  "$narrow" convert "$tiny" --to Q4_0 --shard $k/2 --out part-$k -q \
    2>/dev/null
done
"$narrow" merge part-1 part-2 --out merged.gguf -q
check "merged parts know where they come from" verifies merged.gguf \
  --rederive 5
"$narrow" convert "$tiny" --target-bpw 5 --calibration "$text" --samples 8 \
  --sample-tokens 64 --out chosen.gguf -q 2>/dev/null
check "types for a target are made again" verifies chosen.gguf --rederive 8
"$narrow" convert "$tiny" --to Q4_K_M --solver compensated --order one-shot \
  --cover 0 --calibration "$text" --samples 8 --sample-tokens 64 --out solved.gguf -q \
  2>/dev/null
check "solved tensors are made again" verifies solved.gguf --rederive 3

"$narrow" quantize "$tiny" -o rtn --method rtn --group-size 64 -q 2>/dev/null
check "a directory has its manifest inside" test -s rtn/narrow-manifest.pb \
  -a -s rtn/narrow-manifest.json
check "and verifies" verifies rtn --rederive 4
"$narrow" repack rtn --format gptq -o packed -q 2>err.txt
check "a repacked one too" verifies packed --rederive 4
check "the input's manifest was not copied" bash -c \
  '! cmp -s rtn/narrow-manifest.pb packed/narrow-manifest.pb'
"$narrow" convert merged.gguf --to hf --out hf -q 2>/dev/null
check "a directory made of a GGUF file" verifies hf --rederive 4
echo '{}' >rtn/other.json
check "a file more is named" differs "'other.json' is not in the manifest" rtn
rm rtn/other.json
flip rtn/model.safetensors 100000
check "a flipped byte in a directory" differs "tensor '.*' has other bytes" rtn

"$narrow" convert "$tiny" --to Q4_0 --out bare.gguf --no-manifest -q \
  2>/dev/null
check "--no-manifest writes none" test ! -e bare.gguf.manifest.pb
check "which verify says" differs "no manifest" bare.gguf
check "and the bytes are the same" cmp bare.gguf merged.gguf
for at in 0 5 40 200 1000; do
  cp merged.gguf.manifest.pb bare.gguf.manifest.pb
  flip bare.gguf.manifest.pb $at
  "$narrow" verify bare.gguf --rederive 1 -q 2>err.txt
  check "a damaged manifest never crashes" test $? -le 1
done
head -c 700 merged.gguf.manifest.pb >bare.gguf.manifest.pb
check "a cut manifest" differs "manifest" bare.gguf
[ "$n_failed" -eq 0 ]
