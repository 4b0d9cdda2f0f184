#include "formats/packing/plane.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/packing/scale_type.h"

namespace narrow {

absl::Status PlaneError(const TensorView& plane, absl::string_view cause) {
  return absl::DataLossError(absl::StrCat(
      "tensor ", QuotedName(plane.meta.name), ": ", cause, "; at offset ",
      plane.origin.offset, "; reading ", plane.origin.file));
}

absl::StatusOr<const TensorView*> RequirePlane(const TensorSource& source,
                                               absl::string_view module,
                                               absl::string_view suffix,
                                               const TensorView& beside) {
  const std::string name = absl::StrCat(module, suffix);
  const TensorView* plane = source.Find(name);
  if (plane == nullptr) {
    return PlaneError(beside, absl::StrCat("there is no ", QuotedName(name),
                                           " that belongs to it"));
  }
  return plane;
}

absl::Status CheckPlane(const TensorView& plane,
                        std::initializer_list<QuantType> types,
                        absl::Span<const int64_t> shape) {
  if (std::find(types.begin(), types.end(), plane.meta.type) == types.end()) {
    std::string wanted;
    for (const QuantType type : types) {
      absl::StrAppend(&wanted, wanted.empty() ? "" : " or ", TypeName(type));
    }
    return PlaneError(plane, absl::StrCat("is ", TypeName(plane.meta.type),
                                          ", not ", wanted));
  }
  bool fits = plane.meta.shape.size() == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i) {
    fits = shape[i] == -1 ? plane.meta.shape[i] >= 0
                          : plane.meta.shape[i] == shape[i];
  }
  if (!fits) {
    return PlaneError(plane,
                      absl::StrCat("has shape ", ShapeString(plane.meta.shape),
                                   ", not ", ShapeString(shape)));
  }
  const int64_t n_bytes = plane.meta.n_bytes();
  if (static_cast<int64_t>(plane.data.size()) != n_bytes) {
    return PlaneError(plane, absl::StrCat("has ", plane.data.size(),
                                          " bytes, its shape needs ", n_bytes));
  }
  return absl::OkStatus();
}

absl::Status ReadScales(const TensorView& plane, QuantType type, int64_t first,
                        int64_t n, float* out) {
  const int64_t step = Geometry(type).block_bytes;
  DecodeScales(type, plane.data.data() + first * step, n, out);
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(out[i])) {
      return PlaneError(plane, absl::StrCat("element ", first + i, " is ",
                                            out[i], ", which is not finite"));
    }
  }
  return absl::OkStatus();
}

void ReadInt32s(const TensorView& plane, int64_t first, int64_t n,
                int32_t* out) {
  std::memcpy(out, plane.data.data() + 4 * first,
              static_cast<size_t>(n) * sizeof(int32_t));
}

}  // namespace narrow
