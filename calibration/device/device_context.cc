#include "calibration/device/device_context.h"

#include <algorithm>
#include <cassert>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

// Rows worked on together where memory allows: enough for a card's products,
// and few beside the weights.
constexpr int64_t kStepRows = 8192;
constexpr int64_t kMaxPieceBytes = int64_t{64} << 20;

ProductType TypeOf(const RunnerOptions& options) {
  return options.precision == Precision::kFast ? ProductType::kF32
                                               : ProductType::kReproducible;
}

WeightGroup GroupOf(const BlockTensors& block) {
  WeightGroup group = {block.q.weight, block.k.weight, block.v.weight,
                       block.attn_output.weight};
  if (!block.has_experts) {
    group.insert(group.end(),
                 {block.gate.weight, block.up.weight, block.down.weight});
    return group;
  }
  for (const WeightRows* stack :
       {&block.expert_gate, &block.expert_up, &block.expert_down}) {
    group.push_back({stack->tensor, 0, stack->tensor->meta.n_rows()});
  }
  return group;
}

// The vectors of a block that are on the device.
std::vector<const std::vector<float>*> VectorsOf(const BlockTensors& b) {
  return {&b.attn_norm,      &b.ffn_norm,         &b.q_norm,    &b.k_norm,
          &b.post_attn_norm, &b.post_ffn_norm,    &b.q.bias,    &b.k.bias,
          &b.v.bias,         &b.attn_output.bias, &b.gate.bias, &b.up.bias,
          &b.down.bias};
}

}  // namespace

DeviceContext::DeviceContext(const Checkpoint* model,
                             const RunnerOptions& options)
    : host_(model, TypeOf(options), options),
      device_(*options.device),
      is_exact_(options.precision != Precision::kFast),
      note_(options.on_device_note),
      step_rows_(kStepRows) {}

absl::StatusOr<std::unique_ptr<DeviceContext>> DeviceContext::Create(
    const Checkpoint* model, const ModelTensors* tensors,
    const RunnerOptions& options) {
  std::unique_ptr<DeviceContext> context(new DeviceContext(model, options));
  RETURN_IF_ERROR(Annotate(context->Open(model, *tensors, options),
                           absl::StrCat("reading ", model->path())));
  return context;
}

absl::Status DeviceContext::Open(const Checkpoint* model,
                                 const ModelTensors& tensors,
                                 const RunnerOptions& options) {
  ASSIGN_OR_RETURN(stream_, device_.NewStream());
  std::string note;
  ASSIGN_OR_RETURN(products_, DeviceProducts::Open(device_, &note));
  if (!note.empty() && !is_exact_) {
    Note(note);
  }
  RETURN_IF_ERROR(CopyVectors(tensors));
  std::vector<WeightGroup> groups;
  for (const BlockTensors& block : tensors.blocks) {
    groups.push_back(GroupOf(block));
  }
  const WeightRows& output = tensors.output;
  for (int64_t first = 0; first < output.n_rows; first += kSliceTokens) {
    groups.push_back({{output.tensor, output.first_row + first,
                       std::min(kSliceTokens, output.n_rows - first)}});
    ++n_slices_;
  }
  WeightStreamOptions weights;
  weights.as_floats = is_exact_;
  weights.n_threads = options.n_threads;
  weights.report = options.on_device_note;
  // Two pieces on either side, a small part of a small memory.
  ASSIGN_OR_RETURN(const int64_t n_free, device_.FreeMemory());
  weights.piece_bytes = std::clamp<int64_t>(n_free / 64, 4096, kMaxPieceBytes);
  weights.prefetch = options.prefetch_weights;
  weights.one_at_a_time = !options.prefetch_weights;
  ASSIGN_OR_RETURN(weights_, WeightStream::Create(device_, model,
                                                  std::move(groups), weights));
  return absl::OkStatus();
}

absl::Status DeviceContext::CopyVectors(const ModelTensors& tensors) {
  std::vector<float> all;
  std::vector<std::pair<const float*, size_t>> places;
  std::vector<const std::vector<float>*> vectors = {&tensors.output_norm};
  for (const BlockTensors& block : tensors.blocks) {
    const auto its = VectorsOf(block);
    vectors.insert(vectors.end(), its.begin(), its.end());
  }
  for (const std::vector<float>* values : vectors) {
    if (!values->empty()) {
      places.emplace_back(values->data(), all.size());
      all.insert(all.end(), values->begin(), values->end());
    }
  }
  const size_t n_bytes = all.size() * sizeof(float);
  ASSIGN_OR_RETURN(vector_memory_,
                   device_.Allocate(n_bytes, "norms and biases"));
  for (const auto& [from, at] : places) {
    vectors_[from] = vector_memory_.as<float>() + at;
  }
  return ToDevice(all.data(), static_cast<int64_t>(n_bytes),
                  vector_memory_.data(), "norms and biases");
}

