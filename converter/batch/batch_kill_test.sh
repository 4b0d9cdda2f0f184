#!/bin/bash
# A release of one model and six targets, killed at random moments and started
# again until it is done: the same bytes and the same report as undisturbed,
# and at no moment an incomplete file under a final name.
#
#   [MODEL=DIR IMATRIX=FILE TEXT=FILE WINDOWS=N] [TYPES="Q8_0 …"]
#       batch_kill_test.sh [KILLS [SEED]]
#
# 5 kills of the embedded model unless told otherwise. With TYPES, these file
# types are the targets, and what comes after the kills is left out.
set -u
kills=${1:-5}
RANDOM=${2:-20260801}
narrow=$PWD/converter/narrow
model=${MODEL:-$PWD/testdata/tiny-llama}
imatrix=${IMATRIX:-$PWD/testdata/imatrix/tiny-llama-imatrix.gguf}
text=${TEXT:-$PWD/testdata/text/wikitext2-sample.txt}
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/batch.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() {
  echo "FAILED: $*"
  exit 1
}

types=${TYPES:-}
outputs=(model-{Q8_0,Q4_K_M,IQ3_XXS,plain}.gguf model-rtn-4bit model-hqq-4bit)
if [ -n "$types" ]; then
  outputs=()
  for type in $types; do outputs+=("model-$type.gguf"); done
