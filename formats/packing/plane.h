// Planes of packed matrices in a source: looked up, checked against what a
// packing expects, and read. Every error is DataLoss and names the tensor, the
// file, the offset, and both numbers where two disagree.
//
//   ASSIGN_OR_RETURN(const TensorView* scales,
//                    RequirePlane(source, module, ".scales"));
//   RETURN_IF_ERROR(CheckPlane(*scales, {QuantType::kF16}, {n_groups, n_out}));
//   RETURN_IF_ERROR(ReadScales(*scales, kF16, first, n, values));

#ifndef NARROW_FORMATS_PACKING_PLANE_H_
#define NARROW_FORMATS_PACKING_PLANE_H_

#include <cstdint>
#include <initializer_list>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/quant_type.h"
#include "formats/tensor.h"

namespace narrow {

// DataLoss: "tensor 'x': <cause>; at offset 64; reading model.safetensors".
absl::Status PlaneError(const TensorView& plane, absl::string_view cause);

// The tensor `module` + `suffix`. DataLoss if there is none; `beside`, a plane
// that asks for it, gives the file and the place.
absl::StatusOr<const TensorView*> RequirePlane(const TensorSource& source,
                                               absl::string_view module,
                                               absl::string_view suffix,
                                               const TensorView& beside);

// Type and shape, and that the plane has its bytes. -1 in `shape` fits any
// size.
absl::Status CheckPlane(const TensorView& plane,
                        std::initializer_list<QuantType> types,
                        absl::Span<const int64_t> shape);

// Elements [first, first + n) as numbers of `type`, which is the plane's or
// what its U8 bytes mean. DataLoss: a value that is not finite.
// REQUIRES: a checked plane, IsScaleType(type).
absl::Status ReadScales(const TensorView& plane, QuantType type, int64_t first,
                        int64_t n, float* out);

// Elements of a checked I32 plane.
void ReadInt32s(const TensorView& plane, int64_t first, int64_t n,
                int32_t* out);

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_PLANE_H_
