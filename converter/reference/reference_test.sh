#!/bin/bash
# The manual page and the completions name every command and option that
# --help names, and are taken by man and by bash.
set -u
narrow=$PWD/converter/narrow
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
fail() {
  echo "FAILED: $*"
  failed=1
}

"$narrow" help --man >"$work/narrow.1" || fail "help --man"
"$narrow" completion bash >"$work/narrow.bash" || fail "completion bash"
"$narrow" completion zsh >"$work/_narrow" || fail "completion zsh"

# --help is what they are held against.
commands=$("$narrow" --help | sed -n '/^Subcommands/,/^$/s/^  \([a-z]*\) .*/\1/p')
[ "$(echo "$commands" | wc -w)" -ge 8 ] || fail "commands: $commands"
for command in $commands; do
  "$narrow" help "$command" | cmp -s - <("$narrow" "$command" --help) ||
    fail "help $command"
  grep -q "^\.SS .fBnarrow $command" "$work/narrow.1" || fail "man: $command"
  for option in $("$narrow" "$command" --help |
    sed -n 's/^  *\(-[a-z],\)\?\(--[a-z0-9-]*\).*/\2/p'); do
    grep -q -e "$(echo "$option" | sed 's/-/\\\\-/g')" "$work/narrow.1" ||
      fail "man: $command $option"
    grep -q -e "$option[' |)]" "$work/narrow.bash" || fail "bash: $command $option"
    grep -q -e "$option[][},]" "$work/_narrow" || fail "zsh: $command $option"
  done
done
grep -q completion <<<"$("$narrow" --help)" && fail "completion is listed"
"$narrow" help converte 2>"$work/err"
[ $? -eq 2 ] && grep -q "nearest is 'convert'" "$work/err" || fail "help converte"

# Warnings of the formatter are failures, where there is one.
if command -v groff >/dev/null; then
  groff -man -Tutf8 -ww -z "$work/narrow.1" 2>"$work/warnings"
  [ -s "$work/warnings" ] && fail "groff: $(head -n 3 "$work/warnings")"
fi
if command -v man >/dev/null; then
  MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$work/narrow.1" 2>&1 >/dev/null |
    grep . && fail "man warns"
fi
command -v zsh >/dev/null && { zsh -n "$work/_narrow" || fail "zsh -n"; }

# What bash would offer after the words given.
bash -n "$work/narrow.bash" || fail "bash -n"
# shellcheck disable=SC1091
source "$work/narrow.bash"
complete -p narrow | grep -q _narrow || fail "complete -p"
offers() { # words as readline splits them, the last to be completed
  COMP_WORDS=("$@")
  COMP_CWORD=$(($# - 1))
  COMPREPLY=()
  _narrow
  echo "${COMPREPLY[*]}"
}
expect() { # wanted, words
  local wanted=$1 got
  shift
  got=$(offers "$@")
  [ "$got" = "$wanted" ] || fail "'$*' offers '$got', not '$wanted'"
}
expect "convert" narrow con
expect "--version" narrow --v
expect "compat strict" narrow convert model --mode ""
expect "strict" narrow convert model --mode s
expect "strict" narrow convert model --mode = s
expect "compat strict" narrow convert model --mode =
expect "Q8_0" narrow convert model --to Q8
expect "Q4_K_M,Q8_0" narrow convert model --to Q4_K_M,Q8
expect "--memory" narrow fit --mem
expect "nf4" narrow quantize m --method nf
expect "" narrow convert model --out ""
expect "" narrow inspect ""

[ "$failed" -eq 0 ] && echo PASSED
exit "$failed"
