#!/bin/bash
# Parts give the bytes of a single action, and the release has all its files.
set -u
cd testdata/release || exit 1
failed=0
fail() {
  echo "FAILED: $*"
  failed=1
}
cmp tiny-Q4_K_M.gguf whole.gguf || fail "parts and whole differ"
cmp -s override.gguf whole.gguf && fail "the override changed nothing"
for file in tiny-Q8_0.gguf tiny-hqq/config.json tiny_report.json \
  tiny_report.html tiny_report.md; do
  [ -s "$file" ] || fail "no $file"
done
sha256sum --quiet -c tiny_sha256.txt || fail "hashes"

[ "$failed" -eq 0 ] && echo PASSED
exit "$failed"
