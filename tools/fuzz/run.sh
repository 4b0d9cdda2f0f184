#!/bin/sh
# Builds the fuzz targets with LLVM's engine, AddressSanitizer and
# UndefinedBehaviorSanitizer and runs each for some time:
#
#   tools/fuzz/run.sh [SECONDS [FOLDER [TARGET...]]]
#
# SECONDS: for each target (600). FOLDER: where found inputs are kept and
# where a crash leaves its input (fuzz-out). Needs the Debian packages clang
# and libclang-rt-14-dev besides those of tools/packages.txt.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-600}
folder=$(realpath -m "${2:-fuzz-out}")
[ $# -gt 2 ] && shift 2 || set -- \
  //formats/gguf:gguf_fuzz //formats/arch/config:gguf_model_fuzz \
  //calibration/importance:importance_fuzz //formats/chat:chat_template_fuzz
# FUZZ_BAZEL_OPTIONS: startup options, as for another output base.
# shellcheck disable=SC2086
bazel ${FUZZ_BAZEL_OPTIONS:-} build --config=fuzz --symlink_prefix=/ "$@"
# shellcheck disable=SC2086
bin=$(bazel ${FUZZ_BAZEL_OPTIONS:-} info --config=fuzz bazel-bin)
for target in "$@"; do
  path=$(echo "$target" | sed 's|^//||; s|:|/|')
  case $target in
    *importance*) seeds=testdata/fuzz/imatrix ;;
    *chat*) seeds=testdata/chat/seeds ;;
    *) seeds=testdata/fuzz/model ;;
  esac
  kept=$folder/$(basename "$path")
  mkdir -p "$kept"
  echo "$target for $seconds seconds"
  # Refused sizes must not become allocations: 1 GB is far above any.
  "$bin/$path" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 \
    -max_len=65536 -print_final_stats=1 -artifact_prefix="$kept-" \
    "$kept" "$seeds"
done
