#!/bin/bash
# `narrow convert --shard` and `narrow merge` from the command line: the bytes
# of a single run, whatever its flags; and what cannot be done in parts is
# refused with what to do instead. Prints GoogleTest's summary lines; exits 1
# on a failure.
set -u
narrow=$PWD/converter/narrow
tiny=$PWD/testdata/tiny-llama
imatrix=$PWD/testdata/imatrix/tiny-llama-imatrix.gguf
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
# Fails with this exit code and a message that has these words.
refused() {  # STATUS WORDS OPTION...
  local status=$1 words=$2
  shift 2
  "$narrow" "$@" 2>refused.err
  test $? -eq "$status" && grep -q -- "$words" refused.err
}
# In N parts with these flags, merged: the files of a run without --shard.
same() {  # N FLAG...
  local n=$1
  shift
  rm -rf single parts merged && mkdir single parts merged
  "$narrow" convert "$tiny" "$@" --out single/m.gguf -q --no-manifest \
    2>/dev/null || return 1
  for k in $(seq "$n"); do
    "$narrow" convert "$tiny" "$@" --shard "$k/$n" --out parts/ -q \
      --threads $((k % 3 + 1)) 2>/dev/null || return 1
  done
  "$narrow" merge parts/* --out merged/m.gguf -q --no-manifest && diff -r single merged
}

check "plain, default names" same 4 --to Q4_K_M
check "with importance" same 3 --to IQ2_S --imatrix "$imatrix"
check "several GGUF files" same 2 --to Q8_0 --split-max-size 1M
check "keys, types, layers" same 5 --to Q4_K_M --override-kv \
  general.name=str:other --tensor-type ffn_down=q6_k --prune-layers 1
check "scales of tensors" same 6 --to NVFP4
check "a copy" same 2 --to COPY
check "solved, one-shot" same 3 --to Q4_K_M --solver compensated \
  --order one-shot --calibration "$text" --samples 8 --sample-tokens 64 --cover 0
check "no solver's work is left" bash -c '! ls -d parts/*.partial 2>/dev/null'

# By plans in files: of those, only the one whose tensors get another type is
# another, and so is only its part.
plans() {  # FOLDER FLAG...
  local folder=$1
  shift
  "$narrow" convert "$tiny" --to Q4_K_M --imatrix "$imatrix" "$@" --shards 4 \
    --write-plans "$folder" -q 2>/dev/null
}
plans plans && plans other --tensor-type 'blk\.0\.ffn_down=q8_0'
check "one override changes the head and some plans only" bash -c '
  ! cmp -s plans/head.plan other/head.plan &&
  test "$(for k in 1 2 3 4; do cmp -s plans/part-0000$k-of-00004.plan \
    other/part-0000$k-of-00004.plan || echo $k; done | wc -l)" -le 2'
mkdir planned
for k in 1 2 3 4; do
  "$narrow" convert "$tiny" --plan "plans/part-0000$k-of-00004.plan" \
    --imatrix "$imatrix" --out "planned/$k" -q 2>/dev/null
done
"$narrow" convert "$tiny" --to Q4_K_M --imatrix "$imatrix" --out whole.gguf \
  -q 2>/dev/null
check "parts of plans merge" "$narrow" merge plans/head.plan planned/* \
  --out planned.gguf -q
check "to the bytes of a single run" cmp planned.gguf whole.gguf
check "the head is asked for" refused 1 "head.plan" \
  merge planned/* --out m.gguf
check "a part of another plan is refused" refused 1 "the plan goes on with" \
  merge other/head.plan planned/* --out m.gguf
check "without its importance matrix a plan is refused" refused 1 \
  "planned with importance" convert "$tiny" \
  --plan plans/part-00002-of-00004.plan --out m.part
check "types are decided" refused 2 "goes to --write-plans" convert "$tiny" \
  --to Q8_0 --plan plans/part-00002-of-00004.plan --out m.part

"$narrow" convert "$tiny" --to Q4_K_M --shard 1/2 --out one -q 2>/dev/null
check "a dry run says the rows' size and writes nothing" bash -c \
  "'$narrow' convert '$tiny' --to Q4_K_M --shard 2/2 --out two --dry-run \
  2>/dev/null | grep -q 'part 2 of 2' && test ! -e two"
check "a missing part is named" refused 1 "missing: 2" merge one --out m.gguf
check "another text is another plan" bash -c "
  for k in 1 2; do
    '$narrow' convert '$tiny' --to Q4_K_M --solver compensated \
      --order one-shot --calibration '$text' --cover 0 --samples \$((4 + k)) \
      --sample-tokens 64 --shard \$k/2 --out solved-\$k -q 2>/dev/null
  done
  ! '$narrow' merge solved-1 solved-2 --out m.gguf 2>err.txt &&
  grep -q 'different plans' err.txt"
check "a GGUF file is no part" refused 1 "no part of a conversion" \
  merge single/m.gguf --out m.gguf
"$narrow" convert "$tiny" --to Q4_K_M --shard 1/1 --out whole -q 2>/dev/null
check "an output is no part" refused 1 "is one of the parts" \
  merge whole --out whole
check "several types" refused 2 "one of them at a time" \
  convert "$tiny" --to Q4_K_M,Q8_0 --shard 1/2
check "a target size" refused 2 "--tensor-type-file" \
  convert "$tiny" --target-size 1MB --calibration "$text" --shard 1/2
check "sequential solving" refused 2 "--order one-shot" convert "$tiny" \
  --to Q4_K_M --solver compensated --calibration "$text" --shard 1/2
check "verdicts on blocks" refused 2 "judges whole blocks" convert "$tiny" \
  --to Q4_K_M --solver compensated --calibration "$text" --order one-shot \
  --verify-kld --shard 1/2
check "no such part" refused 2 "1 <= K <= N" \
  convert "$tiny" --to Q4_K_M --shard 3/2
check "nothing was written" test ! -e m.gguf
[ "$n_failed" -eq 0 ]
