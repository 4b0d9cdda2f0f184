#!/bin/sh
# Installs what the build needs, builds Narrow, converts the embedded model
# to Q4_K_M and Q8_0 and prints the perplexity of both beside the original's.
set -eu
cd "$(dirname "$0")/.."
tools/install.sh
bazel build -c opt //converter:narrow
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
narrow=bazel-bin/converter/narrow
"$narrow" convert testdata/tiny-llama --to Q4_K_M,Q8_0 --out "$out/"
"$narrow" perplexity testdata/tiny-llama "$out/tiny-llama-Q4_K_M.gguf" \
  "$out/tiny-llama-Q8_0.gguf" --text testdata/text/wikitext2-sample.txt
