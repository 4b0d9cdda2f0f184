#!/bin/bash
# Solved targets of a release: the bytes of `narrow convert --solver`, token
# weights computed once for all, gone on with after a kill, skipped when there.
set -u
narrow=$PWD/converter/narrow
model=$PWD/testdata/tiny-llama
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/solved.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() {
  echo "FAILED: $*"
  exit 1
}
head -c 60000 "$PWD/testdata/text/wikitext2-sample.txt" >"$work/text.txt"

cat >"$work/release.textproto" <<EOF
out: "out"
model { path: "$model" name: "model" }
calibration { file: "text.txt" samples: 8 sample_tokens: 64 cover: 0 }
target { to: "Q8_0" }
target { to: "Q4_K_M" solver: "compensated" }
target { to: "Q3_K_M" solver: "compensated" solver_options { rounds: 1 token_weights: "none" } }
target { to: "Q4_0" solver: "compensated" solver_options { order: "one-shot" token_weights: "none" } }
target { to: "Q5_0" solver: "compensated" solver_options { order: "one-shot" token_weights: "none" } }
EOF
"$narrow" batch "$work/release.textproto" -t 2 >"$work/table" 2>"$work/err" ||
  fail "the run: $(cat "$work/err" "$work/table")"
[ "$(grep -c ' written$' "$work/table")" = 5 ] || fail "table: $(cat "$work/table")"
[ "$(grep -c 'model: Q4_0, Q5_0$' "$work/err")" = 1 ] || fail "one pass: $(cat "$work/err")"

common=(--solver compensated -c "$work/text.txt" --samples 8 --sample-tokens 64 --cover 0 --no-manifest -q)
"$narrow" convert "$model" --to Q4_K_M "${common[@]}" --out "$work/a.gguf" || fail convert
"$narrow" convert "$model" --to Q3_K_M --rounds 1 --token-weights none "${common[@]}" --out "$work/b.gguf" || fail convert
"$narrow" convert "$model" --to Q5_0 --order one-shot --token-weights none "${common[@]}" --out "$work/c.gguf" || fail convert
cmp "$work/a.gguf" "$work/out/model-Q4_K_M.gguf" || fail "Q4_K_M"
cmp "$work/b.gguf" "$work/out/model-Q3_K_M.gguf" || fail "Q3_K_M"
cmp "$work/c.gguf" "$work/out/model-Q5_0.gguf" || fail "Q5_0"
"$narrow" verify "$work/out/model-Q5_0.gguf" --rederive 4 -q || fail "verify one-shot"
"$narrow" verify "$work/out/model-Q4_K_M.gguf" --rederive 2 -q || fail "verify sequential"
find "$work/out" -name '*.partial' | grep . && fail "work was left"

"$narrow" batch "$work/release.textproto" -q >"$work/table" || fail "again"
[ "$(grep -c ' there$' "$work/table")" = 5 ] || fail "made again: $(cat "$work/table")"

# Killed at one moment after another until it is through: the same bytes.
(cd "$work/out" && sha256sum ./*.gguf) >"$work/wanted"
rm -rf "$work/out"
for _ in $(seq 25); do
  "$narrow" batch "$work/release.textproto" -t 2 -q >/dev/null 2>&1 &
  pid=$!
  sleep "0.$((RANDOM % 9))"
  kill -9 "$pid" 2>/dev/null || { wait "$pid" && break; }
  wait "$pid" 2>/dev/null
done
"$narrow" batch "$work/release.textproto" -t 2 -q >"$work/table" 2>&1 || fail "the last run: $(cat "$work/table")"
(cd "$work/out" && sha256sum -c --quiet "$work/wanted") || fail "other bytes after kills"
find "$work/out" -name '*.partial' | grep . && fail "work was left after kills"

# What convert would refuse is refused before anything is made.
sed -i 's/rounds: 1/rounds: -1/; s/"out"/"out2"/' "$work/release.textproto"
"$narrow" batch "$work/release.textproto" -q >"$work/table" 2>&1 && fail "rounds: -1"
grep -q -- "--rounds.*Q3_K_M" "$work/table" || fail "message: $(cat "$work/table")"
[ -e "$work/out2" ] && fail "began all the same"
echo PASSED
