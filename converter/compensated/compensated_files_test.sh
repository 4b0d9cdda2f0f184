#!/bin/bash
# `narrow convert --solver compensated` from the command line: the same bytes
# for any number of threads, instruction set and after being killed; nearer to
# the model than a file made with the same text's importance; nothing written
# where nothing should be. Prints GoogleTest's summary lines; exits 1 on a
# failure.
set -u
narrow=$PWD/converter/narrow
tiny=$PWD/testdata/tiny-llama
text=$PWD/testdata/text/wikitext2-sample.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n_failed=0
weights=none
cover=0

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
# Fails with a message that has these words, and leaves nothing.
refused() {  # STATUS WORDS OPTION...
  local status=$1 words=$2
  shift 2
  "$narrow" convert "$tiny" "$@" --out refused.gguf --quiet 2>refused.err
  test $? -eq "$status" && grep -q -- "$words" refused.err &&
    ! ls | grep -q '^refused.gguf'
}
solve() {  # OUT OPTION...
  local out=$1
  shift
  "$narrow" convert "$tiny" --to Q4_K_M --solver compensated \
    --calibration "$text" --samples 12 --sample-tokens 96 --out "$out" \
    --quiet --token-weights $weights --cover $cover "$@"
}

for order in sequential one-shot; do
  solve $order.gguf --order $order --threads 1 --json $order.json
  check "$order: a run succeeds" test $? -eq 0
  solve other.gguf --order $order --threads 2
  check "$order: two threads give the same bytes" cmp $order.gguf other.gguf
  for isa in avx2 avx512; do
    NARROW_ISA=$isa solve other.gguf --order $order
    check "$order: the same bytes with $isa" cmp $order.gguf other.gguf
  done
  check "$order: the report says what was gained" \
    grep -q '"error_plain"' $order.json
done
check "the orders differ" bash -c '! cmp -s sequential.gguf one-shot.gguf'
cover=4
solve other.gguf --order one-shot
cover=0
check "drawn windows change the bytes" \
  bash -c '! cmp -s one-shot.gguf other.gguf'
solve other.gguf --order one-shot --rounds 8 --column-orders 2
check "without coupled outputs more is tried" cmp one-shot.gguf other.gguf
solve other.gguf --order one-shot --column-orders 1
check "orders of columns change the bytes" \
  bash -c '! cmp -s one-shot.gguf other.gguf'
check "no work is left" bash -c '! ls -d *.partial 2>/dev/null'

# Blocks judged by the model's divergence on windows of their own.
for order in sequential one-shot; do
  solve verified.gguf --order $order --verify-kld --verify-windows 4 \
    --json verified.json --threads 1
  check "$order: verified blocks are kept" \
    test "$(grep -o '"accepted": true' verified.json | wc -l)" -ge 4
  check "$order: all being better, the bytes are the same" \
    cmp $order.gguf verified.gguf
  cp verified.json first.json
  NARROW_ISA=avx2 solve verified.gguf --order $order --verify-kld \
    --verify-windows 4 --json verified.json
  check "$order: verdicts do not depend on threads and instruction set" \
    cmp <(grep '"kl_div' first.json) <(grep '"kl_div' verified.json)
done

# Killed at several moments, it goes on, and ends with the same bytes.
weights=fisher
begin=$(date +%s%N)
solve whole.gguf
took=$((($(date +%s%N) - begin) / 1000000))
check "token weights change the bytes" \
  bash -c '! cmp -s sequential.gguf whole.gguf'
for part in 0.3 0.5 0.7 0.9; do
  "$narrow" convert "$tiny" --to Q4_K_M --solver compensated --calibration \
    "$text" --samples 12 --sample-tokens 96 --out killed.gguf --quiet \
    --token-weights fisher --cover $cover 2>/dev/null &
  pid=$!
  sleep "$(awk -v p=$part -v t=$took 'BEGIN{print p*t/1000}')"
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  check "killed at $part: no incomplete output" \
    bash -c '[ ! -e killed.gguf ] || cmp whole.gguf killed.gguf'
  rm -f killed.gguf
done
solve killed.gguf
check "after all kills the bytes are the same" cmp whole.gguf killed.gguf
check "no work is left of it" \
  bash -c '! ls -d killed.gguf.*partial* 2>/dev/null'

