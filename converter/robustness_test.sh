#!/bin/bash
# Runs the program as a release pipeline would, and breaks it: damaged input,
# too little room, signals, kills. Nothing may appear under a final name that
# is not complete. Prints GoogleTest's summary lines; exits 1 on a failure.
set -u
narrow=$PWD/converter/narrow
repo=$PWD
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
missing() { [ ! -e "$1" ]; }
says() { grep -qF -- "$1" err.txt; }
fails_with() { [ "$status" -eq "$1" ]; }

tiny=$repo/testdata/tiny-llama
"$narrow" convert "$tiny" --to Q4_K_M --out good.gguf -q --threads 1
check "converts the embedded model" test -s good.gguf
"$narrow" convert "$tiny" --to Q4_K_M --out again.gguf -q --threads 3
check "same bytes for any number of threads" cmp -s good.gguf again.gguf
for isa in scalar avx2; do
  NARROW_ISA=$isa "$narrow" convert "$tiny" --to Q4_K_M --out "$isa.gguf" -q
  check "same bytes with $isa code" cmp -s good.gguf $isa.gguf
done
"$narrow" convert "$tiny" --to Q8_0,Q4_K_M,Q6_K --out many/ -q
check "same bytes beside other outputs" cmp -s good.gguf \
  many/tiny-llama-Q4_K_M.gguf
"$narrow" convert "$tiny" --to BF16 --out bf16.gguf -q
"$narrow" convert bf16.gguf --to Q4_K_M --out from_gguf.gguf -q
check "same bytes through a GGUF file" cmp -s good.gguf from_gguf.gguf
"$narrow" convert "$tiny" --to Q4_K_M --out dry.gguf --dry-run >dry.txt
check "a dry run writes nothing" missing dry.gguf
check "a dry run knows the exact size" \
  grep -q ": $(stat -c %s good.gguf) bytes" dry.txt

"$narrow" convert "$tiny" --to Q4_K_M --dry-run --json - >dry.json
check "JSON on standard output stands alone" \
  test "$(head -c 1 dry.json)$(tail -n 1 dry.json)" = "{}"
"$narrow" 2>err.txt >/dev/null
check "no command at all is a usage error" test $? -eq 2
check "and shows the help" says Examples
"$narrow" convert "$tiny" --to Q4_KM 2>err.txt
status=$?
check "an unknown file type is a usage error" fails_with 2
check "and names the nearest" says Q4_K_M
"$narrow" convert no/such/model --to Q8_0 2>err.txt
status=$?
check "a missing model fails" fails_with 1
check "and is named" says no/such/model
"$narrow" convert "$tiny" 2>err.txt
check "missing flags are a usage error" test $? -eq 2
"$narrow" convert good.gguf --to Q8_0 --out re.gguf 2>err.txt
check "quantizing twice is refused" says --allow-requantize
check "and writes nothing" missing re.gguf
"$narrow" convert good.gguf --to Q8_0 --out good.gguf 2>err.txt
check "the output may not be the input" says "is the input"
"$narrow" perplexity --text no.txt 2>err.txt
check "perplexity of no model is a usage error" test $? -eq 2
"$narrow" perplexity good.gguf --text no.txt --stride 1000 2>err.txt
check "so is a stride beyond the context" test $? -eq 2

# Patterns that a backtracking matcher never finishes, or dies of.
timeout 20 "$narrow" convert "$tiny" --to Q4_K_M --out pattern.gguf -q \
  --tensor-type '(a*)*(b*)*(.*)*(.*)*x=q8_0'
check "a pattern of nested stars takes no time" cmp -s good.gguf pattern.gguf
"$narrow" convert "$tiny" --to Q4_K_M --out pattern.gguf \
  --tensor-type "$(printf '(%.0s' {1..60000})=q8_0" 2>err.txt
status=$?
check "a pattern of 60000 brackets fails" fails_with 1
check "and the limit is named" says "at most 1000"

