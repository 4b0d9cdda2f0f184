#!/bin/bash
# compensated_digests_test.sh BINARY: what the compensated solver makes of
# matrices is the same with every instruction set that this processor has
# (NARROW_ISA only lowers).
set -euo pipefail
for isa in scalar avx2 avx512; do
  NARROW_ISA=$isa "$1" > "$TEST_TMPDIR/$isa"
done
test "$(wc -l < "$TEST_TMPDIR/scalar")" -ge 40 || {
  echo "too few digests"
  exit 1
}
if grep ': 0000000000000000$' "$TEST_TMPDIR/scalar"; then
  echo "not solved"
  exit 1
fi
diff "$TEST_TMPDIR/scalar" "$TEST_TMPDIR/avx2"
diff "$TEST_TMPDIR/scalar" "$TEST_TMPDIR/avx512"
