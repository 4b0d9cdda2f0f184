#include "converter/pipeline.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/weights.h"
#include "converter/pieces.h"
#include "formats/base/float16.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_writer.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr int64_t kMaxPieceWeights = int64_t{1} << 20;

// What one piece in flight holds.
struct Slot {
  std::vector<float> weights;
  std::vector<std::vector<uint8_t>> encoded;  // by output
};

absl::Status NotFiniteError(const CheckpointTensor& tensor, int64_t row,
                            int64_t column, absl::string_view what) {
  return absl::DataLossError(
      absl::StrCat("tensor '", tensor.meta.name, "': ", what, " at row ", row,
                   ", column ", column, "; reading ", tensor.origin.file));
}

absl::Status CheckFinite(const CheckpointTensor& tensor, const Piece& piece,
                         const std::vector<float>& weights) {
  // One pass over the exponents, which vectorises; the place is looked for
  // only if there is one.
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t any_bad = 0;
  for (const float x : weights) {
    any_bad |= static_cast<uint32_t>((FloatBits(x) & kExponent) == kExponent);
  }
  if (any_bad == 0) {
    return absl::OkStatus();
  }
  const int64_t n_cols = tensor.meta.n_cols();
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i])) {
      const int64_t at = static_cast<int64_t>(i);
      return NotFiniteError(tensor, piece.first_row + at / n_cols, at % n_cols,
                            absl::StrCat("weight is ", weights[i]));
    }
  }
  return absl::OkStatus();
}

// Whether the stored bytes are the output's bytes.
bool CopiesBytes(const PlannedTensor& planned) {
  return planned.meta.type == planned.source->stored &&
         Geometry(planned.meta.type).block_weights > 1;
}

class Converter {
 public:
  Converter(const Checkpoint& model, absl::Span<const Output> outputs,
            std::vector<Piece> pieces, int n_slots)
      : model_(model),
        outputs_(outputs),
        pieces_(std::move(pieces)),
        slots_(static_cast<size_t>(n_slots)) {
    for (Slot& slot : slots_) {
      slot.encoded.resize(outputs.size());
    }
  }

  int64_t n_pieces() const { return static_cast<int64_t>(pieces_.size()); }
  const Piece& piece(int64_t i) const {
    return pieces_[static_cast<size_t>(i)];
  }
  const Slot& slot(int s) const { return slots_[static_cast<size_t>(s)]; }

  // Reads a piece once and encodes it for every output.
  absl::Status Compute(int64_t i, int slot_number) {
    const Piece& piece = pieces_[static_cast<size_t>(i)];
    Slot& slot = slots_[static_cast<size_t>(slot_number)];
    const CheckpointTensor& source = *Planned(0, piece).source;
    bool decoded = false;
    for (size_t o = 0; o < outputs_.size(); ++o) {
      const PlannedTensor& planned = Planned(o, piece);
      if (CopiesBytes(planned)) {
        RETURN_IF_ERROR(CopyRows(planned, piece, &slot.encoded[o]));
        continue;
      }
      if (!decoded) {
        slot.weights.resize(
            static_cast<size_t>(piece.n_rows * source.meta.n_cols()));
        RETURN_IF_ERROR(ReadRows(model_, source, piece.first_row, piece.n_rows,
                                 slot.weights.data()));
        RETURN_IF_ERROR(CheckFinite(source, piece, slot.weights));
        decoded = true;
      }
      RETURN_IF_ERROR(Encode(planned, piece, slot.weights, &slot.encoded[o]));
    }
    model_.Release(source, piece.first_row, piece.n_rows);
    return absl::OkStatus();
  }

 private:
  const PlannedTensor& Planned(size_t output, const Piece& piece) const {
    return outputs_[output].plan->tensors[piece.tensor];
  }

  absl::Status CopyRows(const PlannedTensor& planned, const Piece& piece,
                        std::vector<uint8_t>* bytes) const {
    bytes->clear();
    for (int64_t r = 0; r < piece.n_rows; ++r) {
      const absl::Span<const uint8_t> row =
          model_.RowBytes(*planned.source, piece.first_row + r);
      bytes->insert(bytes->end(), row.begin(), row.end());
    }
    return CheckBlocks(planned, piece, *bytes);
  }

