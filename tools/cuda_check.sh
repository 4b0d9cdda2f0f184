#!/bin/sh
# All that is to be known of a card, in one run on a machine that
# has one: tools/cuda_check.sh [PROGRAM [OUT]]
#
#   bazel build -c opt --define=cuda=1 //tools/cuda:check
#   cp bazel-bin/tools/cuda/check DIR; (there) tools/cuda_check.sh DIR/check
#
# PROGRAM is //tools/cuda:check, carried there: it asks for no toolkit, but,
# besides the C library and the driver, for oneDNN, which computes what the
# card's attention is compared with. Where the machine has none, carry what
# `ldd DIR/check` names beside the program: libdnnl.so.2, libgomp.so.1,
# libOpenCL.so.1, libstdc++.so.6, libgcc_s.so.1. Without PROGRAM it is built here,
# for which Bazel and nvcc must be there. OUT (default ./cuda_check) gets
# tests.txt, sanitizer.txt, bench.txt and machine.txt, and summary.md: a table of
# what was asked and what was reached. Exit code: 0 if all that ran passed, 1 if
# not, 3 without a card.
#
# With NARROW (//converter:narrow built with --define=cuda=1), MODEL and TEXT in
# the environment also: encode.txt, files of the card and the processor
# compared; perplexity.txt, perplexity of both, which must agree to 0.05 %.
set -u
program=${1:-}
out=${2:-cuda_check}
mkdir -p "$out" || exit 1

if [ -z "$program" ]; then
  (cd "$(dirname "$0")/.." &&
    bazel build -c opt --define=cuda=1 //tools/cuda:check) || exit 1
  program=$(dirname "$0")/../bazel-bin/tools/cuda/check
fi

# What was carried beside the program, where there is any.
if [ -e "$(dirname "$program")/libdnnl.so.2" ]; then
  folder=$(cd "$(dirname "$program")" && pwd)
  export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

{
  date
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv
  uname -a
} >"$out/machine.txt" 2>&1
cat "$out/machine.txt"

worst=0
# Runs "$@" with its output in OUT/$file too; remembers the worst exit code.
run() {
  file=$1
  shift
  echo "== $*"
  { "$@" 2>&1; echo "exit code $?"; } | tee "$out/$file"
  code=$(sed -n 's/^exit code //p' "$out/$file" | tail -n 1)
  if [ "$code" -gt "$worst" ]; then
    worst=$code
  fi
}

# A row of the summary: what, what was asked, the file with `run`'s output.
row() {
  code=$(sed -n 's/^exit code //p' "$out/$3" | tail -n 1)
  verdict=met
  [ "$code" -eq 0 ] || verdict='not met'
  echo "| $1 | $2 | ${4:-exit code $code} | $3 | $verdict |" >>"$out/summary.md"
}
# At any end there is a summary of what ran.
finish() {
  [ ! -s "$out/bench.txt" ] ||
    sed -n '/^| what/,/^$/p' "$out/bench.txt" | grep '^|' | sed 1,2d \
      >>"$out/summary.md"
  cat "$out/summary.md"
  exit "$worst"
}
{
  echo "| what | asked | reached | bound | |"
  echo "| --- | --- | --- | --- | --- |"
} >"$out/summary.md"

run tests.txt "$program"
row "differential tests" "all pass" tests.txt \
  "$(grep -c '^\[       OK' "$out/tests.txt") pass"
if [ "$worst" -ne 0 ]; then
  finish
fi
run bench.txt "$program" --bench --gtest_filter=None
if command -v compute-sanitizer >/dev/null; then
  # Small cases alone: each kernel runs some hundred times slower.
  for tool in memcheck racecheck initcheck synccheck; do
    run "sanitizer_$tool.txt" compute-sanitizer --tool "$tool" \
      --error-exitcode 1 "$program" --gtest_filter='*Sanitized*:DeviceRows*:DevicePairs*:DeviceExperts*:*Attention*:DeviceProducts*:TensorTile*:RowGroups*:DeviceFinish*'
    row "compute-sanitizer, $tool" "no errors" "sanitizer_$tool.txt"
  done
else
  echo "no compute-sanitizer here" | tee "$out/sanitizer.txt"
fi

# Every encoder, with and without importance: the bytes must be the
# processor's.
compare_type() {  # TYPE [FLAGS]
  type=$1
  shift
  for device in cpu cuda; do
    "$NARROW" convert "$MODEL" --to "$type" --out "$out/$device.gguf" -q \
      --no-manifest --device "$device" "$@" || return 1
  done
  cmp "$out/cpu.gguf" "$out/cuda.gguf" || return 1
  echo "$type $*: the same bytes"
}

compare_files() {
  "$NARROW" imatrix "$MODEL" --text "$TEXT" --chunks 40 -q --device cuda \
    --out "$out/imatrix.gguf" || return 1
  for type in F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K_M Q4_K_M Q5_K_M Q6_K \
    IQ4_NL IQ4_XS IQ3_S MXFP4 NVFP4 TQ1_0 TQ2_0 Q2_0 Q1_0; do
    compare_type "$type" || return 1
  done
  for type in Q4_0 Q5_1 Q2_K Q4_K_M IQ4_XS IQ3_XXS IQ3_S IQ2_XXS IQ2_XS IQ2_S \
    IQ1_S IQ1_M; do
    compare_type "$type" --imatrix "$out/imatrix.gguf" || return 1
  done
  rm -f "$out/cpu.gguf" "$out/cuda.gguf" "$out/imatrix.gguf"
}

perplexity_of() {  # MODE DEVICE
  "$NARROW" perplexity "$MODEL" --text "$TEXT" --chunks 40 -q --precision "$1" \
    --device "$2" --json "$out/$1-$2.json" >/dev/null || return 1
  grep -o '"perplexity": *[0-9.]*' "$out/$1-$2.json" | grep -o '[0-9.]*$'
}

compare_perplexity() {
  for mode in exact fast; do
    on_cpu=$(perplexity_of "$mode" cpu) || return 1
    on_card=$(perplexity_of "$mode" cuda) || return 1
    echo "$mode: $on_cpu on the processor, $on_card on the card"
    awk -v a="$on_cpu" -v b="$on_card" \
      'BEGIN { d = a > b ? a - b : b - a; exit !(d <= a * 0.0005) }' || return 1
  done
}

if [ -n "${NARROW:-}" ] && [ -n "${MODEL:-}" ] && [ -n "${TEXT:-}" ]; then
  run encode.txt compare_files
  row "files of card and processor, $(basename "$MODEL")" "the same bytes" \
    encode.txt "$(grep -c 'the same bytes' "$out/encode.txt") types"
  run perplexity.txt compare_perplexity
  row "perplexity of card and processor" "within 0.05 %" perplexity.txt \
    "$(grep '^exact' "$out/perplexity.txt")"
fi
finish