# Outputs that would replace what they should not, or have no place.
mkfifo pipe
"$narrow" convert "$tiny" --to Q8_0 --out pipe 2>err.txt
check "a pipe is not replaced" test -p pipe
check "and the reason is given" says "device or a pipe"
cp -rL "$tiny" own && chmod -R u+w own
"$narrow" convert own --to Q8_0 --out own/model.safetensors 2>err.txt
check "weights of the input are not replaced" \
  cmp -s "$tiny/model.safetensors" own/model.safetensors
check "and the reason is given" says "a file of the input"
"$narrow" convert "$tiny" --to Q8_0 --out both --json ./both 2>err.txt
check "one path for model and report is refused" missing both
"$narrow" convert "$tiny" --to Q8_0 --out early.gguf --json own 2>err.txt
status=$?
check "a report that cannot be written fails" fails_with 1
check "before the work" missing early.gguf
"$narrow" inspect good.gguf --json again.gguf >/dev/null 2>err.txt
check "a report replaces no model" cmp -s good.gguf again.gguf

"$narrow" convert own --to Q8_0 --out own.gguf --json own/config.json 2>err.txt
check "nor the configuration of a model" \
  cmp -s "$tiny/config.json" own/config.json
check "and the reason is given" says "is no report"
"$narrow" convert good.gguf --to hf --out /proc/folder 2>err.txt
status=$?
check "a directory that cannot be made fails" fails_with 1
check "and is named" says "/proc/folder.partial"

# Standard streams: full, closed, or with a reader that went away.
"$narrow" types >/dev/full 2>err.txt
status=$?
check "lost output fails" fails_with 1
check "and says so" says "standard output"
"$narrow" inspect good.gguf --full | head -1 >head.txt
check "a reader that stops early is no failure" test "${PIPESTATUS[0]}" -eq 0

# Damage: weights that are not finite, and a file cut short.
cp -rL "$tiny" nan && chmod -R u+w nan
size=$(stat -Lc %s nan/model.safetensors)
printf '\xc0\x7f' |
  dd of=nan/model.safetensors bs=1 seek=$((size - 200)) conv=notrunc 2>/dev/null
"$narrow" convert nan --to Q8_0 --out nan.gguf 2>err.txt
status=$?
check "a weight that is not a number fails" fails_with 1
check "and its place is named" says "column"
check "and nothing is left" missing nan.gguf
check "nor a partial file" missing nan.gguf.partial
cp -rL "$tiny" cut && chmod -R u+w cut
truncate -s $((size - 100)) cut/model.safetensors
"$narrow" convert cut --to Q8_0 --out cut.gguf 2>err.txt
check "a truncated model names its file" says model.safetensors
check "and nothing is left" missing cut.gguf

ln -sf nowhere cut/tokenizer_config.json
cp -f "$tiny/model.safetensors" cut
"$narrow" convert cut --to Q8_0 --out cut.gguf 2>err.txt
status=$?
check "a link to nowhere is no missing optional file" fails_with 1
check "and is named" says tokenizer_config.json

# An imatrix of one entry, whose name has a line break and an escape code and
# whose only value is -1.
printf '\1\0\0\0\4\0\0\0a\n\33[\1\0\0\0\1\0\0\0\0\0\200\277' >odd.dat
"$narrow" convert "$tiny" --to Q8_0 --out odd.gguf --imatrix odd.dat 2>err.txt
check "names with control codes are shown in one line" \
  says "'a\n\x1b['"

cp odd.dat matrix.dat
"$narrow" convert "$tiny" --to Q8_0 --out matrix.dat --imatrix matrix.dat \
  2>err.txt
check "the importance matrix is not replaced" cmp -s odd.dat matrix.dat

"$narrow" convert "$tiny" --to Q8_0 --out empty.gguf --imatrix "" 2>err.txt
status=$?
check "an empty value is a usage error" fails_with 2
check "and the option is named" says "--imatrix"
check "and nothing is written" missing empty.gguf
echo 'attn_q=q8_0' >types.txt
"$narrow" convert "$tiny" --to Q4_K_M --tensor-type-file types.txt \
  --out types.txt 2>err.txt
