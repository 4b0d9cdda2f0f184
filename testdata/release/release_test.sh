#!/bin/bash
# Parts give the bytes of a single action; a change of one override changes
# the plans of the parts that have its tensors, and no others.
set -u
cd testdata/release || exit 1
failed=0
fail() {
  echo "FAILED: $*"
  failed=1
}
cmp tiny-Q4_K_M.gguf whole.gguf || fail "parts and whole differ"
diff -r tiny-hqq whole-hqq || fail "parts and whole of a recipe differ"
cmp -s override.gguf whole.gguf && fail "the override changed nothing"
for file in tiny-Q8_0.gguf tiny-hqq/config.json tiny_report.json \
  tiny_report.html tiny_report.md; do
  [ -s "$file" ] || fail "no $file"
done
sha256sum --quiet -c tiny_sha256.txt || fail "hashes"

narrow=../../converter/narrow
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
plans() { # folder, flags
  local folder=$1
  shift
  "$narrow" convert ../tiny-llama --to Q4_K_M \
    --imatrix ../imatrix/tiny-llama-imatrix.gguf --shards 4 \
    --write-plans "$work/$folder" -q "$@" || fail "plans $folder"
}
plans before
plans after --tensor-type 'blk\.3\.ffn_down=q8_0'
plans again
diff -r "$work/before" "$work/again" || fail "plans are not the same twice"
changed=0
for k in 1 2 3 4; do
  plan=part-0000$k-of-00004.plan
  cmp -s "$work/before/$plan" "$work/after/$plan" || changed=$((changed + 1))
done
[ "$changed" -ge 1 ] && [ "$changed" -le 2 ] || fail "$changed plans changed"
[ "$failed" -eq 0 ] && echo PASSED
exit "$failed"
