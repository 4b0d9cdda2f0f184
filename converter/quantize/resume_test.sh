#!/bin/bash
# Kills quantizing runs at random moments, 20 times, and starts them again:
# every run that comes to its end must give the bytes of one that nobody
# disturbed. Prints GoogleTest's summary lines; exits 1 on a failure.
set -u
narrow=$PWD/converter/narrow
tiny=$PWD/testdata/tiny-llama
text=$PWD/testdata/text/wikitext2-sample.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n_failed=0
seed=20261122
RANDOM=$seed  # of the moments
echo "seed $seed"

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
now_ms() { echo $(($(date +%s%N) / 1000000)); }
start() {  # OUT OPTION...: sets pid
  local out=$1
  shift
  "$narrow" quantize "$tiny" --calibration "$text" --samples 16 \
    --sample-tokens 192 --out "$out" --quiet "$@" 2>"$out.err" &
  pid=$!
}
quantize() {
  start "$@"
  wait $pid
}

begin=$(now_ms)
quantize whole
check "an undisturbed run succeeds" test $? -eq 0
took=$(($(now_ms) - begin))

n_killed=0
n_ended=0
n_runs=0
while [ $n_killed -lt 20 ] && [ $n_runs -lt 200 ]; do
  n_runs=$((n_runs + 1))
  start out
  sleep "$(awk -v r=$RANDOM -v t=$took 'BEGIN{print 1.1*r/32768*t/1000}')"
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  status=$?
  if [ $status -eq 137 ]; then
    n_killed=$((n_killed + 1))
    check "kill $n_killed leaves no incomplete output" \
      bash -c '[ ! -e out ] || diff -r -x "narrow-manifest.*" whole out'
    # Killed when it had nothing left to do but to end.
    [ -e out ] && [ ! -e out.partial ] && rm -rf out out.partial.old
    continue
  fi
  check "a run that was not killed ends well" test $status -eq 0
  check "and gives the same bytes" diff -r -x "narrow-manifest.*" whole out
  n_ended=$((n_ended + 1))
  rm -rf out
done
check "20 runs were killed" test $n_killed -eq 20
quantize out
check "the last run ends well" test $? -eq 0
check "and gives the same bytes" diff -r -x "narrow-manifest.*" whole out
check "and leaves no work" test ! -e out.partial
rm -rf out

# Work of another recipe is neither used nor thrown away unasked.
start out
for _ in $(seq 200); do
  [ -e out.partial/state/calibrator ] && break
  sleep 0.02
done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
if [ -e out.partial/state/calibrator ] && [ ! -e out ]; then
  quantize out --bits 8
  check "work of another recipe is refused" test $? -eq 1
  check "and the way out is named" grep -qF -- --restart out.err
  check "and it stays" test -e out.partial/state/calibrator
  quantize out --json report.json
  check "the same recipe goes on" \
    grep -q '"resumed_blocks": [1-9]' report.json
  check "with the same bytes" diff -r -x "narrow-manifest.*" whole out
else
  echo "[  SKIPPED ] the run had ended before it was killed"
fi
rm -rf out out.partial
quantize other --bits 8 && mv other whole8
start out
sleep "$(awk -v t=$took 'BEGIN{print t/2000}')"
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
rm -rf out
quantize out --bits 8 --restart
check "--restart discards it" diff -r -x "narrow-manifest.*" whole8 out

# A signal that can be caught keeps the work, and says so.
rm -rf out
start out
for _ in $(seq 200); do
  [ -e out.partial/state/calibrator ] && break
  sleep 0.02
done
kill -TERM $pid 2>/dev/null
wait $pid
status=$?
if [ $status -ne 0 ]; then
  check "a stopped run says how to go on" grep -qF "the same command" out.err
  quantize out
fi
check "and the next gives the same bytes" diff -r -x "narrow-manifest.*" whole out

[ $n_failed -eq 0 ] && echo "[  PASSED  ] all, over $n_ended whole runs"
exit $((n_failed > 0))