check "the file of types is not replaced" grep -q attn_q types.txt
"$narrow" convert good.gguf --to COPY --leave-output-tensor --out flags.gguf \
  -q 2>err.txt
check "COPY says what has no part in it" says "COPY keeps the type"
"$narrow" convert good.gguf --to COPY --model-name other --out flags.gguf \
  -q 2>err.txt
check "so does a GGUF file of a directory's options" says "--model-name"
"$narrow" convert good.gguf --to hf --out folder --json folder 2>err.txt
check "no directory is the report" missing folder

# A tensor and a key named with an escape code: no table shows it.
LC_ALL=C sed 's/blk\.1\.attn_q/b\x1b[1m.attn_q/; s/llama\.vocab_size/llama.\x1b[31msizes/' \
  good.gguf >escape.gguf
"$narrow" inspect escape.gguf >tables.txt
check "names with escape codes are listed" grep -qF 'b\x1b[1m.attn_q' tables.txt
"$narrow" convert escape.gguf --to COPY --dry-run >>tables.txt 2>&1
check "and no escape code reaches the terminal" \
  test "$(LC_ALL=C grep -c $'\033' tables.txt)" -eq 0

# Importance matrices: what lies where a run would write.
for i in {1..400}; do echo "The quick brown fox jumps over $i lazy dogs."; done >text.txt
matrix() { "$narrow" imatrix "$tiny" --text text.txt -c 64 "$@" 2>err.txt; }
matrix --out made.gguf --chunks 3 -q
check "makes a matrix" test -s made.gguf
cp text.txt theirs.gguf.state
matrix --out theirs.gguf --chunks 3
status=$?
check "a file in the state's place that is no state fails" fails_with 1
check "and stays" cmp -s text.txt theirs.gguf.state
check "and is named" says theirs.gguf.state
printf 'narrow sums 00' >theirs.gguf.state
matrix --out theirs.gguf --chunks 3 -q
check "a damaged state is left aside" cmp -s made.gguf theirs.gguf
check "with a warning" says "starts anew"
matrix --out made.gguf --save-every nan
status=$?
check "no number of seconds is a usage error" fails_with 2
cp made.gguf kept.gguf
"$narrow" imatrix --show made.gguf --picture made.gguf >show.txt 2>err.txt
status=$?
check "a picture in the place of a matrix fails" fails_with 1
check "which stays" cmp -s kept.gguf made.gguf
"$narrow" imatrix --show made.gguf --picture both.svg --json ./both.svg \
  >show.txt 2>err.txt
check "one path for picture and report is refused" missing both.svg
for i in first second; do
  "$narrow" imatrix --show made.gguf --picture drawn.svg >show.txt 2>err.txt
  check "a picture is drawn, $i time" test $? -eq 0
done
"$narrow" imatrix --show made.gguf -c 100 2>err.txt
check "options of a run are refused where none is made" test $? -eq 2

# Too little room: a limit on file sizes, found before the work.
(
  ulimit -f 1000
  "$narrow" convert "$tiny" --to Q4_K_M --out room.gguf 2>err.txt
)
status=$?
check "too little room fails" fails_with 1
check "and says how much was needed" says "bytes"
check "and nothing is left" missing room.gguf
check "nor a partial file" missing room.gguf.partial

# Kills at different moments of a longer conversion.
"$repo/tools/make_sparse_model.sh" big 6 1024 4096
"$narrow" convert big --to Q4_K_M --out big.gguf -q --threads 2
"$narrow" convert big --to Q4_K_M --out closed.gguf -q --threads 1 2>&- &
while [ ! -e closed.gguf.partial ] && kill -0 $! 2>/dev/null; do :; done
stream=$(readlink /proc/$!/fd/2)
wait $!
check "no message goes into a model, standard error being closed" \
  test "${stream%.partial}" = "$stream"
