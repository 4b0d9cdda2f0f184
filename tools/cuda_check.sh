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
exit "$worst"
