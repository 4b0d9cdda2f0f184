// Tensors as containers hold them: the reading side and the writing side.
//
//   const TensorView* t = source.Find("blk.0.attn_q.weight");
//   RETURN_IF_ERROR(sink.Begin(metas, metadata));
//   RETURN_IF_ERROR(sink.Append(t->data));
//   RETURN_IF_ERROR(sink.Finish());
//
// A TensorView borrows its bytes from its source and is valid while the
// source lives. Sources are immutable and safe to share between threads;
// sinks belong to one thread at a time.

#ifndef NARROW_FORMATS_TENSOR_H_
#define NARROW_FORMATS_TENSOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/metadata.h"
#include "formats/quant_type.h"
#include "formats/row_source.h"

namespace narrow {

// Where bytes came from; for messages.
struct Origin {
  std::string file;
  int64_t offset = 0;
};

// What a header says of a tensor.
struct TensorMeta {
  std::string name;
  QuantType type = QuantType::kF32;
  // Outermost first: a weight is [outputs, inputs], so rows are contiguous.
  std::vector<int64_t> shape;

  int64_t n_cols() const { return shape.empty() ? 1 : shape.back(); }
  // Product of all sizes but the innermost. REQUIRES: checked sizes.
  int64_t n_rows() const {
    int64_t n = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) {
      n *= shape[i];
    }
    return n;
  }
  int64_t n_elements() const { return n_rows() * n_cols(); }
  int64_t row_bytes() const {
    const TypeGeometry& g = Geometry(type);
    return n_cols() / g.block_weights * g.block_bytes;
  }
  // Whole blocks of all elements: rows of types below a byte may share one.
  int64_t n_bytes() const {
    const TypeGeometry& g = Geometry(type);
    return n_elements() / g.block_weights * g.block_bytes;
  }
};

struct TensorView {
  TensorMeta meta;
  absl::Span<const uint8_t> data;  // meta.n_bytes() of them
  Origin origin;
  // Where not null, `data` is empty, meta.type is kF32 and the rows come from
  // here: a matrix that is decoded when it is asked for. The source owns it.
  const RowSource* rows = nullptr;
};

// Reading side of a container. Sizes are checked against the file on opening.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // In file order (shard after shard).
  virtual absl::Span<const TensorView> tensors() const = 0;
  // nullptr if there is no such tensor.
  virtual const TensorView* Find(absl::string_view name) const = 0;
  virtual const Metadata& metadata() const = 0;
  // The container's name: "gguf", "safetensors".
  virtual absl::string_view format() const = 0;
  // `range`, part of a tensor's data, will not be needed soon: gives its
  // memory back to the system. It may still be read.
  virtual void Release(absl::Span<const uint8_t> range) const = 0;
};

// Writing side: declare all, append in order, finish.
class TensorSink {
 public:
  virtual ~TensorSink() = default;

  // Writes the header. Names must differ; sizes must fit the types.
  virtual absl::Status Begin(absl::Span<const TensorMeta> metas,
                             const Metadata& metadata) = 0;
  // The next bytes of the tensors' data, in declared order. A piece may be of
  // any size but lies within one tensor; padding is the sink's business.
  virtual absl::Status Append(absl::Span<const uint8_t> bytes) = 0;
  // FailedPrecondition unless every declared byte was appended. Only after OK
  // does the file exist under its final name.
  virtual absl::Status Finish() = 0;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_TENSOR_H_
