#!/bin/bash
# The program with the code of a card, run on the processor, against the
# program with the processor's own. Prints GoogleTest's summary lines; exits 1
# on a failure.
set -u
narrow=$PWD/converter/narrow
repo=$PWD
text=$PWD/testdata/text/wikitext2-sample.txt
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
check "the manifest has no device" lacks '"device\|emulated' \
  auto.gguf.manifest.json

# Calibrated, of one layer's matrices.
gptq() {
  "$narrow" quantize "$tiny" -q -c "$text" --samples 2 --sample-tokens 32 \
    --ignore 'layers\.[123]\.' --no-manifest "$@"
}
gptq -o cpu-gptq --device cpu
gptq -o card-gptq --device emulated
check "a calibrated directory is the processor's" diff -r cpu-gptq card-gptq
gptq -o little-gptq --device emulated:6000000 2>err.txt
check "with little memory too" diff -r cpu-gptq little-gptq
check "which it says" says "narrow: note:"
gptq -o cpu-thorough --preset thorough --cover 0 --device cpu
gptq -o card-thorough --preset thorough --cover 0 --device emulated
check "a thorough one too" diff -r cpu-thorough card-thorough
hqq() {
  "$narrow" quantize "$tiny" -q -m hqq --ignore 'layers\.[123]\.' \
    --shard 1/2 --no-manifest "$@"
}
hqq -o cpu-part --device cpu
hqq -o card-part --device emulated
check "a part of a directory is the processor's" cmp cpu-part card-part

# Packed directories, of which reports alone may tell a difference.
same_model() {  # A B
  cmp -s "$1/model.safetensors" "$2/model.safetensors" &&
    cmp -s "$1/config.json" "$2/config.json"
}
for method in rtn nf4 int8 fp8 nvfp4 mxfp4; do
  for device in cpu emulated; do
    "$narrow" quantize "$tiny" --method $method --out $method-$device -q \
      --no-manifest --device $device >out.txt
  done
  check "a card's $method is the processor's" same_model \
    $method-cpu $method-emulated
done
for method in nf4 fp8; do
  "$narrow" quantize "$tiny" --method $method --out $method-little \
    --no-manifest --device emulated:300000 >out.txt 2>&1
  check "with little memory too" same_model $method-cpu $method-little
  check "which it says" grep -q "at once: limited to 300000 bytes" out.txt
done

# Measured numbers, in float32 and in bfloat16.
perplexity() {  # JSON
  grep -o '"perplexity": *[0-9.]*' "$1" | grep -o '[0-9.]*$'
}
near() {  # A B PERCENT
  awk -v a="$1" -v b="$2" -v p="$3" 'BEGIN {
    d = a > b ? a - b : b - a; exit !(a > 1 && d <= a * p / 100) }'
}
for mode in exact fast; do
  for device in cpu emulated; do
    "$narrow" perplexity "$tiny" --text "$text" --context 64 --chunks 4 -q \
      --precision $mode --device $device --json $mode-$device.json >out.txt
    check "perplexity runs, $mode, $device" test $? -eq 0
  done
  # Rounding inputs moves the mean of these 124 tokens by some 2^-9 / 2.
  percent=$([ $mode = exact ] && echo 0.05 || echo 0.2)
  check "a card's perplexity is within $percent %, $mode: $(perplexity \
    $mode-cpu.json) and $(perplexity $mode-emulated.json)" near \
    "$(perplexity $mode-cpu.json)" "$(perplexity $mode-emulated.json)" $percent
done
"$narrow" perplexity "$tiny" --text "$text" --context 64 --chunks 4 -q \
  --precision exact --device emulated:8000000 --json little.json >out.txt \
  2>err.txt
check "with a memory smaller than the model too" near \
  "$(perplexity exact-emulated.json)" "$(perplexity little.json)" 0
"$narrow" perplexity "$tiny" --text "$text" --context 64 --chunks 1 -q \
  --device emulated:3000 >out.txt 2>err.txt
check "with too little of it there is an error" test $? -eq 1
check "which says how much is free" says "are free"
"$narrow" imatrix "$tiny" --text "$text" --context 64 --chunks 2 -q \
  --device emulated --out card.imatrix.gguf
check "imatrix runs" test $? -eq 0
"$narrow" imatrix --show card.imatrix.gguf --picture none >out.txt
check "and gives a matrix" grep -q attn_q out.txt
"$narrow" validate "$tiny" cpu/tiny-llama-Q4_K_M.gguf --text "$text" \
  --context 64 --chunks 2 -q --device emulated --json validated.json >out.txt
check "validate runs" test $? -eq 0
check "and measures a divergence" grep -q kl validated.json
check "and says on what" grep -q '"device": "the processor"' validated.json
check "as perplexity does" grep -q '"device": "processor"' exact-cpu.json

for device in cpu emulated; do
  cat >$device.textproto <<END
out: "$device-release"
model { path: "$tiny" }
target { to: "Q4_K_M" }
validation { text { file: "$text" } context: 32 chunks: 2 }
END
  "$narrow" batch $device.textproto -q --device $device >out.txt
  check "a release is made, $device" test $? -eq 0
done
check "with the same file" cmp -s cpu/tiny-llama-Q4_K_M.gguf \
  "$(find emulated-release -name '*.gguf')"
check "and what it computes on in its page" grep -q "on the processor" \
  emulated-release/report.md

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
