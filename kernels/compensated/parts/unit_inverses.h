// Inverses of a Gram matrix's squares on the diagonal, one for each unit of
// columns that a lattice type rounds together.

#ifndef NARROW_KERNELS_COMPENSATED_PARTS_UNIT_INVERSES_H_
#define NARROW_KERNELS_COMPENSATED_PARTS_UNIT_INVERSES_H_

#include <cstdint>
#include <vector>

namespace narrow {

// [n / unit] squares of [unit, unit], one after the other, of gram [n, stride].
// A square without an inverse gives that of its diagonal, 0 for a 0 there.
std::vector<float> UnitInverses(const float* gram, int64_t stride, int64_t n,
                                int unit);

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_PARTS_UNIT_INVERSES_H_
