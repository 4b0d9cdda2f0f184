// What a block stores, and its bytes. For the SIMD sources too.

#ifndef NARROW_KERNELS_QUANT_IQ1_FIELDS_H_
#define NARROW_KERNELS_QUANT_IQ1_FIELDS_H_

#include <cstdint>

#include "kernels/quant/iq1/groups.h"

namespace narrow {
namespace iq1 {

// How one block is rounded. `d` is 0 if no group has a scale.
struct Groups {
  float d;  // stored in half precision
  int scales[kMaxGroups];
  int shifts[kMaxGroups];
  uint16_t points[kOctets];
};

// To and from a block's bytes; only d is rounded. In iq1_s.cc, iq1_m.cc.
void StoreGroups(IQ1_S, const Groups& groups, uint8_t* bytes);
void StoreGroups(IQ1_M, const Groups& groups, uint8_t* bytes);
void LoadGroups(IQ1_S, const uint8_t* bytes, Groups* groups);
void LoadGroups(IQ1_M, const uint8_t* bytes, Groups* groups);

}  // namespace iq1
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_IQ1_FIELDS_H_