for delay in 0.05 0.1 0.2 0.3 0.5; do
  "$narrow" convert big --to Q4_K_M --out killed.gguf -q --threads 1 &
  sleep $delay
  kill -9 $! 2>/dev/null
  wait $! 2>/dev/null
  if [ -e killed.gguf ]; then
    check "finished before the kill: complete" cmp -s big.gguf killed.gguf
    rm killed.gguf
  fi
done
"$narrow" convert big --to Q4_K_M --out killed.gguf -q --threads 2
check "a run after kills gives the same bytes" cmp -s big.gguf killed.gguf
check "and leaves no partial file" missing killed.gguf.partial
"$narrow" convert big --to Q4_K_M --out stopped.gguf -q --threads 1 2>err.txt &
sleep 0.15
kill -TERM $! 2>/dev/null
wait $! 2>/dev/null
if [ ! -e stopped.gguf ]; then
  check "SIGTERM removes the partial file" missing stopped.gguf.partial
fi
"$narrow" convert big --to Q4_K_M --out stopped.gguf -q --threads 1 2>err.txt &
sleep 0.15
kill -HUP $! 2>/dev/null
wait $! 2>/dev/null
if [ ! -e stopped.gguf ]; then
  check "so does SIGHUP" missing stopped.gguf.partial
fi

# Shards: all of them under their names, or none; and none of the input's.
shards() { find . -maxdepth 1 -name "$1-0*" | wc -l; }
"$narrow" convert "$tiny" --to Q8_0 --split-max-tensors 10 --out part -q
check "writes shards" test "$(shards part)" -eq 4
"$narrow" convert part-00003-of-00004.gguf --to COPY --out joined.gguf -q
"$narrow" convert "$tiny" --to Q8_0 --out whole.gguf -q
check "shards joined are the file that was not split" \
  cmp -s whole.gguf joined.gguf
"$narrow" inspect part-00004-of-00004.gguf >inspected.txt
check "any shard shows the whole" grep -q "^tensors: 38" inspected.txt
check "and what lies in which" \
  grep -q "part-00002-of-00004.gguf: 10 tensors" inspected.txt
cp part-00001-of-00004.gguf kept.gguf
for flags in "--keep-split --out part.gguf" "--split-max-tensors 10 --out part" \
  "--out part-00001-of-00004.gguf"; do
  # shellcheck disable=SC2086  # the flags are words
  "$narrow" convert part-00002-of-00004.gguf --to COPY $flags 2>err.txt
  check "no shard of the input is replaced: $flags" says "a file of the input"
done
check "nor changed" cmp -s kept.gguf part-00001-of-00004.gguf
"$narrow" convert "$tiny" --to Q8_0 --split-max-tensors 10 --out twice \
  --json twice-00002-of-00004.gguf 2>err.txt
check "no shard is the report" says "also the file of --json"
check "and nothing is left" test "$(shards twice)" -eq 0

cp whole.gguf alone-00002-of-00003.gguf
"$narrow" convert alone-00002-of-00003.gguf --to COPY --keep-split --out alone \
  -q
check "a whole file named as a shard is one shard" \
  cmp -s whole.gguf alone-00001-of-00001.gguf
"$narrow" convert whole.gguf --to COPY --pure --out pure.gguf -q 2>err.txt
check "flags without effect are pointed out" says "COPY keeps the type"

mkdir mixed
cp part-0* mixed
mv mixed/part-00002-of-00004.gguf away.gguf
"$narrow" convert mixed/part-00003-of-00004.gguf --to COPY --out m.gguf 2>err.txt
check "a missing shard is named" says "shard 2 of 4 is missing"
cp part-00003-of-00004.gguf mixed/part-00002-of-00004.gguf
"$narrow" convert mixed/part-00001-of-00004.gguf --to COPY --out m.gguf 2>err.txt
check "so is one under another's name" says "split.no is 2, expected 1"
"$narrow" convert "$tiny" --to Q8_0 --prune-layers 3 --split-max-tensors 8 \
  --out other -q