absl::Status DeviceContext::Reserve(absl::Span<const RoomSize> sizes) {
  for (const RoomSize& size : sizes) {
    DeviceBuffer& room = rooms_[static_cast<size_t>(size.room)];
    const auto n_bytes = static_cast<size_t>(size.n_bytes);
    if (room.n_bytes() >= n_bytes) {
      continue;
    }
    // What is under way may still use it.
    RETURN_IF_ERROR(stream_.Synchronize("a step"));
    room = DeviceBuffer();
    absl::StatusOr<DeviceBuffer> memory =
        device_.Allocate(n_bytes, "a step of the forward pass");
    if (!memory.ok()) {
      for (DeviceBuffer& any : rooms_) {
        any = DeviceBuffer();
      }
      return memory.status();
    }
    room = *std::move(memory);
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> DeviceContext::ReserveSteps(
    int64_t n_units, int64_t unit_rows,
    const std::function<std::vector<RoomSize>(int64_t n_rows)>& sizes) {
  const int64_t wanted =
      std::clamp<int64_t>(step_rows_ / std::max<int64_t>(1, unit_rows), 1,
                          std::max<int64_t>(1, n_units));
  return WithSmallerBatches(
      wanted, 1, [&](int64_t n) { return Reserve(sizes(n * unit_rows)); },
      [&](int64_t n, absl::string_view why) {
        step_rows_ = n * unit_rows;
        Note(absl::StrCat("going on with steps of ", step_rows_,
                          " tokens: ", why));
      });
}

absl::Status DeviceContext::Multiply(const DeviceRows& x,
                                     const DeviceMatrix& matrix, float* out,
                                     int64_t out_row,
                                     const std::vector<float>& bias) {
  const int64_t n_cols = matrix.n_cols;
  assert(x.n_cols == n_cols);
  const float* const added = bias.empty() ? nullptr : vector(bias);
  if (is_exact_) {
    RETURN_IF_ERROR(RunChainProduct(
        chain::GemmNT(Update::kSet, x.n_rows, matrix.n_rows, n_cols, x.floats,
                      n_cols, matrix.floats(), n_cols, out, out_row),
        &stream_));
    return added == nullptr
               ? absl::OkStatus()
               : RunRows(row_threads::BiasTask{added, x.n_rows, matrix.n_rows,
                                               out_row, out},
                         &stream_);
  }
  tile::Product product = {};
  product.left = {x.halves, n_cols, 1};
  product.right = {matrix.halves(), n_cols, 1};
  product.n_rows = x.n_rows;
  product.n_cols = matrix.n_rows;
  product.depth = n_cols;
  product.out = out;
  product.out_row = out_row;
  product.bias = added;
  return products_->Multiply(product, &stream_);
}

absl::StatusOr<DeviceRows> DeviceContext::Norm(const float* x,
                                               const std::vector<float>& weight,
                                               int64_t n_rows, bool floats) {
  DeviceRows rows;
  rows.n_rows = n_rows;
  rows.n_cols = static_cast<int64_t>(weight.size());
  row_threads::NormTask task = {};
  task.x = x;
  task.weight = vector(weight);
  task.n_rows = n_rows;
  task.n = rows.n_cols;
  task.eps = config().norm_eps;
  if (is_exact_ || floats) {
    task.out.floats = at<float>(Room::kNormed);
  }
  if (!is_exact_) {
    task.out.halves = at<uint16_t>(Room::kNormedHalves);
  }
  rows.floats = task.out.floats;
  rows.halves = task.out.halves;
  RETURN_IF_ERROR(RunRows(task, &stream_));
  return rows;
}

absl::StatusOr<DeviceRows> DeviceContext::Round(const float* x, int64_t n_rows,
                                                int64_t n_cols, Room halves) {
  DeviceRows rows = {x, nullptr, n_rows, n_cols};
  if (!is_exact_) {
    rows.halves = at<uint16_t>(halves);
    RETURN_IF_ERROR(products_->Split(x, n_rows * n_cols, 0,
                                     at<uint16_t>(halves), &stream_));
  }
  return rows;
}

absl::Status DeviceContext::AddToHidden(float* projected,
                                        const std::vector<float>& post_norm,
                                        int64_t n_rows, float* hidden) {
  const int64_t n_hidden = config().hidden_size;
  if (!post_norm.empty()) {
    row_threads::NormTask norm = {};
    norm.x = projected;
    norm.weight = vector(post_norm);
    norm.n_rows = n_rows;
    norm.n = n_hidden;
    norm.eps = config().norm_eps;
    norm.out.floats = projected;
    RETURN_IF_ERROR(RunRows(norm, &stream_));
  }
  return RunRows(
      row_threads::MixTask{projected, 1, 1, 0, n_rows * n_hidden, hidden},
      &stream_);
}

absl::Status DeviceContext::ToHost(const void* from, int64_t n_bytes, void* to,
                                   absl::string_view what) {
  RETURN_IF_ERROR(stream_.Copy(from, static_cast<size_t>(n_bytes), to));
  return stream_.Synchronize(what);
}

absl::Status DeviceContext::ToDevice(const void* from, int64_t n_bytes,
                                     void* to, absl::string_view what) {
  return ToHost(from, n_bytes, to, what);
}

absl::Status DeviceContext::Move(HiddenStates* hidden) {
  if (hidden->on_device.data() != nullptr) {
    return absl::OkStatus();
  }
  const size_t n_bytes = hidden->values.size() * sizeof(float);
  ASSIGN_OR_RETURN(DeviceBuffer buffer,
                   device_.Allocate(n_bytes, "hidden states"));
  RETURN_IF_ERROR(ToDevice(hidden->values.data(), static_cast<int64_t>(n_bytes),
                           buffer.data(), "hidden states"));
  hidden->on_device = std::move(buffer);
  hidden->values.clear();
  return absl::OkStatus();
}

absl::Status DeviceContext::Fetch(HiddenStates* hidden) {
  if (hidden->on_device.data() == nullptr) {
    return absl::OkStatus();
  }
  const size_t n_bytes = hidden->on_device.n_bytes();
  hidden->values.resize(n_bytes / sizeof(float));
  RETURN_IF_ERROR(ToHost(hidden->on_device.data(),
                         static_cast<int64_t>(n_bytes), hidden->values.data(),
                         "hidden states"));
  hidden->on_device = DeviceBuffer();
  return absl::OkStatus();
}

void DeviceContext::Note(absl::string_view text) const {
  if (note_) {
    note_(text);
  }
}

absl::StatusOr<FiniteFlags> FiniteFlags::Begin(DeviceContext* context,
                                               int64_t n_sets, int64_t n_rows) {
  const int64_t n_bytes = n_sets * n_rows;
  RETURN_IF_ERROR(context->Reserve({{Room::kFlags, n_bytes}}));
  RETURN_IF_ERROR(context->stream()->Fill(0, static_cast<size_t>(n_bytes),
                                          context->at<uint8_t>(Room::kFlags)));
  return FiniteFlags(context, n_sets, n_rows);
}

absl::Status FiniteFlags::Look(int64_t set, int64_t first_row, const float* x,
                               int64_t n_rows, int64_t n, int64_t stride) {
  return RunRows(row_threads::FiniteTask{x, n_rows, n, stride,
                                         context_->at<uint8_t>(Room::kFlags) +
                                             set * n_rows_ + first_row},
                 context_->stream());
}

absl::StatusOr<std::vector<int64_t>> FiniteFlags::First() {
  std::vector<uint8_t> flags(static_cast<size_t>(n_sets_ * n_rows_));
  RETURN_IF_ERROR(context_->ToHost(context_->at<uint8_t>(Room::kFlags),
                                   n_sets_ * n_rows_, flags.data(),
                                   "flags of rows"));
  std::vector<int64_t> firsts;
  for (int64_t set = 0; set < n_sets_; ++set) {
    const auto begin = flags.begin() + set * n_rows_;
    const auto found = std::find(begin, begin + n_rows_, 1);
    firsts.push_back(found == begin + n_rows_ ? -1 : found - begin);
  }
  return firsts;
}

}  // namespace narrow
