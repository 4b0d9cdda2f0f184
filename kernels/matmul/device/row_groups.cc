#include "kernels/matmul/device/row_groups.h"

#include <algorithm>

#include "formats/base/status.h"

namespace narrow {

using tensor_tile::GroupTile;
using tensor_tile::kTile;

absl::StatusOr<RowGroups> RowGroups::Copy(const Device& device,
                                          absl::Span<const int64_t> offsets,
                                          DeviceStream* stream) {
  RowGroups groups;
  for (size_t g = 0; g + 1 < offsets.size(); ++g) {
    for (int64_t row = offsets[g]; row < offsets[g + 1]; row += kTile) {
      const int64_t n_rows = std::min<int64_t>(kTile, offsets[g + 1] - row);
      groups.tiles_.push_back(
          {row, static_cast<int32_t>(n_rows), static_cast<int32_t>(g)});
    }
  }
  const size_t n_bytes = groups.tiles_.size() * sizeof(GroupTile);
  ASSIGN_OR_RETURN(groups.buffer_, device.Allocate(n_bytes, "groups of rows"));
  if (n_bytes > 0) {
    RETURN_IF_ERROR(
        stream->Copy(groups.tiles_.data(), n_bytes, groups.buffer_.data()));
  }
  return groups;
}

}  // namespace narrow