# Both types of one run are those of runs of their own.
mkdir both
"$narrow" convert "$tiny" --to Q4_K_M,Q2_K --solver compensated \
  --token-weights none --cover $cover \
  --calibration "$text" --samples 12 --sample-tokens 96 --out both --quiet
check "several types in one run" cmp sequential.gguf \
  both/tiny-llama-Q4_K_M.gguf

# Of types that need importance, the embedding gets it with all else.
check "an embedding of a type that needs importance" \
  "$narrow" convert "$tiny" --to IQ2_XS --pure --solver compensated \
  --calibration "$text" --samples 8 --sample-tokens 64 --out small.gguf \
  --order one-shot --quiet
check "which its gradients give" \
  refused 1 "token_embd.weight.*needs an importance matrix" --to IQ2_XS \
  --pure --solver compensated --calibration "$text" --token-weights none

# Nearer to the model than plain rounding with importance.
"$narrow" imatrix "$tiny" --text "$text" --out imatrix.gguf --quiet 2>/dev/null
"$narrow" convert "$tiny" --to Q2_K --imatrix imatrix.gguf --out plain.gguf \
  --quiet 2>/dev/null
"$narrow" convert "$tiny" --to Q2_K --solver compensated --calibration "$text" \
  --samples 64 --sample-tokens 128 --order one-shot --out near.gguf \
  --json near.json --quiet
"$narrow" perplexity "$tiny" plain.gguf near.gguf \
  --text "$text" --kl-divergence --context 128 --json kl.json >/dev/null 2>&1
check "the embedding, which is the output matrix too, is solved" \
  grep -q 'solved as input and output matrix in one' near.json
check "KL divergence is at most 0.8 of the plain file's" awk '
  /"kl_divergence":/ { gsub(/[^0-9.e-]/, "", $2); kl[++n] = $2 }
  END { print kl[1], kl[2]; exit !(n == 2 && kl[2] > 0 && kl[2] < 0.8 * kl[1]) }
' <(tr '{,' '\n\n' < kl.json | sed 's/^ */ /')

"$narrow" convert "$tiny" --to Q4_K_M --solver compensated --calibration \
  "$text" --samples 120 --sample-tokens 96 --out dry.gguf --dry-run \
  > dry.txt 2>/dev/null
check "a dry run says what would be solved" \
  grep -q 'would solve 29 tensors' dry.txt
check "and how many windows are drawn" \
  grep -q '120 windows.*, 30 of them drawn' dry.txt
check "and writes nothing" bash -c '! ls | grep -q ^dry.gguf'
check "an unknown solver is refused with the nearest" \
  refused 2 "the nearest is 'compensated'" --to Q4_K_M --solver compensate
check "a solver needs a text" \
  refused 2 "--calibration" --to Q4_K_M --solver compensated
check "flags of a solver need one" \
  refused 2 "is for solvers" --to Q4_K_M --drift 0.5
check "not all windows can be drawn" \
  refused 2 "no window of the text" --to Q4_K_M --solver compensated \
  --calibration "$text" --cover 1
check "so do those of verdicts" \
  refused 2 "is for solvers" --to Q4_K_M --verify-kld
check "windows to verify on are for verdicts" \
  refused 2 "is for --verify-kld" --to Q4_K_M --solver compensated \
  --calibration "$text" --verify-windows 4
check "and are not those calibrated on" \
  refused 1 "verify-kld needs 4000 windows" --to Q4_K_M --solver compensated \
  --calibration "$text" --verify-kld --verify-windows 4000 --samples 4
check "a copy has nothing to solve" \
  refused 2 "COPY" --to COPY --solver compensated --calibration "$text"
head -c 3000 "$text" > few.txt
"$narrow" convert "$tiny" --to Q4_K_M --solver compensated --calibration \
  few.txt --out dry.gguf --dry-run > dry.txt 2> dry.err
check "what a short text lacks is drawn" \
  grep -q '128 windows.*, 12[67] of them drawn' dry.txt
check "and said" grep -q 'fewer than are asked for' dry.err
echo "too short" > short.txt
check "a text too short is refused" \
  refused 1 "short.txt\|tokens" --to Q4_K_M --solver compensated \
  --calibration short.txt
exit $((n_failed > 0))
