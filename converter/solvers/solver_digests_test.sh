#!/bin/bash
# solver_digests_test.sh BINARY: what solvers make of matrices is the same
# with every instruction set that this processor has (NARROW_ISA only lowers).
set -euo pipefail
for isa in scalar avx2 avx512; do
  NARROW_ISA=$isa "$1" > "$TEST_TMPDIR/$isa"
done
test "$(wc -l < "$TEST_TMPDIR/scalar")" -ge 30 || {
  echo "too few digests"
  exit 1
}
diff "$TEST_TMPDIR/scalar" "$TEST_TMPDIR/avx2"
diff "$TEST_TMPDIR/scalar" "$TEST_TMPDIR/avx512"
