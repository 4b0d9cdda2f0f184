// The point of the IQ1 lattice with the least error, of all there are.

#ifndef NARROW_KERNELS_QUANT_IQ1_NEAREST_POINT_H_
#define NARROW_KERNELS_QUANT_IQ1_NEAREST_POINT_H_

namespace narrow {
namespace iq1 {

// error[i][level] is what coordinate i costs at a level. The first point of
// several; 0 if no sum is a number.
int NearestPoint(const double (*error)[3]);

}  // namespace iq1
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_NEAREST_POINT_H_
