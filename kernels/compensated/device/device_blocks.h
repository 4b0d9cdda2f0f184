// FeedRows, RefeedRows, DescendRows and MeasureRows of compensated.h on a
// device: the same bytes and errors, bit for bit.
//
//   ASSIGN_OR_RETURN(auto blocks, DeviceCodecBlocks::New(device, codec, n,
//   gram,
//                                                   &pool, tensor_name));
//   ASSIGN_OR_RETURN(auto factor, blocks->Upload(feed_factor));
//   RETURN_IF_ERROR(blocks->Feed(targets, n_rows, *factor, {}, bytes));
//   RETURN_IF_ERROR(blocks->Descend(targets, n_rows, {}, bytes));
//   ASSIGN_OR_RETURN(auto errors, blocks->Measure(targets, n_rows, bytes));
//
// Pointers are the host's. What goes on inside a row is in block_tasks.h, a
// thread a row; across columns it is products of kernels/linalg/device. Fields
// are fitted by the type's encoder on the device, or, of types that are fitted
// by trial, by the host's threads, once a block. The pool's threads take bytes
// apart and put them together.
//
// Rows that do not fit into the device's memory together are worked on in
// parts; ResourceExhausted: there is no room for some rows and the matrices.
// Some 15 bytes a weight of the rows at once, and 4 n^2 for the Gram matrix and
// each factor. One thread at a time.

#ifndef NARROW_KERNELS_COMPENSATED_DEVICE_DEVICE_BLOCKS_H_
#define NARROW_KERNELS_COMPENSATED_DEVICE_DEVICE_BLOCKS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/base/parallel.h"
#include "kernels/compensated/compensated.h"
#include "kernels/compensated/device/device_rows.h"
#include "kernels/device.h"
#include "kernels/linalg/update.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/device/device_encode.h"

namespace narrow {

// The squares of a quadratic form's blocks, on the device.
struct DeviceForms {
  const float* h = nullptr;
  int64_t h_stride = 0;
  int64_t h_step = 0;     // from a block's square to the next one's
  DeviceBuffer sums;      // [n, sub-blocks], BlockForm's
  DeviceBuffer inverses;  // [n, unit], of units above 1
};

// A FeedFactor on the device.
struct DeviceFeedFactor {
  const FeedFactor* host = nullptr;
  DeviceBuffer m;
  DeviceBuffer metric;
  DeviceBuffer order;  // empty: the natural one
  // In the natural order.
  DeviceBuffer pivots;
  DeviceBuffer prices;
  DeviceForms forms;
};

class DeviceCodecBlocks {
 public:
  // `what` ends up in messages. Borrows codec, gram [n, n] and pool (may be
  // null). REQUIRES: SupportsCompensation(codec); n % codec.block == 0.
  static absl::StatusOr<std::unique_ptr<DeviceCodecBlocks>> New(
      const Device& device, const BlockCodec& codec, int64_t n,
      const float* gram, ThreadPool* pool, absl::string_view what);

  // Borrows the factor, which must outlive the copy.
  absl::StatusOr<std::unique_ptr<DeviceFeedFactor>> Upload(
      const FeedFactor& factor);

  absl::Status Feed(const float* targets, int64_t n_rows,
                    const DeviceFeedFactor& factor, const FeedOptions& options,
                    uint8_t* bytes);
  absl::Status Refeed(const float* targets, int64_t n_rows,
                      const DeviceFeedFactor& factor, uint8_t* bytes);
  absl::Status Descend(const float* targets, int64_t n_rows,
                       const DescendOptions& options, uint8_t* bytes);
  absl::StatusOr<std::vector<RowError>> Measure(const float* targets,
                                                int64_t n_rows,
                                                const uint8_t* bytes);

  // Why rows were worked on in parts; empty if they were not.
  const std::string& memory_note() const { return memory_note_; }

 private:
  // A block that is improved, under a form.
  struct Improved {
    const DeviceForms* forms;
    int64_t block;
    bool refit;
    bool sweep;
    float* values;    // [block, ld]
    float* gradient;  // the same
  };
  // Columns that hear of a block's errors or changes at once; those behind
  // them when they are over.
  struct Far {
    int64_t begin;
    int64_t end;
  };

