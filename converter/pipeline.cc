#include "converter/pipeline.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/weights/weights.h"
#include "converter/pieces.h"
#include "converter/tensor_scale.h"
#include "formats/base/float16.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_writer.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/device/shared_encoders.h"
#include "kernels/rows/rows.h"

namespace narrow {
namespace {

constexpr int64_t kMaxPieceWeights = int64_t{1} << 18;
// A device is faster the more it has to do at once.
constexpr int64_t kMaxDevicePieceWeights = int64_t{1} << 22;
constexpr int64_t kDeviceMemoryBytes = int64_t{1} << 30;

// What one piece in flight holds.
struct Slot {
  std::vector<float> weights;
  std::vector<uint16_t> halves;  // in their place: bfloat16, for a device
  std::vector<float> scaled;     // weights by their scale
  std::vector<std::vector<uint8_t>> encoded;  // by output
};

// The scale of every matrix, by tensor; empty for those without.
using Scales = std::vector<std::vector<float>>;

absl::Status NotFiniteError(const CheckpointTensor& tensor, int64_t row,
                            int64_t column, absl::string_view what) {
  return absl::DataLossError(
      absl::StrCat("tensor '", tensor.meta.name, "': ", what, " at row ", row,
                   ", column ", column, "; reading ", tensor.origin.file));
}

absl::Status CheckFinite(const CheckpointTensor& tensor, const Piece& piece,
                         const std::vector<uint16_t>& halves) {
  constexpr uint16_t kExponent = 0x7f80;
  const auto bad = std::find_if(
      halves.begin(), halves.end(),
      [](uint16_t bits) { return (bits & kExponent) == kExponent; });
  if (bad == halves.end()) {
    return absl::OkStatus();
  }
  const int64_t n_cols = tensor.meta.n_cols();
  const int64_t at = bad - halves.begin();
  return NotFiniteError(tensor, piece.first_row + at / n_cols, at % n_cols,
                        absl::StrCat("weight is ", FloatFromBf16(*bad)));
}

absl::Status CheckFinite(const CheckpointTensor& tensor, const Piece& piece,
                         const std::vector<float>& weights) {
  if (RowKernelsForCpu().all_finite(weights.data(),
                                    static_cast<int64_t>(weights.size()))) {
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

// Whether the stored bytes are the output's bytes: blocks, and integers, of
// which a copy is all that can be had.
bool CopiesBytes(const PlannedTensor& planned) {
  const QuantType type = planned.meta.type;
  return type == planned.source->stored &&
         (Geometry(type).block_weights > 1 || FindCodec(type) == nullptr);
}

class Converter {
 public:
  Converter(const Checkpoint& model, absl::Span<const Output> outputs,
            std::vector<Piece> pieces, Scales scales, SharedEncoders* encoders,
            int n_slots)
      : model_(model),
        outputs_(outputs),
        pieces_(std::move(pieces)),
        scales_(std::move(scales)),
        encoders_(encoders),
        slots_(static_cast<size_t>(n_slots)) {
    for (Slot& slot : slots_) {
      slot.encoded.resize(outputs.size());
    }
  }

  int64_t n_pieces() const { return static_cast<int64_t>(pieces_.size()); }
  const Piece& piece(int64_t i) const {
    return pieces_[static_cast<size_t>(i)];
  }

  // The next bytes of an output: a computed piece, before the first one of a
  // tensor its scales.
  absl::Status Append(size_t output, int64_t i, int slot_number,
                      const AppendFn& append) const {
    const Piece& at = piece(i);
    if (at.first_row == 0 && Planned(output, at).has_scale()) {
      const std::vector<float>& scales = scales_[at.tensor];
      RETURN_IF_ERROR(
          append(output, {reinterpret_cast<const uint8_t*>(scales.data()),
                          scales.size() * sizeof(float)}));
    }
    return append(output,
                  slots_[static_cast<size_t>(slot_number)].encoded[output]);
  }

  // Reads a piece once and encodes it for every output.
  absl::Status Compute(int64_t i, int slot_number) {
    const Piece& piece = pieces_[static_cast<size_t>(i)];
    Slot& slot = slots_[static_cast<size_t>(slot_number)];
    const CheckpointTensor& source = *Planned(0, piece).source;
    const bool as_halves = TakesHalves(piece);
    bool decoded = false;
    for (size_t o = 0; o < outputs_.size(); ++o) {
      const PlannedTensor& planned = Planned(o, piece);
      if (planned.encoded != nullptr) {
        slot.encoded[o].clear();
        RETURN_IF_ERROR(planned.encoded->AppendRows(
            piece.first_row, piece.n_rows, &slot.encoded[o]));
        RETURN_IF_ERROR(CheckBlocks(planned, piece, slot.encoded[o]));
        continue;
      }
      if (CopiesBytes(planned)) {
        RETURN_IF_ERROR(CopyRows(planned, piece, &slot.encoded[o]));
        continue;
      }
      if (!decoded) {
        RETURN_IF_ERROR(Read(piece, as_halves, &slot));
        decoded = true;
      }
      if (as_halves) {
        RETURN_IF_ERROR(Encode(planned, piece, {slot.halves.data(), true},
                               &slot.encoded[o]));
        continue;
      }
      const std::vector<float>* weights = &slot.weights;
      if (planned.has_scale()) {
        Divide(slot.weights,
               scales_[piece.tensor][static_cast<size_t>(piece.matrix)],
               &slot.scaled);
        weights = &slot.scaled;
      }
      RETURN_IF_ERROR(
          Encode(planned, piece, {weights->data(), false}, &slot.encoded[o]));
    }
    model_.Release(source, piece.first_row, piece.n_rows);
    return absl::OkStatus();
  }

 private:
  const PlannedTensor& Planned(size_t output, const Piece& piece) const {
    return outputs_[output].plan->tensors[piece.tensor];
  }

  // Whether bfloat16 as it is stored will do: the device takes it for every
  // output that is computed from weights.
  bool TakesHalves(const Piece& piece) const {
    if (encoders_ == nullptr ||
        !HasPlainBf16(model_, *Planned(0, piece).source)) {
      return false;
    }
    for (size_t o = 0; o < outputs_.size(); ++o) {
      const PlannedTensor& planned = Planned(o, piece);
      if (planned.encoded == nullptr && !CopiesBytes(planned) &&
          (planned.has_scale() || !encoders_->Supports(planned.meta.type))) {
        return false;
      }
    }
    return true;
  }

  absl::Status Read(const Piece& piece, bool as_halves, Slot* slot) const {
    const CheckpointTensor& source = *Planned(0, piece).source;
    const auto n = static_cast<size_t>(piece.n_rows * source.meta.n_cols());
    if (as_halves) {
      slot->halves.resize(n);
      CopyBf16Rows(model_, source, piece.first_row, piece.n_rows,
                   slot->halves.data());
      return CheckFinite(source, piece, slot->halves);
    }
    slot->weights.resize(n);
    RETURN_IF_ERROR(ReadRows(model_, source, piece.first_row, piece.n_rows,
                             slot->weights.data()));
    return CheckFinite(source, piece, slot->weights);
  }

  static void Divide(const std::vector<float>& weights, float scale,
                     std::vector<float>* scaled) {
    scaled->resize(weights.size());
    for (size_t i = 0; i < weights.size(); ++i) {
      (*scaled)[i] = weights[i] / scale;
    }
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
                      const HostWeights& weights,
                      std::vector<uint8_t>* bytes) const {
    const int64_t n_cols = planned.meta.n_cols();
    bytes->resize(static_cast<size_t>(piece.n_rows * planned.meta.row_bytes()));
    const float* importance = planned.importance == nullptr
                                  ? nullptr
                                  : planned.importance + piece.matrix * n_cols;
    const BlockCodec& codec = *FindCodec(planned.meta.type);
    if (encoders_ != nullptr) {
      RETURN_IF_ERROR(encoders_->EncodeRows(codec, weights, piece.n_rows,
                                            n_cols, importance, bytes->data(),
                                            planned.meta.name));
    } else {
      codec.EncodeRows(static_cast<const float*>(weights.data), piece.n_rows,
                       n_cols, importance, bytes->data());
    }
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
  const Scales scales_;
  SharedEncoders* const encoders_;  // nullptr: the threads encode
  std::vector<Slot> slots_;
};

absl::Status CheckNotCancelled(const PipelineOptions& options) {
  return options.cancelled != nullptr && options.cancelled->load()
             ? absl::CancelledError("stopped by a signal; nothing was written")
             : absl::OkStatus();
}

float AbsMax(const std::vector<float>& weights) {
  float absmax = 0;
  for (const float x : weights) {
    absmax = std::max(absmax, std::fabs(x));  // passes over NaN
  }
  return absmax;
}

std::vector<TensorMeta> SourcesOf(absl::Span<const Output> outputs) {
  std::vector<TensorMeta> sources;
  for (const PlannedTensor& tensor : outputs[0].plan->tensors) {
    sources.push_back(tensor.source->meta);
  }
  return sources;
}

// The scales of all tensors that have them in some output and rows in
// `ranges`: one more pass over those tensors, all rows of them, before
// anything is written, so that pieces stay independent.
absl::StatusOr<Scales> ComputeScales(const Checkpoint& model,
                                     absl::Span<const Output> outputs,
                                     absl::Span<const RowRange> ranges,
                                     int64_t piece_weights,
                                     const PipelineOptions& options,
                                     int n_threads, int n_slots) {
  const std::vector<PlannedTensor>& tensors = outputs[0].plan->tensors;
  Scales scales(tensors.size());
  for (const Output& output : outputs) {
    for (size_t t = 0; t < tensors.size(); ++t) {
      const PlannedTensor& planned = output.plan->tensors[t];
      if (planned.has_scale()) {
        scales[t].resize(static_cast<size_t>(planned.scale.n_elements()));
      }
    }
  }
  std::vector<bool> has_rows(tensors.size(), false);
  for (const RowRange& range : ranges) {
    has_rows[range.tensor] = true;
  }
  std::vector<RowRange> whole;
  for (size_t t = 0; t < tensors.size(); ++t) {
    if (!scales[t].empty() && has_rows[t]) {
      whole.push_back({t, 0, tensors[t].meta.n_rows()});
    }
  }
  const std::vector<Piece> scaled =
      CutIntoPieces(SourcesOf(outputs), whole, piece_weights);
  std::vector<std::vector<float>> weights(static_cast<size_t>(n_slots));
  std::vector<float> maxima(static_cast<size_t>(n_slots));
  const auto compute = [&](int64_t i, int slot) {
    const Piece& piece = scaled[static_cast<size_t>(i)];
    const CheckpointTensor& source = *tensors[piece.tensor].source;
    std::vector<float>& rows = weights[static_cast<size_t>(slot)];
    rows.resize(static_cast<size_t>(piece.n_rows * source.meta.n_cols()));
    RETURN_IF_ERROR(
        ReadRows(model, source, piece.first_row, piece.n_rows, rows.data()));
    maxima[static_cast<size_t>(slot)] = AbsMax(rows);
    model.Release(source, piece.first_row, piece.n_rows);
    return absl::OkStatus();
  };
  const auto consume = [&](int64_t i, int slot) -> absl::Status {
    RETURN_IF_ERROR(CheckNotCancelled(options));
    const Piece& piece = scaled[static_cast<size_t>(i)];
    float& scale = scales[piece.tensor][static_cast<size_t>(piece.matrix)];
    scale = std::max(scale, maxima[static_cast<size_t>(slot)]);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(RunInOrder(static_cast<int64_t>(scaled.size()), n_threads,
                             n_slots, compute, consume));
  for (std::vector<float>& row : scales) {
    std::transform(row.begin(), row.end(), row.begin(), ScaleOf);
  }
  return scales;
}

// Weights a piece may have, so that `n_slots` of them fit the budget with
// their float32 form and one encoded form per output.
int64_t PieceWeights(const PipelineOptions& options, int n_slots,
                     size_t n_outputs) {
  const int64_t bytes_per_weight = 4 + 4 * static_cast<int64_t>(n_outputs);
  const bool has_device = options.device.has_value();
  const int64_t memory_bytes =
      has_device ? std::max(options.memory_bytes, kDeviceMemoryBytes)
                 : options.memory_bytes;
  return std::clamp<int64_t>(
      memory_bytes / n_slots / bytes_per_weight, 1,
      has_device ? kMaxDevicePieceWeights : kMaxPieceWeights);
}

// nullptr without a device. Some encoders, so that one's rows are gathered
// while another's are computed.
absl::StatusOr<std::unique_ptr<SharedEncoders>> EncodersFor(
    const PipelineOptions& options, int n_threads) {
  constexpr int kMaxEncoders = 4;
  if (!options.device.has_value()) {
    return std::unique_ptr<SharedEncoders>();
  }
  return SharedEncoders::Create(*options.device,
                                std::min(n_threads, kMaxEncoders),
                                options.on_device_note);
}

}  // namespace

absl::Status EncodeRows(const Checkpoint& model,
                        absl::Span<const Output> outputs,
                        absl::Span<const RowRange> ranges,
                        const PipelineOptions& options,
                        const AppendFn& append) {
  const int n_threads =
      options.n_threads < 1 ? NumProcessors() : options.n_threads;
  const int n_slots = 2 * n_threads + 1;
  const std::vector<TensorMeta> sources = SourcesOf(outputs);
  const int64_t piece_weights = PieceWeights(options, n_slots, outputs.size());
  ASSIGN_OR_RETURN(const auto encoders, EncodersFor(options, n_threads));
  ASSIGN_OR_RETURN(Scales scales,
                   ComputeScales(model, outputs, ranges, piece_weights, options,
                                 n_threads, n_slots));
  Converter converter(model, outputs,
                      CutIntoPieces(sources, ranges, piece_weights),
                      std::move(scales), encoders.get(), n_slots);

  const auto compute = [&](int64_t i, int slot) {
    return converter.Compute(i, slot);
  };
  const auto consume = [&](int64_t i, int slot) -> absl::Status {
    RETURN_IF_ERROR(CheckNotCancelled(options));
    for (size_t o = 0; o < outputs.size(); ++o) {
      RETURN_IF_ERROR(converter.Append(o, i, slot, append));
    }
    if (options.on_progress) {
      const Piece& piece = converter.piece(i);
      options.on_progress(piece.n_rows * sources[piece.tensor].row_bytes());
    }
    return absl::OkStatus();
  };
  return RunInOrder(converter.n_pieces(), n_threads, n_slots, compute, consume);
}

absl::Status WriteOutputs(const Checkpoint& model,
                          absl::Span<const Output> outputs,
                          const PipelineOptions& options) {
  std::vector<std::unique_ptr<TensorSink>> sinks;
  for (const Output& output : outputs) {
    const Plan& plan = *output.plan;
    std::unique_ptr<TensorSink> sink =
        plan.split.has_value() ? NewGgufSplitWriter(output.path, *plan.split)
                               : NewGgufWriter(output.path);
    RETURN_IF_ERROR(
        sink->Begin(FileTensors(*output.plan), output.plan->metadata));
    sinks.push_back(std::move(sink));
  }
  RETURN_IF_ERROR(
      EncodeRows(model, outputs, AllRows(SourcesOf(outputs)), options,
                 [&sinks](size_t output, absl::Span<const uint8_t> bytes) {
                   return sinks[output]->Append(bytes);
                 }));
  for (const std::unique_ptr<TensorSink>& sink : sinks) {
    RETURN_IF_ERROR(sink->Finish());
  }
  return absl::OkStatus();
}

}  // namespace narrow
