#include "calibration/device/weight_pieces.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/weights/weights.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"
#include "kernels/packed/device/device_codes.h"
#include "kernels/quant/device/device_finish.h"

namespace narrow {
namespace {

// Rows that a thread of the host reads at once; a multiple of the heights of
// packed blocks.
constexpr int64_t kHostRows = 128;

FinishTask::Rounding RoundingOf(const CheckpointTensor& tensor) {
  if (tensor.meta.type == tensor.stored) {
    return FinishTask::Rounding::kNone;
  }
  return tensor.meta.type == QuantType::kBF16  ? FinishTask::Rounding::kBf16
         : tensor.meta.type == QuantType::kF16 ? FinishTask::Rounding::kF16
                                               : FinishTask::Rounding::kNone;
}

}  // namespace

// How a matrix gets to the device.
struct WeightPieces::Job {
  const WeightRows& weight;
  const CheckpointTensor& tensor;
  int64_t n_cols;
  int64_t number_bytes;  // of what is wanted
  int64_t packed_step;   // of rows that devices take apart; 0: not packed so
  bool on_host;          // decoded there
  bool as_it_is;         // stored as what is wanted
  bool finish;

  // What is copied for a row.
  int64_t row_bytes() const {
    if (on_host) {
      return n_cols * number_bytes;
    }
    const TypeGeometry& g = Geometry(tensor.stored);
    return n_cols / g.block_weights * g.block_bytes;
  }
};

WeightPieces::~WeightPieces() {
  // Memory is freed when nothing uses it any more.
  for (Slot& slot : slots_) {
    slot.stream.Synchronize("weights").IgnoreError();
  }
}

WeightPieces::Job WeightPieces::JobOf(const WeightRows& weight) const {
  const CheckpointTensor& tensor = *weight.tensor;
  const QuantType wanted =
      options_.as_floats ? QuantType::kF32 : QuantType::kBF16;
  const bool has_bytes = model_->HasBytes(tensor);
  Job job = {weight, tensor, weight.n_cols(), options_.as_floats ? 4 : 2,
             0,      false,  false,           false};
  if (!has_bytes) {
    job.packed_step = PackedRowStep(tensor, weight.first_row, weight.n_rows);
    job.on_host = job.packed_step == 0;
  } else {
    job.on_host =
        tensor.stored != QuantType::kF32 && !HasDeviceCode(tensor.stored);
  }
  const bool is_more_to_do = tensor.offset != 0 || !tensor.scales.empty() ||
                             RoundingOf(tensor) != FinishTask::Rounding::kNone;
  const bool is_only_rounded =
      has_bytes && tensor.stored == QuantType::kF32 && !options_.as_floats;
  job.finish = !job.on_host && (is_more_to_do || is_only_rounded);
  job.as_it_is =
      job.on_host || (has_bytes && !job.finish && tensor.stored == wanted);
  return job;
}

// Whole steps of packed rows, or heights of packed blocks where there are as
// many. What is decoded counts, too: blocks of two bits become eight times as
// large.
int64_t WeightPieces::RowsOfPiece(const Job& job) const {
  const bool is_packed = job.packed_step > 0;
  const int64_t row_bytes =
      is_packed ? job.n_cols * 2
                : std::max(job.row_bytes(), job.finish ? job.n_cols * 2 : 1);
  const int64_t n_rows = std::max(options_.piece_bytes / row_bytes, int64_t{1});
  const int64_t step = is_packed ? job.packed_step : kHostRows;
  return n_rows > step ? n_rows / step * step
                       : std::max(n_rows, job.packed_step);
}

// Of what is copied.
int64_t WeightPieces::PieceBytes(const Job& job, int64_t first_row,
                                 int64_t n_rows) const {
  return job.packed_step > 0
             ? PackedPiece(job.tensor, job.weight.first_row + first_row, n_rows)
                   .n_bytes()
             : n_rows * job.row_bytes();
}

absl::StatusOr<std::unique_ptr<WeightPieces>> WeightPieces::Create(
    const Device& device, const Checkpoint* model,
    absl::Span<const WeightGroup> groups, const Options& options) {
  std::unique_ptr<WeightPieces> pieces(
      new WeightPieces(device, model, options));
  for (Slot& slot : pieces->slots_) {
    ASSIGN_OR_RETURN(slot.stream, device.NewStream());
  }
  RETURN_IF_ERROR(pieces->Reserve(groups));
  return pieces;
}

// Memory for what the matrices need, no more than for the largest of them.
absl::Status WeightPieces::Reserve(absl::Span<const WeightGroup> groups) {
  int64_t pinned = 0, staged = 0, floats = 0;
  for (const WeightGroup& group : groups) {
    for (const WeightRows& weight : group) {
      const Job job = JobOf(weight);
      const int64_t n_rows = std::min(RowsOfPiece(job), weight.n_rows);
      int64_t bytes = 0;
      // Modules of one tensor may differ.
      for (int64_t first = 0; first < weight.n_rows; first += n_rows) {
        bytes = std::max(
            bytes,
            PieceBytes(job, first, std::min(n_rows, weight.n_rows - first)));
      }
      pinned = std::max(pinned, bytes);
      if (!job.as_it_is) {
        staged = std::max(staged, bytes);
        RETURN_IF_ERROR(CopyTables(job));
      }
      if (job.finish) {
        floats = std::max(floats, n_rows * job.n_cols * 4);
        RETURN_IF_ERROR(CopyScales(job.tensor));
      }
    }
  }
  constexpr absl::string_view kWhat = "pieces of weights";
  for (Slot& slot : slots_) {
    ASSIGN_OR_RETURN(slot.pinned, device_.AllocatePinned(
                                      static_cast<size_t>(pinned), kWhat));
    ASSIGN_OR_RETURN(slot.staged,
                     device_.Allocate(static_cast<size_t>(staged), kWhat));
    ASSIGN_OR_RETURN(slot.floats,
                     device_.Allocate(static_cast<size_t>(floats), kWhat));
  }
  device_bytes_ += 2 * (staged + floats);
  return Synchronize();
}

absl::Status WeightPieces::CopyScales(const CheckpointTensor& tensor) {
  if (tensor.scales.empty() || scales_.count(&tensor) > 0) {
    return absl::OkStatus();
  }
  const size_t n_bytes = tensor.scales.size() * sizeof(float);
  ASSIGN_OR_RETURN(DeviceBuffer buffer,
                   device_.Allocate(n_bytes, tensor.meta.name));
  RETURN_IF_ERROR(
      slots_[0].stream.Copy(tensor.scales.data(), n_bytes, buffer.data()));
  scales_.emplace(&tensor, std::move(buffer));
  device_bytes_ += static_cast<int64_t>(n_bytes);
  return absl::OkStatus();
}

// Those of the stored type, or of the packed codes.
absl::Status WeightPieces::CopyTables(const Job& job) {
  if (job.packed_step > 0) {
    for (const RowSegment& segment : job.tensor.segments) {
      const RowSource* rows = segment.view->rows;
      if (rows != nullptr && rows->packed() != nullptr) {
        RETURN_IF_ERROR(CopyCodeTable(rows->packed()->scheme.code));
      }
    }
    return absl::OkStatus();
  }
  const QuantType type = job.tensor.stored;
  if (type != QuantType::kF32 && tables_.count(type) == 0) {
    ASSIGN_OR_RETURN(DeviceTables tables,
                     DeviceTables::Copy(device_, type, &slots_[0].stream));
    tables_.emplace(type, std::move(tables));
  }
  return absl::OkStatus();
}

absl::Status WeightPieces::CopyCodeTable(CodeKind kind) {
  if (kind == CodeKind::kInteger || code_tables_.count(kind) > 0) {
    return absl::OkStatus();
  }
  const size_t n_codes = kind == CodeKind::kE4M3 ? 256 : 16;
  const size_t n_bytes = n_codes * sizeof(float);
  ASSIGN_OR_RETURN(DeviceBuffer buffer,
                   device_.Allocate(n_bytes, "values of codes"));
  RETURN_IF_ERROR(
      slots_[0].stream.Copy(CodeTable(kind), n_bytes, buffer.data()));
  code_tables_.emplace(kind, std::move(buffer));
  return absl::OkStatus();
}

absl::Status WeightPieces::Load(const WeightRows& weight, void* to) {
  const Job job = JobOf(weight);
  const int64_t step = RowsOfPiece(job);
  int64_t n_rows = 0;
  for (int64_t first = 0; first < weight.n_rows; first += n_rows) {
    n_rows = std::min(step, weight.n_rows - first);
    uint8_t* its =
        static_cast<uint8_t*>(to) + first * job.n_cols * job.number_bytes;
    Slot* slot = &slots_[next_slot_];
    if (job.packed_step > 0) {
      PackedPiece piece(job.tensor, weight.first_row + first, n_rows);
      n_rows = piece.n_rows();  // no more than one module has
      RETURN_IF_ERROR(LoadPacked(job, piece, first, its, slot));
    } else {
      RETURN_IF_ERROR(LoadPiece(job, first, n_rows, its, slot));
    }
    next_slot_ = 1 - next_slot_;
  }
  model_->Release(job.tensor, weight.first_row, weight.n_rows);
  return absl::OkStatus();
}

// What went wrong on the device, with the place in the file.
absl::Status WeightPieces::WithPlace(const Job& job,
                                     const absl::Status& status) {
  return Annotate(status, absl::StrCat("tensor '", job.weight.name(),
                                       "'; reading ", job.tensor.origin.file));
}

absl::Status WeightPieces::LoadPiece(const Job& job, int64_t first_row,
                                     int64_t n_rows, uint8_t* to, Slot* slot) {
  // The slot's memory is free when its last piece is done.
  RETURN_IF_ERROR(WithPlace(job, slot->stream.Synchronize("weights")));
  RETURN_IF_ERROR(
      ReadOnHost(job, first_row, n_rows, slot->pinned.as<uint8_t>()));
  return WithPlace(job, CopyPiece(job, first_row, n_rows, to, slot));
}

absl::Status WeightPieces::LoadPacked(const Job& job, PackedPiece piece,
                                      int64_t first_row, uint8_t* to,
                                      Slot* slot) {
  RETURN_IF_ERROR(WithPlace(job, slot->stream.Synchronize("weights")));
  RETURN_IF_ERROR(piece.Fill(&pool_, slot->pinned.as<uint8_t>()));
  RETURN_IF_ERROR(
      WithPlace(job, slot->stream.Copy(slot->pinned.data(),
                                       static_cast<size_t>(piece.n_bytes()),
                                       slot->staged.data())));
  CodesTask task = piece.Task(slot->staged.as<uint8_t>());
  if (const auto found = code_tables_.find(piece.code_kind());
      found != code_tables_.end()) {
    task.table = found->second.as<float>();
  }
  if (job.finish) {
    task.floats = slot->floats.as<float>();
  } else if (options_.as_floats) {
    task.floats = reinterpret_cast<float*>(to);
  } else {
    task.halves = reinterpret_cast<uint16_t*>(to);
  }
  RETURN_IF_ERROR(WithPlace(job, RunCodes(task, &slot->stream)));
  return job.finish ? WithPlace(job, Finish(job, first_row, piece.n_rows(),
                                            task.floats, to, slot))
                    : absl::OkStatus();
}

absl::Status WeightPieces::CopyPiece(const Job& job, int64_t first_row,
                                     int64_t n_rows, uint8_t* to, Slot* slot) {
  const auto n_bytes = static_cast<size_t>(n_rows * job.row_bytes());
  if (job.as_it_is) {
    return slot->stream.Copy(slot->pinned.data(), n_bytes, to);
  }
  RETURN_IF_ERROR(
      slot->stream.Copy(slot->pinned.data(), n_bytes, slot->staged.data()));
  return Decode(job, first_row, n_rows, to, slot);
}

absl::Status WeightPieces::ReadOnHost(const Job& job, int64_t first_row,
                                      int64_t n_rows, uint8_t* to) {
  const int64_t n_tasks = (n_rows + kHostRows - 1) / kHostRows;
  std::vector<absl::Status> results(static_cast<size_t>(n_tasks));
  const int64_t begin = job.weight.first_row + first_row;
  const auto row_bytes = static_cast<size_t>(job.row_bytes());
  pool_.ParallelFor(n_tasks, [&](int64_t task) {
    static thread_local std::vector<float> decoded;
    const int64_t first = task * kHostRows;
    const int64_t n = std::min(kHostRows, n_rows - first);
    uint8_t* its = to + first * job.row_bytes();
    if (!job.on_host) {
      for (int64_t r = 0; r < n; ++r) {
        std::memcpy(its + static_cast<size_t>(r) * row_bytes,
                    model_->RowBytes(job.tensor, begin + first + r).data(),
                    row_bytes);
      }
      return;
    }
    decoded.resize(static_cast<size_t>(n * job.n_cols));
    absl::Status& result = results[static_cast<size_t>(task)];
    result =
        ReadScaledRows(*model_, job.tensor, begin + first, n, decoded.data());
    if (options_.as_floats) {
      std::memcpy(its, decoded.data(), decoded.size() * sizeof(float));
    } else {
      for (size_t i = 0; i < decoded.size(); ++i) {
        reinterpret_cast<uint16_t*>(its)[i] = Bf16FromFloat(decoded[i]);
      }
    }
  });
  for (const absl::Status& result : results) {
    RETURN_IF_ERROR(result);
  }
  return absl::OkStatus();
}

absl::Status WeightPieces::Decode(const Job& job, int64_t first_row,
                                  int64_t n_rows, uint8_t* to, Slot* slot) {
  const QuantType type = job.tensor.stored;
  if (type == QuantType::kF32) {
    return Finish(job, first_row, n_rows, slot->staged.as<float>(), to, slot);
  }
  team::DecodeTask task;
  task.bytes = slot->staged.as<uint8_t>();
  task.n_blocks = n_rows * job.n_cols / Geometry(type).block_weights;
  task.tables = tables_.at(type).tables();
  if (job.finish) {
    task.floats = slot->floats.as<float>();
  } else if (options_.as_floats) {
    task.floats = reinterpret_cast<float*>(to);
  } else {
    task.halves = reinterpret_cast<uint16_t*>(to);
  }
  RETURN_IF_ERROR(RunDecode(type, task, &slot->stream));
  return job.finish ? Finish(job, first_row, n_rows, task.floats, to, slot)
                    : absl::OkStatus();
}

absl::Status WeightPieces::Finish(const Job& job, int64_t first_row,
                                  int64_t n_rows, const float* weights,
                                  uint8_t* to, Slot* slot) {
  FinishTask task;
  task.weights = weights;
  task.n_weights = n_rows * job.n_cols;
  task.offset = job.tensor.offset;
  task.rounding = RoundingOf(job.tensor);
  if (const auto found = scales_.find(&job.tensor); found != scales_.end()) {
    task.scales = found->second.as<float>();
    task.first_weight = (job.weight.first_row + first_row) * job.n_cols;
    task.weights_per_scale = job.tensor.meta.n_elements() /
                             static_cast<int64_t>(job.tensor.scales.size());
  }
  if (options_.as_floats) {
    task.floats = reinterpret_cast<float*>(to);
  } else {
    task.halves = reinterpret_cast<uint16_t*>(to);
  }
  return RunFinish(task, &slot->stream);
}

absl::Status WeightPieces::Wait(const DeviceEvent& event) {
  for (Slot& slot : slots_) {
    RETURN_IF_ERROR(slot.stream.Wait(event));
  }
  return absl::OkStatus();
}

absl::Status WeightPieces::Record(Marks* marks) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    RETURN_IF_ERROR(slots_[i].stream.Record(&(*marks)[i]));
  }
  return absl::OkStatus();
}

absl::Status WeightPieces::Synchronize() {
  for (Slot& slot : slots_) {
    RETURN_IF_ERROR(slot.stream.Synchronize("weights"));
  }
  return absl::OkStatus();
}

}  // namespace narrow
