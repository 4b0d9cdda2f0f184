#!/bin/sh
# Installs what the build needs, builds everything, runs every test, and ends
# with a line "N passed, N failed, N skipped" that counts test cases.
set -u
cd "$(dirname "$0")/.." || exit 1
tools/install.sh || exit 1

bazel test -c opt --keep_going --test_output=errors "$@" //...
status=$?

# Each test leaves a test.xml with a count of its cases; a target that did
# not build or broke off leaves none, and counts as one failure.
logs=$(bazel info -c opt bazel-testlogs 2>/dev/null)
passed=0
failed=0
skipped=0
for target in $(bazel query 'tests(//...)' 2>/dev/null); do
  xml=$logs/$(echo "$target" | sed 's|^//||; s|:|/|; s|^/||')/test.xml
  counts=$(sed -n 's/.* tests="\([0-9]*\)" failures="\([0-9]*\)".*errors="\([0-9]*\)".*/\1 \2 \3/p' \
    "$xml" 2>/dev/null | head -n 1)
  # shellcheck disable=SC2086
  set -- ${counts:-1 1 0}
  bad=$(($2 + $3))
  # GoogleTest counts a skipped case among the tests.
  left_out=$(grep -c 'result="skipped"' "$xml" 2>/dev/null)
  failed=$((failed + bad))
  skipped=$((skipped + ${left_out:-0}))
  passed=$((passed + $1 - bad - ${left_out:-0}))
done
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
  failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
