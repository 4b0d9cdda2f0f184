#!/bin/bash
# `narrow convert --target-…` from the command line: files within their target,
# nearer to the model than the fixed mix of the same size, as far from it as
# predicted; the losses measured once; the same choice for any number of
# threads and instruction set; the recipe gives the same file again; what makes
# no sense is refused. Prints GoogleTest's summary lines; exits 1 on a failure.
set -u
narrow=$PWD/converter/narrow
tiny=$PWD/testdata/tiny-llama
text=$PWD/testdata/text/wikitext2-sample.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n_failed=0

check() {  # DESCRIPTION COMMAND...
  local what=$1
  shift
  if "$@"; then
    echo "[       OK ] $what"
  else
    echo "[  FAILED  ] $what"
    n_failed=$((n_failed + 1))
  fi
}
refused() {  # STATUS WORDS OPTION...
  local status=$1 words=$2
  shift 2
  "$narrow" convert "$tiny" "$@" --out refused.gguf --quiet 2>refused.err
  test $? -eq "$status" && grep -q -- "$words" refused.err &&
    ! ls | grep -q '^refused.gguf'
}
choose() {  # OUT OPTION...
  local out=$1
  shift
  "$narrow" convert "$tiny" --calibration "$text" --samples 40 \
    --sample-tokens 128 --out "$out" "$@"
}
divergence() {  # FILE: of the text, the whole of each window
  "$narrow" perplexity "$tiny" "$1" --kl-divergence --text "$text" \
    --context 128 --chunks 40 --all-positions --quiet --json - |
    grep -o '"kl_divergence": *[0-9.e-]*' | grep -o '[0-9.e-]*$'
}

"$narrow" convert "$tiny" --to Q4_K_M --out fixed.gguf --quiet
size=$(stat -c %s fixed.gguf)
choose a.gguf --target-size "$size" --write-recipe types.txt --json a.json \
  >a.txt 2>a.err
check "a size is asked for" test $? -eq 0
check "the file is within it" test "$(stat -c %s a.gguf)" -le "$size"
check "and uses it" test "$(stat -c %s a.gguf)" -gt $((size * 98 / 100))
check "the choice is printed" grep -qF "$(head -1 types.txt)" a.txt
check "the losses are kept" test -s tiny-llama-probe.json
check "with what they came to" grep -q '"plain": [0-9.]*' tiny-llama-probe.json
check "which is told" grep -q "measured on the second half of [0-9]* windows" \
  a.txt

cp tiny-llama-probe.json first.json
touch -d 2001-01-01 tiny-llama-probe.json
choose b.gguf --target-bpw 4.25 --quiet
check "other targets need no other probe" \
  test first.json -nt tiny-llama-probe.json -a -s b.gguf
choose e.gguf --target-kld 0.01 >e.txt 2>/dev/null
measured=$(grep -o 'calibrated on: [0-9.e-]*' e.txt | cut -d' ' -f3)
echo "asked for 0.01, measured $measured"
check "a divergence is reached" \
  awk "BEGIN { exit !($measured > 0.0075 && $measured < 0.0133) }"
choose c.gguf --target-kld 0.01 --quiet --threads 1 --probe c.json
losses() { grep -v '"plain"' "$1" >"$1.losses"; }
losses first.json && losses c.json
check "one thread measures the same" cmp first.json.losses c.json.losses
NARROW_ISA=avx2 choose d.gguf --target-kld 0.01 --quiet --probe d.json
losses d.json
check "and so does AVX2" cmp first.json.losses d.json.losses
check "and chooses the same" cmp c.gguf d.gguf

type=$(grep -o 'again: --to [A-Z0-9_]*' a.txt | cut -d' ' -f3)
"$narrow" convert "$tiny" --to "$type" --tensor-type-file types.txt \
  --out again.gguf --quiet
check "the recipe gives the same file" cmp a.gguf again.gguf

choose dry.gguf --target-bpw 4.25 --dry-run --quiet --write-recipe dry.txt
check "a dry run ends with the choice" test -s dry.txt -a ! -e dry.gguf

# Where all windows are the text's, the solver takes the losses' weights.
choose solved.gguf --target-size "$size" --solver compensated --order one-shot \
  --probe solved.json --cover 0 --quiet
check "with a solver" test "$(stat -c %s solved.gguf)" -le "$size"
choose solved2.gguf --target-size "$size" --solver compensated \
  --order one-shot --probe solved.json --cover 0 --quiet
check "token weights that the losses came of are those computed anew" \
  cmp solved.gguf solved2.gguf
check "of which the losses are others" test -s solved.json
check "that are not taken for it" \
  bash -c '! cmp -s solved.json tiny-llama-probe.json'

a=$(divergence a.gguf) fixed=$(divergence fixed.gguf)
predicted=$(grep -o 'divergence of [0-9.e-]*' a.txt | cut -d' ' -f3)
echo "fixed $fixed, chosen $a, predicted $predicted"
less() { awk "BEGIN { exit !($1 < $2) }"; }
check "nearer to the model than the fixed mix" less "$a" "0.9 * $fixed"
check "no farther than predicted" less "$a" "1.3 * $predicted"
check "nor much nearer" less "$predicted" "1.3 * $a"

check "too small" refused 1 "the least is" --target-size 100KB \
  --calibration "$text" --samples 40 --sample-tokens 128
check "too good" refused 1 "the least that is predicted" --target-kld 1e-9 \
  --calibration "$text" --samples 40 --sample-tokens 128
check "no text" refused 2 "--calibration" --target-bpw 4
check "two targets" refused 2 "exclude each other" --target-bpw 4 \
  --target-kld 1 --calibration "$text"
check "a target and a type" refused 2 "--to says" --target-bpw 4 --to Q4_K_M \
  --calibration "$text"
check "neither" refused 2 "--to is required"
check "types without a target" refused 2 "--types is for" --to Q4_K_M \
  --types Q4_K
check "no such type" refused 2 "nearest is" --target-bpw 4 --types Q4_KK \
  --calibration "$text"
check "types without blocks" refused 2 "no blocks" --target-bpw 4 \
  --types F16 --calibration "$text"
cp "$text" mine.txt
check "a recipe in place of the text" refused 1 "" --target-bpw 4.25 \
  --calibration mine.txt --write-recipe mine.txt --samples 40 \
  --sample-tokens 128
check "which is kept" cmp "$text" mine.txt
check "a probe in place of the text" refused 1 "" --target-bpw 4.25 \
  --calibration mine.txt --probe mine.txt --samples 40 --sample-tokens 128
check "which is kept, too" cmp "$text" mine.txt

test $n_failed -eq 0
