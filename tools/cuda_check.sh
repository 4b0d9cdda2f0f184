#!/bin/sh
# All that is to be known of a card, in one run on a machine that
# has one: tools/cuda_check.sh [PROGRAM [OUT]]
#
#   bazel build -c opt --define=cuda=1 //tools/cuda:check
#   cp bazel-bin/tools/cuda/check DIR; (there) tools/cuda_check.sh DIR/check
#
# PROGRAM is //tools/cuda:check, carried there: it asks for no toolkit and no
# library but the C library and the driver. Without PROGRAM it is built here,
# for which Bazel and nvcc must be there. OUT (default ./cuda_check) gets
# tests.txt, sanitizer.txt, bench.txt and machine.txt. Exit code: 0 if all that
# ran passed, 1 if not, 3 without a card.
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

run tests.txt "$program"
if [ "$worst" -ne 0 ]; then
  exit "$worst"
fi
run bench.txt "$program" --bench --gtest_filter=None
if command -v compute-sanitizer >/dev/null; then
  # Small cases alone: each kernel runs some hundred times slower.
  for tool in memcheck racecheck initcheck synccheck; do
    run "sanitizer_$tool.txt" compute-sanitizer --tool "$tool" \
      --error-exitcode 1 "$program" --gtest_filter='*Sanitized*:DeviceRows*:DevicePairs*:DeviceExperts*:*Attention*:DeviceProducts*:TensorTile*:RowGroups*:DeviceFinish*'
  done
else
  echo "no compute-sanitizer here" | tee "$out/sanitizer.txt"
fi

# Every kind of encoder: the bytes must be the processor's.
compare_files() {
  for type in Q4_0 Q5_1 Q8_0 Q2_K Q4_K_M Q5_K_M Q6_K IQ4_XS TQ2_0 BF16; do
    for device in cpu cuda; do
      "$NARROW" convert "$MODEL" --to "$type" --out "$out/$device.gguf" -q \
        --no-manifest --device "$device" || return 1
    done
    cmp "$out/cpu.gguf" "$out/cuda.gguf" || return 1
    echo "$type: the same bytes"
  done
  rm -f "$out/cpu.gguf" "$out/cuda.gguf"
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
  run perplexity.txt compare_perplexity
fi
exit "$worst"
