// Finished blocks of a calibrated run, kept in a folder until the output is
// assembled, or for the next run if this one is stopped.
//
//   WorkStore store(folder->work_path());
//   RETURN_IF_ERROR(store.Save(block, out));
//   RETURN_IF_ERROR(store.Load(n_blocks));
//   store.Find("model.layers.0.input_layernorm.weight");
//
// A block is a safetensors file, complete under its name or not there, with
// the reports of its layers and a checksum in its metadata. Belongs to one
// thread; Find may be called by several.

#ifndef NARROW_CONVERTER_QUANTIZE_WORK_STORE_H_
#define NARROW_CONVERTER_QUANTIZE_WORK_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/quantize/block/block_solver.h"
#include "converter/quantize/block/layer_solver.h"
#include "formats/tensor.h"

namespace narrow {

class WorkStore {
 public:
  explicit WorkStore(std::string folder) : folder_(std::move(folder)) {}

  // Where the calibrator keeps its state.
  std::string calibrator_path() const;
  // And what tokens weigh.
  std::string fisher_path() const;

  absl::Status Save(int64_t block, const BlockOutput& output) const;
  // Opens blocks 0 ... n_blocks - 1 and takes their reports. DataLoss if one
  // is missing or damaged.
  absl::Status Load(int64_t n_blocks);

  // A tensor of a loaded block; nullptr if no block has it.
  const TensorView* Find(absl::string_view name) const;
  const std::vector<LayerReport>& reports() const { return reports_; }

 private:
  std::string BlockPath(int64_t block) const;
  absl::Status LoadBlock(const std::string& path);

  std::string folder_;
  std::vector<std::unique_ptr<TensorSource>> blocks_;
  std::vector<LayerReport> reports_;
};

// Reports as JSON text and back.
std::string LayerReportsJson(const std::vector<LayerReport>& reports);
absl::Status AddLayerReports(absl::string_view json, absl::string_view file,
                             std::vector<LayerReport>* reports);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_WORK_STORE_H_