fi
n_outputs=${#outputs[@]}

targets() {
  if [ -n "$types" ]; then
    printf 'target { to: "%s" }\n' $types
    return
  fi
  cat <<EOF
target { to: "Q8_0" }
target { to: "Q4_K_M" }
target { to: "IQ3_XXS" }
target { to: "Q4_0" name: "plain" imatrix: "none" }
target { recipe { rule { method: "rtn" bits: 4 } } }
target { recipe { rule { method: "hqq" bits: 4 } solver { hqq_iterations: 9 } } }
EOF
}
cat >"$work/release.textproto" <<EOF
out: "out"
model { path: "$model" name: "model" imatrix: "$imatrix" }
$(targets)
validation {
  text { name: "wiki" file: "$text" }
  context: 128 chunks: ${WINDOWS:-16} max_kld: 5
}
EOF
# Manifests have times: they are verified instead.
sums() {
  (cd "$1" && find . -type f ! -name '*manifest.*' | sort | xargs sha256sum)
}
verify() { # all outputs, and that their commands make the same tensors
  for output in "${outputs[@]}"; do
    "$narrow" verify "$work/out/$output" --rederive 3 -q >"$work/verified" 2>&1 ||
      fail "verify $output: $(cat "$work/verified")"
    json=$work/out/$output/narrow-manifest.json
    [ -f "$json" ] || json=$work/out/$output.manifest.json
    grep -q '"KL divergence"' "$json" || fail "$json: not what was measured"
  done
}
# Undisturbed, and how long it takes.
begin=$(date +%s%N)
"$narrow" batch "$work/release.textproto" -t 1 -q >"$work/table" || fail "the run: $(cat "$work/table")"
took_ms=$((($(date +%s%N) - begin) / 1000000))
[ "$(grep -c ' written$' "$work/table")" = "$n_outputs" ] || fail "table: $(cat "$work/table")"
sums "$work/out" >"$work/wanted"
grep -q '\.narrow-batch/cache' "$work/wanted" && fail "the cache was left"
[ "$(grep -c '  \./report\.\(html\|md\|json\)$' "$work/wanted")" = 3 ] || fail "no report"
parts=('narrow batch' 'narrow convert' Sanity)
[ -n "$types" ] || parts+=(IQ3_XXS hqq-4bit 'narrow quantize')
for part in "${parts[@]}"; do
  grep -q -- "$part" "$work/out/report.html" || fail "the page has no $part"
  grep -q -- "$part" "$work/out/report.md" || fail "the Markdown has no $part"
done
mv "$work/out" "$work/undisturbed"
echo "undisturbed: $took_ms ms, $(grep -c -v narrow-batch "$work/wanted") files"

# report.* is written when all is done, each time anew.
complete() { # every final name has its final bytes
  (cd "$work/out" 2>/dev/null || exit 0
   find . -type f ! -path './.narrow-batch/*' ! -name '*.partial' ! -path '*.partial/*' ! -name '*manifest.*' | sort |
     while read -r file; do
       grep -q "^$(sha256sum <"$file" | cut -d' ' -f1)  $file\$" "$work/wanted" ||
         echo "$file"
     done)
}

killed=0
while [ "$killed" -lt "$kills" ]; do
  "$narrow" batch "$work/release.textproto" -t 1 -q >/dev/null 2>"$work/err" &
  pid=$!
  # Sooner kills are likelier to hit the writing; none later than the whole.
  wait_ms=$((RANDOM % (took_ms * 6 / 10 + 1)))
  sleep "$(printf '%d.%03d' $((wait_ms / 1000)) $((wait_ms % 1000)))"
  if kill -9 "$pid" 2>/dev/null; then
    killed=$((killed + 1))
    wait "$pid" 2>/dev/null
  else
    # It was through before: begin a new one.
    wait "$pid" || fail "a run that was not killed: $(cat "$work/err")"
    rm -rf "$work/out"
  fi
  bad=$(complete)
  [ -z "$bad" ] || fail "after kill $killed: incomplete $bad"
done
"$narrow" batch "$work/release.textproto" -t 1 -q >"$work/table" 2>"$work/err" ||
  fail "the last run: $(cat "$work/err" "$work/table")"
sums "$work/out" >"$work/got"
diff "$work/wanted" "$work/got" >"$work/diff" || fail "not the same: $(cat "$work/diff")"
verify
if [ -n "$types" ]; then
  echo "PASSED: $killed kills"
  exit
fi

# Again: nothing is made.
"$narrow" batch "$work/release.textproto" -t 1 -q >"$work/table" || fail "again"
[ "$(grep -c ' there$' "$work/table")" = 6 ] || fail "made again: $(cat "$work/table")"
# A manifest that was lost alone is written again.
rm "$work/out/model-Q8_0.gguf.manifest.pb" "$work/out/model-hqq-4bit/narrow-manifest.pb"
"$narrow" batch "$work/release.textproto" -t 1 -q >"$work/table" || fail "manifests"
[ "$(grep -c ' there$' "$work/table")" = 6 ] || fail "made for a manifest: $(cat "$work/table")"
verify
# A damaged output alone is made again.
printf 'X' | dd of="$work/out/model-Q8_0.gguf" bs=1 seek=100000 conv=notrunc status=none
"$narrow" batch "$work/release.textproto" -t 1 -q >"$work/table" || fail "repair"
[ "$(grep -c ' written$' "$work/table")" = 1 ] || fail "repaired: $(cat "$work/table")"
sums "$work/out" | diff "$work/wanted" - || fail "repaired otherwise"
# A limit that is exceeded: exit code 3; a target that cannot be made: 1, and
# the others are there.
sed 's/max_kld: 5/max_kld: 0.0000001/' "$work/release.textproto" >"$work/strict.textproto"
"$narrow" batch "$work/strict.textproto" -q >"$work/table"
[ $? -eq 3 ] || fail "exit code of a failed gate"
sed 's/method: "hqq" bits: 4/method: "gptq" bits: 4/; s/"out"/"out2"/' "$work/release.textproto" >"$work/bad.textproto"
"$narrow" batch "$work/bad.textproto" -q >"$work/table" 2>/dev/null
[ $? -eq 1 ] || fail "exit code of a failed target"
[ "$(grep -c ' written$' "$work/table")" = 5 ] || fail "others: $(cat "$work/table")"
grep -q "gptq-4bit: .*calibrat" "$work/table" || fail "which: $(cat "$work/table")"
echo "PASSED: $killed kills"
