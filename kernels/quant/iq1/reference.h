// ggml's encoders of IQ1_S and IQ1_M in plain code: what every other variant
// must equal.
//
//   iq1::Groups groups;
//   iq1::FitGroups(iq1::IQ1_S(), weights, importance, &groups);
//
// Idea: a group has three levels, so once its weights are sorted, a rounding
// is two places where the level changes. All splits are tried with all
// shifts; sums up to each place give a split's best scale and its gain. Then
// every octet is moved from its levels to a point of the lattice: if they are
// no point, to the best of those in the nearest three shells.
//
// Tested by codec_test and by iq1_test.

#ifndef NARROW_KERNELS_QUANT_IQ1_REFERENCE_H_
#define NARROW_KERNELS_QUANT_IQ1_REFERENCE_H_

#include <cstdint>

#include "kernels/quant/iq1/fields.h"
#include "kernels/quant/iq1/groups.h"

namespace narrow {
namespace iq1 {

// `importance` may be nullptr: IQ1_M then weighs by squares, as ggml does,
// and IQ1_S as if importance were 1.
void FitGroups(IQ1_S, const float* x, const float* importance, Groups* groups);
void FitGroups(IQ1_M, const float* x, const float* importance, Groups* groups);

}  // namespace iq1
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_REFERENCE_H_
