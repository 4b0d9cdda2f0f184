#include "converter/quantize/write_tensors.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/pieces.h"
#include "converter/quantize/tensor_values.h"
#include "formats/base/status.h"
#include "formats/safetensors/safetensors_writer.h"

namespace narrow {
namespace {

constexpr int64_t kPieceBytes = int64_t{4} << 20;

// A tensor, or rows of it; of a layer's planes the first that the file has
// stands for all, as all are made at once.
struct Unit {
  size_t tensor;
  int64_t first_row = 0;  // or byte, of a copy
  int64_t n_rows = 0;
  bool makes_planes = false;
};

class Writer {
 public:
  Writer(const ModelInput& input, const QuantizePlan& plan,
         const PlanesFn& planes_of, const RewrittenFn& rewritten, int n_slots)
      : input_(input),
        plan_(plan),
        planes_of_(planes_of),
        rewritten_(rewritten),
        slots_(static_cast<size_t>(n_slots)) {}

  absl::Status Cut() {
    std::vector<bool> seen(plan_.layers.size(), false);
    for (size_t t = 0; t < plan_.tensors.size(); ++t) {
      const OutputTensor& tensor = plan_.tensors[t];
      if (tensor.kind == OutputTensor::Kind::kPlane) {
        const size_t layer = static_cast<size_t>(tensor.layer);
        units_.push_back({t, 0, 0, !seen[layer]});
        seen[layer] = true;
        continue;
      }
      RETURN_IF_ERROR(CutDense(t));
    }
    return absl::OkStatus();
  }

  int64_t n_units() const { return static_cast<int64_t>(units_.size()); }

  absl::Status Compute(int64_t i, int slot_number) {
    const Unit& unit = units_[static_cast<size_t>(i)];
    const OutputTensor& tensor = plan_.tensors[unit.tensor];
    Slot& slot = slots_[static_cast<size_t>(slot_number)];
    slot.bytes.clear();
    if (unit.makes_planes) {
      ASSIGN_OR_RETURN(slot.planes, planes_of_(tensor.layer));
      return absl::OkStatus();
    }
    if (tensor.kind == OutputTensor::Kind::kPlane) {
      return absl::OkStatus();
    }
    if (const TensorView* other = rewritten_(tensor.meta.name)) {
      const absl::Span<const uint8_t> bytes = other->data;
      slot.bytes.assign(bytes.begin(), bytes.end());
      return absl::OkStatus();
    }
    if (tensor.kind == OutputTensor::Kind::kCopy) {
      const auto bytes =
          tensor.view->data.subspan(static_cast<size_t>(unit.first_row),
                                    static_cast<size_t>(unit.n_rows));
      slot.bytes.assign(bytes.begin(), bytes.end());
      input_.source->Release(bytes);
      return absl::OkStatus();
    }
    slot.values.resize(static_cast<size_t>(unit.n_rows * tensor.meta.n_cols()));
    RETURN_IF_ERROR(ReadValues(*tensor.view, unit.first_row, unit.n_rows,
                               nullptr, slot.values.data()));
    return AppendValues(slot.values, tensor.meta.type, tensor.meta.name,
                        &slot.bytes);
  }

  // In the order of units, from one thread.
  absl::StatusOr<int64_t> Append(int64_t i, int slot_number, TensorSink* sink) {
    const Unit& unit = units_[static_cast<size_t>(i)];
    const OutputTensor& tensor = plan_.tensors[unit.tensor];
    Slot& slot = slots_[static_cast<size_t>(slot_number)];
    if (tensor.kind != OutputTensor::Kind::kPlane) {
      RETURN_IF_ERROR(sink->Append(slot.bytes));
      return static_cast<int64_t>(slot.bytes.size());
    }
    if (unit.makes_planes) {
      waiting_[tensor.layer] = std::move(slot.planes);
    }
    std::vector<uint8_t>& plane =
        waiting_[tensor.layer][static_cast<size_t>(tensor.plane)];
    RETURN_IF_ERROR(sink->Append(plane));
    const int64_t n = static_cast<int64_t>(plane.size());
    std::vector<uint8_t>().swap(plane);
    return n;
  }

 private:
  struct Slot {
    Planes planes;
    std::vector<uint8_t> bytes;
    std::vector<float> values;
  };

  absl::Status CutDense(size_t t) {
    const OutputTensor& tensor = plan_.tensors[t];
    const TensorView* other = rewritten_(tensor.meta.name);
    if (other != nullptr) {
      if (other->meta.type != tensor.meta.type ||
          other->meta.shape != tensor.meta.shape) {
        return absl::InternalError(absl::StrCat(
            "tensor '", tensor.meta.name, "' was rewritten as ",
            TypeName(other->meta.type), " ", ShapeString(other->meta.shape)));
      }
      units_.push_back({t, 0, 0, false});
      return absl::OkStatus();
    }
    const bool copy = tensor.kind == OutputTensor::Kind::kCopy;
    const int64_t end = copy ? tensor.meta.n_bytes() : tensor.meta.n_rows();
    const int64_t step =
        copy ? kPieceBytes
             : std::max<int64_t>(
                   1, kPieceBytes / 4 /
                          std::max<int64_t>(1, tensor.meta.n_cols()));
    for (int64_t at = 0; at < end; at += step) {
      units_.push_back({t, at, std::min(step, end - at), false});
    }
    return absl::OkStatus();
  }

  const ModelInput& input_;
  const QuantizePlan& plan_;
  const PlanesFn& planes_of_;
  const RewrittenFn& rewritten_;
  std::vector<Unit> units_;
  std::vector<Slot> slots_;
  // Planes that come later in the file; small ones, but for odd shapes.
  std::map<int, Planes> waiting_;
};

}  // namespace

absl::Status WriteTensors(const ModelInput& input, const QuantizePlan& plan,
                          const std::string& folder, const PlanesFn& planes_of,
                          const RewrittenFn& rewritten,
                          const WriteOptions& options) {
  const int n_slots = options.n_threads + 1;
  Writer writer(input, plan, planes_of, rewritten, n_slots);
  RETURN_IF_ERROR(writer.Cut());
  std::vector<TensorMeta> metas;
  for (const OutputTensor& tensor : plan.tensors) {
    metas.push_back(tensor.meta);
  }
  Metadata metadata;
  metadata.Set("format", std::string("pt"));  // transformers asks for it
  const std::unique_ptr<TensorSink> sink =
      NewSafetensorsFolderWriter(folder, options.max_shard_bytes);
  RETURN_IF_ERROR(sink->Begin(metas, metadata));
  const auto compute = [&](int64_t i, int slot) {
    return writer.Compute(i, slot);
  };
  const auto consume = [&](int64_t i, int slot) -> absl::Status {
    if (options.cancelled != nullptr && options.cancelled->load()) {
      return absl::CancelledError("stopped by a signal");
    }
    ASSIGN_OR_RETURN(const int64_t n, writer.Append(i, slot, sink.get()));
    if (options.on_progress) {
      options.on_progress(n);
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(RunInOrder(writer.n_units(), options.n_threads, n_slots,
                             compute, consume));
  return sink->Finish();
}

}  // namespace narrow