  absl::Status Encode(const PlannedTensor& planned, const Piece& piece,
                      const std::vector<float>& weights,
                      std::vector<uint8_t>* bytes) const {
    const int64_t n_cols = planned.meta.n_cols();
    bytes->resize(static_cast<size_t>(piece.n_rows * planned.meta.row_bytes()));
    const float* importance = planned.importance == nullptr
                                  ? nullptr
                                  : planned.importance + piece.matrix * n_cols;
    FindCodec(planned.meta.type)
        ->EncodeRows(weights.data(), piece.n_rows, n_cols, importance,
                     bytes->data());
    return CheckBlocks(planned, piece, *bytes);
  }

  // A finite weight can still overflow a half-precision scale.
  static absl::Status CheckBlocks(const PlannedTensor& planned,
                                  const Piece& piece,
                                  const std::vector<uint8_t>& bytes) {
    const BlockCodec* codec = FindCodec(planned.meta.type);
    if (codec == nullptr) {
      return absl::OkStatus();  // copied bytes of a type we cannot decode
    }
    const int64_t blocks_per_row = planned.meta.n_cols() / codec->block;
    const int64_t bad =
        codec->FirstBadBlock(bytes.data(), piece.n_rows * blocks_per_row);
    if (bad < 0) {
      return absl::OkStatus();
    }
    return NotFiniteError(
        *planned.source, piece.first_row + bad / blocks_per_row,
        bad % blocks_per_row * codec->block,
        absl::StrCat("a value or scale of ", TypeName(planned.meta.type),
                     " is not finite: the weights are too large for it; "
                     "choose a type of more bits"));
  }

  const Checkpoint& model_;
  const absl::Span<const Output> outputs_;
  const std::vector<Piece> pieces_;
  std::vector<Slot> slots_;
};

std::vector<TensorMeta> MetasOf(const Plan& plan) {
  std::vector<TensorMeta> metas;
  for (const PlannedTensor& tensor : plan.tensors) {
    metas.push_back(tensor.meta);
  }
  return metas;
}

// Weights a piece may have, so that `n_slots` of them fit the budget with
// their float32 form and one encoded form per output.
int64_t PieceWeights(int64_t memory_bytes, int n_slots, size_t n_outputs) {
  const int64_t bytes_per_weight = 4 + 4 * static_cast<int64_t>(n_outputs);
  return std::clamp<int64_t>(memory_bytes / n_slots / bytes_per_weight, 1,
                             kMaxPieceWeights);
}

}  // namespace

absl::Status WriteOutputs(const Checkpoint& model,
                          absl::Span<const Output> outputs,
                          const PipelineOptions& options) {
  const int n_threads =
      options.n_threads < 1 ? NumProcessors() : options.n_threads;
  const int n_slots = 2 * n_threads + 1;
  std::vector<std::unique_ptr<TensorSink>> sinks;
  for (const Output& output : outputs) {
    std::unique_ptr<TensorSink> sink = NewGgufWriter(output.path);
    RETURN_IF_ERROR(sink->Begin(MetasOf(*output.plan), output.plan->metadata));
    sinks.push_back(std::move(sink));
  }
  std::vector<TensorMeta> sources;
  for (const PlannedTensor& tensor : outputs[0].plan->tensors) {
    sources.push_back(tensor.source->meta);
  }
  Converter converter(
      model, outputs,
      CutIntoPieces(
          sources, PieceWeights(options.memory_bytes, n_slots, outputs.size())),
      n_slots);

  const auto compute = [&](int64_t i, int slot) {
    return converter.Compute(i, slot);
  };
  const auto consume = [&](int64_t i, int slot) -> absl::Status {
    if (options.cancelled != nullptr && options.cancelled->load()) {
      return absl::CancelledError("stopped by a signal; nothing was written");
    }
    for (size_t o = 0; o < sinks.size(); ++o) {
      RETURN_IF_ERROR(sinks[o]->Append(converter.slot(slot).encoded[o]));
    }
    if (options.on_progress) {
      const Piece& piece = converter.piece(i);
      options.on_progress(piece.n_rows * sources[piece.tensor].row_bytes());
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(
      RunInOrder(converter.n_pieces(), n_threads, n_slots, compute, consume));
  for (const std::unique_ptr<TensorSink>& sink : sinks) {
    RETURN_IF_ERROR(sink->Finish());
  }
  return absl::OkStatus();
}

}  // namespace narrow
