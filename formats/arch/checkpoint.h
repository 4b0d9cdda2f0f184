// An opened model, Hugging Face directory or GGUF file alike: its
// configuration, its GGUF metadata, and its tensors under GGUF names, shapes
// and conventions. So converters and forward passes know one convention.
//
//   ASSIGN_OR_RETURN(auto model, Checkpoint::Open("models/gemma-3-270m", {}));
//   for (const CheckpointTensor& t : model->tensors())
//     for (int64_t r = 0; r < t.meta.n_rows(); ++r)
//       Use(model->RowBytes(t, r));   // t.stored, t.offset say how to read it
//
// Immutable after Open and safe to share between threads. Spans point into
// the mapped files and are valid while the checkpoint lives.

#ifndef NARROW_FORMATS_ARCH_CHECKPOINT_H_
#define NARROW_FORMATS_ARCH_CHECKPOINT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/arch/arch_spec.h"
#include "formats/arch/checkpoint_tensor.h"
#include "formats/arch/model_config.h"
#include "formats/metadata.h"
#include "formats/tensor.h"

namespace narrow {

struct CheckpointOptions {
  // Type that matrices pass through on the way (llama.cpp's --outtype):
  // "auto", "f32", "f16", "bf16"; or "exact": the model itself rather than
  // what the converter makes of it. Matrices are f32, Gemma's f16 norms are
  // not rounded, and embeddings of no token stay.
  std::string intermediate = "auto";
  // tokenizer.ggml.pre, where the pattern in tokenizer.json is unknown.
  std::string pre_tokenizer;
  // general.name; empty: derived as llama.cpp's converter derives it.
  std::string model_name;
  // Leave tokenizer metadata out (a directory without a tokenizer opens too).
  bool skip_tokenizer = false;
  // Open a directory that another program (or ours) has quantized: its packed
  // matrices are decoded when rows are asked for. Otherwise it is refused.
  bool decode_quantized = false;
  // Called with a directory's source before anything is looked up in it; what
  // it gives back takes its place (formats/overlay_source.h). May be empty.
  std::function<std::unique_ptr<TensorSource>(std::unique_ptr<TensorSource>)>
      wrap_source;
};

class Checkpoint {
 public:
  // A directory with config.json and safetensors, or a GGUF file (first shard
  // of a split one). Unimplemented with the list of known families for an
  // unknown Hugging Face family; a GGUF file of an unknown family opens, with
  // arch() nullptr.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(
      absl::string_view path, const CheckpointOptions& options);

  // `model` with other rows: tensors that `source` has under their GGUF names
  // show its rows (TensorView::rows), as f32, neither `offset` nor rounding
  // to come; all others are `model`'s own. `model` must outlive it. REQUIRES:
  // the shapes of `source` are those of `model`.
  static std::unique_ptr<Checkpoint> WithRows(
      const Checkpoint& model, std::unique_ptr<TensorSource> source);

  const std::string& path() const { return path_; }
  bool is_gguf() const { return is_gguf_; }
  const ModelConfig& config() const { return config_; }
  const ArchSpec* arch() const { return arch_; }
  // All GGUF keys of the model, in the converter's order; for a GGUF file,
  // its own.
  const Metadata& metadata() const { return metadata_; }

  // In the order in which llama.cpp's converter writes them; for a GGUF file,
  // in file order.
  absl::Span<const CheckpointTensor> tensors() const { return tensors_; }
  const CheckpointTensor* Find(absl::string_view name) const;

  // Row `row` of `tensor` in its stored type. REQUIRES: 0 <= row < n_rows,
  // HasBytes(tensor).
  absl::Span<const uint8_t> RowBytes(const CheckpointTensor& tensor,
                                     int64_t row) const;
  // Whether RowBytes gives rows. Otherwise a packed or replaced matrix has
  // them (TensorView::rows), `stored` is f32, and DecodeRows gives them.
  bool HasBytes(const CheckpointTensor& tensor) const;
  // Rows [first_row, first_row + n_rows) before `offset` is added and before
  // they are rounded to meta.type. REQUIRES: !HasBytes(tensor).
  absl::Status DecodeRows(const CheckpointTensor& tensor, int64_t first_row,
                          int64_t n_rows, float* out) const;
  // Bytes of the files that hold the tensor.
  int64_t StoredBytes(const CheckpointTensor& tensor) const;
  // Rows [first_row, first_row + n_rows) will not be needed soon.
  void Release(const CheckpointTensor& tensor, int64_t first_row,
               int64_t n_rows) const;

 private:
  Checkpoint() = default;
  absl::Status OpenFolder(const CheckpointOptions& options);
  absl::Status OpenGguf();

  std::string path_;
  bool is_gguf_ = false;
  const Checkpoint* base_ = nullptr;  // of WithRows
  std::unique_ptr<TensorSource> source_;
  ModelConfig config_;
  const ArchSpec* arch_ = nullptr;
  Metadata metadata_;
  std::vector<CheckpointTensor> tensors_;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_CHECKPOINT_H_
