#!/bin/bash
# GGUF files out of GGUF files against those of llama-quantize and
# llama-gguf-split: testdata/llama_cpp/gguf_files.tsv has the flags, and the
# files that must come out with their sizes and checksums, and no others.
# Prints GoogleTest's summary lines; exits 1 on a failure.
set -u
narrow=$PWD/converter/narrow
goldens=testdata/llama_cpp/gguf_files.tsv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n_failed=0
n_cases=0

crc() {  # gzip keeps it before the length, at the end
  gzip -1 -c "$1" | tail -c 8 | od -An -tx4 -N4 | tr -d ' '
}

while IFS= read -r name; do
  n_cases=$((n_cases + 1))
  row=$(awk -F'\t' -v n="$name" '$1 == n' "$goldens")
  input=$(cut -f2 <<<"$row" | head -1)
  flags=$(cut -f3 <<<"$row" | head -1)
  case $input in testdata/*) ;; *) input=$work/$input ;; esac
  # shellcheck disable=SC2086  # the flags are words
  "$narrow" convert "$input" $flags --out "$work/$name/m.gguf" -q \
    --no-manifest \
    --threads $((n_cases % 3 + 1)) 2>"$work/err.txt" || cat "$work/err.txt"
  (cd "$work/$name" 2>/dev/null && for file in *; do
    printf '%s\t%s\t%s\n' "$file" "$(stat -c %s "$file")" "$(crc "$file")"
  done) >"$work/made.txt"
  cut -f4-6 <<<"$row" >"$work/wanted.txt"
  if diff "$work/wanted.txt" "$work/made.txt"; then
    echo "[       OK ] $name"
  else
    echo "[  FAILED  ] $name"
    n_failed=$((n_failed + 1))
  fi
done < <(grep -v '^#' "$goldens" | cut -f1 | awk '!seen[$0]++')

[ "$n_failed" -eq 0 ] && [ "$n_cases" -ge 17 ]