cp other-00002-of-00004.gguf mixed/part-00002-of-00004.gguf
"$narrow" convert mixed/part-00001-of-00004.gguf --to COPY --out m.gguf 2>err.txt
check "and one of another model" says "split.tensors.count is"
head -c 100000 away.gguf >mixed/part-00002-of-00004.gguf
"$narrow" convert mixed/part-00001-of-00004.gguf --to COPY --out m.gguf 2>err.txt
check "and one that is cut short" says "truncated"
# The scale of a q8_0 block, the first two bytes, becomes infinite.
offset=$("$narrow" inspect part-00001-of-00004.gguf --json - |
  awk '/"type"/ {type = $2} /"file"/ {file = $2}
       /"offset"/ && type ~ /q8_0/ && file ~ /part-00002/ {print $2; exit}')
printf '\000\174' |
  dd of=away.gguf bs=1 seek="$offset" conv=notrunc 2>/dev/null
cp away.gguf mixed/part-00002-of-00004.gguf
"$narrow" convert mixed/part-00001-of-00004.gguf --to COPY \
  --split-max-tensors 5 --out m 2>err.txt
status=$?
check "a damaged block fails a copy" fails_with 1
check "and its place is named" says "column"
check "and no shard is left" test "$(shards m)" -eq 0
check "and none of the failures left a file" missing m.gguf
(
  ulimit -f 1000
  "$narrow" convert "$tiny" --to Q8_0 --split-max-tensors 10 --out full 2>err.txt
)
status=$?
check "too little room for one shard fails" fails_with 1
check "and leaves no other" test "$(shards full)" -eq 0

# Keys and layers.
"$narrow" convert whole.gguf --to COPY --out pruned.gguf -q --prune-layers 1-2 \
  --override-kv "general.name=str:$(printf 'n%.0s' {1..500})"
"$narrow" inspect pruned.gguf --full >pruned.txt
check "pruned layers are not there" \
  test "$(grep -c 'attn_q.weight' pruned.txt)" -eq 2
check "block_count says so" grep -q "llama.block_count = u32 2" pruned.txt
check "a long string is written whole" \
  test "$(grep -o 'n\{400,\}' pruned.txt | tr -d '\n' | wc -c)" -eq 500
for bad in "split.count=int:2" "llama.block_count=str:2" "llama.block_count=int:-1" \
  "general.architecture=str:other" "general.alignment=int:24" "x=int" "=int:1"; do
  "$narrow" convert whole.gguf --to COPY --out bad.gguf --override-kv "$bad" \
    2>err.txt
  check "--override-kv $bad is refused" missing bad.gguf
  check "in words" grep -q -e "--override-kv" -e "general.alignment" err.txt
done
for bad in 4 0-3 x 2-1; do
  "$narrow" convert whole.gguf --to COPY --out bad.gguf --prune-layers $bad \
    2>err.txt
  check "--prune-layers $bad is refused" says "--prune-layers"
done
"$narrow" convert "$tiny" --to Q8_0 --keep-split --out bad.gguf 2>err.txt
check "a directory has no shards to keep" says "--split-max-size"

for delay in 0.05 0.1 0.2 0.3 0.5; do
  "$narrow" convert big --to Q4_K_M --out torn -q --threads 1 \
    --split-max-tensors 9 &
  sleep $delay
  kill -TERM $! 2>/dev/null
  wait $! 2>/dev/null
  case $(shards torn) in
  0) check "stopped: no shard, whole or partial, is left" true ;;
  *)
    "$narrow" convert torn-00001-of-*.gguf --to COPY --out torn.gguf -q
    check "finished before the signal: complete" cmp -s big.gguf torn.gguf
    rm -f torn*
    ;;
  esac
done

[ "$n_failed" -eq 0 ]