  DeviceCodecBlocks(const Device& device, const BlockCodec& codec, int64_t n,
                    ThreadPool* pool, absl::string_view what)
      : device_(device), codec_(codec), n_(n), pool_(pool), what_(what) {}

  absl::Status Allocate(int64_t n_bytes, DeviceBuffer* buffer) const;
  absl::Status CopyTo(const void* from, int64_t n_bytes, DeviceBuffer* to);
  absl::Status MakeForms(const float* host_h, DeviceForms* forms);
  // body(first, n) for all rows, with memory for n.
  absl::Status InParts(
      int64_t n_rows,
      const std::function<absl::Status(int64_t first, int64_t n)>& body);
  absl::Status Reserve(int64_t n_rows);
  void Free();

  int64_t block() const { return codec_.block; }
  int64_t ld() const { return rows_->size().ld; }
  int64_t row_bytes() const;
  int64_t group_size() const;
  Far GroupAt(int64_t begin) const;
  absl::Status SetTargets(const float* targets, const int32_t* order);

  // out[columns first ... end - 1] += h[begin ..., .]^T changes [n, ld].
  absl::Status AddProducts(Update update, const float* h, int64_t h_stride,
                           int64_t begin, int64_t n, int64_t first, int64_t end,
                           const float* changes, float* out);
  absl::Status Improve(const Improved& improved);
  absl::Status Refit(const GramBlock& gram);
  absl::Status Sweep(const Improved& improved, const GramBlock& gram);
  absl::Status SweepStrip(const Improved& improved, const GramBlock& gram,
                          int64_t begin, int n_strip);

  absl::Status Fit(int64_t block, const DeviceFeedFactor& factor);
  absl::Status FitByEncoding(int64_t block, const DeviceFeedFactor& factor,
                             HostFields* fields);
  absl::Status FitOnHost(int64_t block, const DeviceFeedFactor& factor,
                         HostFields* fields);
  absl::Status FeedStrip(const DeviceFeedFactor& factor, int64_t begin, int n,
                         float* errors);
  absl::Status FeedGroup(const DeviceFeedFactor& factor,
                         const FeedOptions& options, bool fits, Far group);
  absl::Status ImproveFed(const DeviceFeedFactor& factor,
                          const FeedOptions& options, int64_t block,
                          float* errors);
  absl::Status FeedPart(const DeviceFeedFactor& factor,
                        const FeedOptions& options, bool fits);

  absl::Status DescendGroup(const DescendOptions& options, Far group);
  absl::Status DescendPart(const DescendOptions& options, uint8_t* bytes);
  // Of values in second_, which become differences.
  absl::StatusOr<std::vector<RowError>> MeasurePart();

  const Device device_;
  const BlockCodec& codec_;
  const int64_t n_;
  ThreadPool* const pool_;
  const std::string what_;
  mutable DeviceStream stream_;
  std::unique_ptr<DeviceCodecRows> rows_;
  std::optional<DeviceTables> tables_;  // of the encoder
  DeviceBuffer gram_;
  DeviceForms forms_;
  int64_t at_once_ = 0;  // rows; 0: not known yet
  std::string memory_note_;

  DeviceBuffer first_;   // [n, ld]: targets, or originals by places
  DeviceBuffer second_;  // the same: values, or what columns have become
  DeviceBuffer third_;   // the same: the gradient
  DeviceBuffer told_;    // [group, ld], errors or changes
  // [block, ld]
  DeviceBuffer entry_;  // a block's columns when the first one came
  DeviceBuffer values_;
  DeviceBuffer gradient_;
  DeviceBuffer direction_;
  DeviceBuffer curvature_;
  DeviceBuffer unit_;   // [kMaxUnit, ld]
  DeviceBuffer strip_;  // [kStrip, ld]
  DeviceBuffer sums_;   // [2, n_rows], doubles
  // Of the encoder: [n_rows] blocks.
  DeviceBuffer bytes_;
  DeviceBuffer failed_;
  DeviceBuffer mean_squares_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_DEVICE_DEVICE_BLOCKS_H_
