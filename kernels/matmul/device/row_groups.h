// Rows in groups, each of which has a matrix of its own: the tokens of a
// mixture's experts, one expert after the other.
//
//   // Group g has rows [offsets[g], offsets[g + 1]).
//   ASSIGN_OR_RETURN(auto groups, RowGroups::Copy(device, offsets, &stream));
//   tensor_tile::Task task;
//   task.product = ...;            // n_rows is offsets.back()
//   task.right_group = n_cols * depth;
//   task.gather = tokens;          // the token of each row
//   groups.Set(&task);
//   RETURN_IF_ERROR(products->MultiplyGroups(task, &stream));
//
// Groups may be empty. A tile never has rows of two groups, so that one launch
// does for all of them, however unequal.

#ifndef NARROW_KERNELS_MATMUL_DEVICE_ROW_GROUPS_H_
#define NARROW_KERNELS_MATMUL_DEVICE_ROW_GROUPS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/device.h"
#include "kernels/matmul/device/tensor_tile.h"

namespace narrow {

class RowGroups {
 public:
  RowGroups() = default;

  // REQUIRES: offsets rise, from 0; there is one more than groups.
  static absl::StatusOr<RowGroups> Copy(const Device& device,
                                        absl::Span<const int64_t> offsets,
                                        DeviceStream* stream);

  void Set(tensor_tile::Task* task) const {
    task->tiles = buffer_.as<tensor_tile::GroupTile>();
    task->n_tiles = static_cast<int64_t>(tiles_.size());
  }

 private:
  // Kept as long as a copy of it may be under way.
  std::vector<tensor_tile::GroupTile> tiles_;
  DeviceBuffer buffer_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_ROW_GROUPS_H_
