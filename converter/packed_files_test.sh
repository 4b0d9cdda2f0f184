#!/bin/bash
# The command line of packed outputs: options that change bytes do change them,
# what is repacked to GGUF and back is the same, adapters are merged, damage is
# refused by name and leaves nothing. Prints GoogleTest's summary lines; exits 1
# on a failure.
set -u
narrow=$PWD/converter/narrow
tiny=$PWD/testdata/tiny-llama
lora=$PWD/testdata/lora
text=$PWD/testdata/text/wikitext2-sample.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n_failed=0

check() {  # DESCRIPTION COMMAND...
  local what=$1
  shift
  if "$@" >out.txt 2>err.txt; then
    echo "[       OK ] $what"
  else
    echo "[  FAILED  ] $what"
    head -5 out.txt err.txt
    n_failed=$((n_failed + 1))
  fi
}
# Fails with exit code 1, or 2 where the command itself is the mistake, having
# said WORDS, and leaves no OUT.
refuse() {  # DESCRIPTION WORDS OUT COMMAND...
  local what=$1 words=$2 out=$3 wanted=1
  case $words in --damping|--solver|--search|--positive*|--method) wanted=2 ;; esac
  shift 3
  "$@" >out.txt 2>err.txt
  local code=$?
  if [ $code -eq $wanted ] && grep -qF -- "$words" err.txt && [ ! -e "$out" ]; then
    echo "[       OK ] $what"
  else
    echo "[  FAILED  ] $what: exit $code"
    head -5 err.txt
    n_failed=$((n_failed + 1))
  fi
}
differ() { ! cmp -s "$1" "$2"; }
weights=model.safetensors
quantize() { "$narrow" quantize "$tiny" -q "$@"; }
calibrate() {
  quantize -c "$text" --samples 8 --sample-tokens 128 "$@"
}

# Scales of 4-bit codes are bfloat16 or half: the highest bit is the sign.
check "gptq" calibrate -o gptq
check "gptq in fast precision" calibrate -o fast --precision fast
check "gptq without negative scales" calibrate -o positive --positive-scales
check "which changes the scales" differ gptq/$weights positive/$weights
check "a transform" calibrate -o awq-gptq --transform awq
check "which changes the codes" differ gptq/$weights awq-gptq/$weights
check "the same again" calibrate -o again --threads 1
check "gives the same bytes" cmp gptq/$weights again/$weights

# Everything that lowers the error.
check "gptq, thorough" calibrate -o thorough --preset thorough \
  --json thorough.json
check "which couples outputs" grep -q "coupled outputs" thorough.json
check "gptq, thorough, without drawn windows" calibrate -o undrawn \
  --preset thorough --cover 0
check "which changes the codes" differ thorough/$weights undrawn/$weights

# Any method's codes by error feedback.
check "nf4" calibrate -o nf4 -m nf4
check "nf4 with error feedback" calibrate -o nf4-fed -m nf4 --solver compensated
check "which changes the codes" differ nf4/$weights nf4-fed/$weights
check "KL divergence of both" "$narrow" perplexity "$tiny" nf4 nf4-fed \
  --text "$text" --chunks 4 --context 128 --kl-divergence --json kl.json -q
check "error feedback has less" awk '
  /"kl_divergence":/ { split($0, parts, /[:,]/); value[++n] = parts[2] }
  END { exit !(n == 2 && value[2] < 0.8 * value[1]) }' kl.json
refuse "error feedback without a text" "--calibration" no \
  quantize -m nf4 --solver compensated -o no
refuse "a solver that is not there" "--solver" no \
  quantize -m nf4 --solver compensate -o no
refuse "a solver of other schemes" "across the ends" no \
  calibrate -m nf4 --solver gptq -o no

# Integers of 32 columns go to GGUF and back.
check "4 bits, groups of 32" quantize -o g32 -m rtn -g 32
check "to GGUF" "$narrow" repack g32 --format gguf -o g32.gguf -q
check "and back" "$narrow" repack g32.gguf --format gptq -o back -q \
  --allow-dense
check "and to GGUF again" "$narrow" repack back --format gguf -o again.gguf -q
for file in g32.gguf again.gguf; do
  "$narrow" inspect $file --json - 2>err.txt | grep -v '"path"\|"file"' \
    >"$file.json"
done
check "type of the matrices" grep -q '"[qQ]4_0"' g32.gguf.json
score() {  # MODEL
  "$narrow" perplexity "$1" --text "$text" --chunks 1 --context 128 \
    --precision exact --token-scores --json - -q |
    sed -n '/"tokens"\|log_prob/p' >"scores.txt"
  [ -s scores.txt ] && mv scores.txt "$(basename "$1").scores"
}
check "scores of the directory" score g32
check "of the file" score g32.gguf
check "of the directory made of it" score back
check "directory made of the file scores as the file" \
  cmp g32.gguf.scores back.scores
check "8 bits" quantize -o int8 -m rtn -b 8 -g 32 --format compressed-tensors
check "to Q8_0" "$narrow" repack int8 --format gguf --type q8_0 -o q8.gguf -q
check "MXFP4" quantize -o mx -m mxfp4
check "to GGUF" "$narrow" repack mx --format gguf -o mx.gguf -q
refuse "a type that cannot hold the codes" "q4_0" no.gguf \
  "$narrow" repack int8 --format gguf --type q4_0 -o no.gguf -q

check "KL divergence" "$narrow" perplexity "$tiny" gptq --text "$text" \
  --chunks 2 --context 128 --kl-divergence --json kl.json -q
check "is in the report" grep -q '"kl_divergence"' kl.json

# An adapter over a model of an unknown family.
cp -rL "$lora/llama" base
chmod -R u+w base
echo '{"model_type": "unheard-of", "torch_dtype": "float32"}' >base/config.json
check "merging alone" "$narrow" quantize base --lora "$lora/plain" \
  --merge-only -o merged -q
check "changes the weights" differ base/$weights merged/$weights
check "merging before quantizing" "$narrow" quantize base -m nf4 \
  --lora "$lora/plain" -o merged-nf4 -q
check "quantizing what was merged" "$narrow" quantize merged -m nf4 \
  -o nf4-merged -q
check "is the same" cmp merged-nf4/$weights nf4-merged/$weights
refuse "an adapter of another model" "base_model" no quantize -m nf4 \
  --lora "$lora/plain" -o no

# Bad input.
refuse "a model that is not there" "nowhere" no \
  "$narrow" quantize nowhere -m nf4 -o no
cp -rL "$tiny" cut
chmod -R u+w cut
truncate -s 100000 cut/$weights
refuse "a file cut short" "cut/$weights" no "$narrow" quantize cut -m nf4 -o no
refuse "a text that is not there" "no-text" no quantize -c no-text -o no
refuse "an option that does nothing" "--damping" no \
  quantize -m nf4 --damping 0.1 -o no
refuse "another" "--search" no quantize -m nf4 --search min-max -o no
refuse "and another" "--positive-scales" no \
  quantize -m hqq --positive-scales -o no
refuse "a quantized model" "--decode-quantized" no \
  "$narrow" quantize g32 -m nf4 -o no
check "unless it is to be decoded" "$narrow" quantize g32 -m nf4 \
  --decode-quantized -o decoded -q
refuse "a method that is not there" "--method" no quantize -m nf5 -o no
echo x >taken
refuse "an output that is there" "taken" no/ quantize -m nf4 -o taken

[ "$n_failed" -eq 0 ]
