// `narrow quantize --shard K/N` as a function: some layers of a packed
// directory, in a file that `narrow merge` makes the directory of.
//
//   PackedPartRequest request = {{2, 4}, "0.1.0", "gemma", "narrow quantize
//   …"}; RETURN_IF_ERROR(WritePackedPart(input, plan, request, path, options));
//
//   ASSIGN_OR_RETURN(PackedParts parts, PackedParts::Open(paths));
//   ... plan again by parts.packed(), RETURN_IF_ERROR(parts.Cover(plan)) ...
//   run.solved = [&](int layer) { return parts.Layer(plan, layer); };
//
// A part has the planes of whole layers; what is not quantized is the model's
// own, and is taken from there by who merges.

#ifndef NARROW_CONVERTER_PARTS_PACKED_PART_H_
#define NARROW_CONVERTER_PARTS_PACKED_PART_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/importance/importance.h"
#include "converter/parts/part_file.h"
#include "converter/parts/shard_rows.h"
#include "converter/quantize/block/layer_solver.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "formats/base/hash/sha256.h"
#include "kernels/device.h"

namespace narrow {

struct PackedPartRequest {
  Shard shard;
  std::string version;
  std::string model;    // its path as given
  std::string command;  // that of the run without --shard, for the model card
  bool decode_quantized = false;
  int64_t max_shard_bytes = 0;
  const ImportanceMatrix* importance = nullptr;
  std::string provenance;  // a provenance::Manifest, of part 1
  int n_threads = 0;
  std::optional<Device> device;  // of solvers that have one
  std::function<void(int64_t n_bytes)> on_written;
  const std::atomic<bool>* cancelled = nullptr;
};

// The layers (into plan.layers) that a part has: cut by the bytes of the
// model's matrices, so that parts take about as long.
std::vector<int> PackedLayersOf(const QuantizePlan& plan, const Shard& shard);

// Complete under `path` or not at all; the size of the file. InvalidArgument
// for a plan that is calibrated or changes other tensors. Errors of solvers.
absl::StatusOr<int64_t> WritePackedPart(const ModelInput& input,
                                        const QuantizePlan& plan,
                                        const PackedPartRequest& request,
                                        const std::string& path);

class PackedParts {
 public:
  // Whether a file is a part of a packed directory; errors of reading it.
  static absl::StatusOr<bool> IsOne(const std::string& path);
  // Errors of OpenPartsInOrder; InvalidArgument: a part of another kind.
  static absl::StatusOr<PackedParts> Open(
      const std::vector<std::string>& paths);

  // How the whole is planned; its layers are of part 1 alone.
  const parts::Packed& packed() const {
    return files_.front().description().packed();
  }
  const parts::Part& first() const { return files_.front().description(); }
  int64_t n_parts() const { return static_cast<int64_t>(files_.size()); }

  // That the model is the one the parts were made of, and that they have every
  // layer of its plan, once, as planned; all bytes are checked.
  absl::Status Cover(const std::string& model, const QuantizePlan& plan,
                     int n_threads);
  // REQUIRES: Cover was called with `plan`.
  absl::StatusOr<SolvedLayer> Layer(const QuantizePlan& plan, int layer) const;

 private:
  // Where a layer's planes are.
  struct Place {
    size_t file = 0;
    size_t first_row = 0;
    const parts::PackedLayer* layer = nullptr;
  };

  std::vector<PartFile> files_;
  std::vector<Place> places_;  // by layer of the plan
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_PARTS_PACKED_PART_H_
