#include "calibration/device/packed_piece.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

int64_t Aligned(int64_t n_bytes) { return (n_bytes + 15) / 16 * 16; }

// The module that a segment's rows are of, or nullptr; with its layout.
const PackedModule* ModuleOf(const RowSegment& segment, CodeLayout* layout) {
  const PackedModule* module =
      segment.view->rows == nullptr ? nullptr : segment.view->rows->packed();
  return module != nullptr && module->packing->code_layout != nullptr &&
                 module->packing->code_layout(*module, layout)
             ? module
             : nullptr;
}

// Rows of blocks and of words.
int64_t StepOf(const PackedModule& module, const CodeLayout& layout) {
  const WeightScheme& scheme = module.scheme;
  int64_t step = std::max<int64_t>(scheme.block_rows, 1);
  if (scheme.flat) {
    step = scheme.block_cols > 0
               ? scheme.block_cols / std::gcd(scheme.block_cols, module.n_cols)
               : 1;
  }
  return std::lcm(step, int64_t{layout.rows_of_word});
}

}  // namespace

int64_t PackedRowStep(const CheckpointTensor& tensor, int64_t first_row,
                      int64_t n_rows) {
  if (tensor.owned != nullptr || tensor.segments.empty()) {
    return 0;
  }
  int64_t step = std::max<int64_t>(tensor.interleave_group, 1);
  const int64_t length = tensor.segments[0].n_rows;
  const int64_t end = first_row + n_rows;
  for (int64_t s = first_row / length; s * length < end; ++s) {
    CodeLayout layout;
    const PackedModule* module =
        ModuleOf(tensor.segments[static_cast<size_t>(s)], &layout);
    if (module == nullptr) {
      return 0;
    }
    step = std::lcm(step, StepOf(*module, layout));
  }
  for (int64_t s = first_row / length; s * length < end; ++s) {
    CodeLayout layout;
    const RowSegment& segment = tensor.segments[static_cast<size_t>(s)];
    const PackedModule* module = ModuleOf(segment, &layout);
    const int64_t from = std::max<int64_t>(first_row - s * length, 0);
    const int64_t to = std::min(end - s * length, length);
    if (from % step != 0 || segment.first_row % step != 0 ||
        (to % step != 0 && segment.first_row + to != module->n_rows)) {
      return 0;
    }
  }
  return step;
}

PackedPiece::PackedPiece(const CheckpointTensor& tensor, int64_t row,
                         int64_t n_rows) {
  const int64_t length = tensor.segments[0].n_rows;
  const RowSegment& segment =
      tensor.segments[static_cast<size_t>(row / length)];
  module_ = ModuleOf(segment, &layout_);
  first_row_ = segment.first_row + row % length;
  n_rows_ = std::min(n_rows, length - row % length);
  interleave_group_ = tensor.interleave_group;
  const WeightScheme& scheme = module_->scheme;
  n_scales_ = NumScaleRows(scheme, n_rows_) *
              NumScaleCols(scheme, n_rows_, module_->n_cols);
  const bool has_zeros = scheme.zero != ZeroKind::kNone;
  scales_at_ = Aligned(NumLines() * LineBytes());
  zeros_at_ = scales_at_ + Aligned(4 * n_scales_);
  groups_at_ = zeros_at_ + (has_zeros ? Aligned(4 * n_scales_) : 0);
  groups_bytes_ = scheme.column_groups ? Aligned(4 * module_->n_cols) : 0;
}

int64_t PackedPiece::LineBytes() const {
  return layout_.word_bytes *
         (is_by_rows() ? layout_.row_step : n_rows_ / layout_.rows_of_word);
}

int64_t PackedPiece::NumLines() const {
  return is_by_rows() ? n_rows_ / layout_.rows_of_word
                      : module_->n_cols / layout_.cols_of_word;
}

// Lines of words, each in one piece in the file.
absl::Status PackedPiece::FillWords(ThreadPool* pool, uint8_t* to) const {
  constexpr int64_t kTaskBytes = 1 << 18;
  const int64_t bytes = LineBytes();
  const int64_t n_lines = NumLines();
  const int64_t step =
      is_by_rows() ? bytes : layout_.col_step * layout_.word_bytes;
  const uint8_t* from =
      module_->planes[0]->data.data() +
      first_row_ / layout_.rows_of_word * layout_.row_step * layout_.word_bytes;
  const int64_t lines_a_task = std::max<int64_t>(kTaskBytes / bytes, 1);
  const int64_t n_tasks = (n_lines + lines_a_task - 1) / lines_a_task;
  std::atomic<bool> has_nan{false};
  pool->ParallelFor(n_tasks, [&](int64_t task) {
    const int64_t end = std::min((task + 1) * lines_a_task, n_lines);
    for (int64_t line = task * lines_a_task; line < end; ++line) {
      std::memcpy(to + line * bytes, from + line * step,
                  static_cast<size_t>(bytes));
    }
    if (layout_.has_no_nan) {
      uint8_t* its = to + task * lines_a_task * bytes;
      if (std::any_of(its, to + end * bytes,
                      [](uint8_t byte) { return (byte & 0x7f) == 0x7f; })) {
        has_nan = true;
      }
    }
  });
  // Its own reader tells where.
  return has_nan
             ? module_->packing->unpack(*module_, first_row_, n_rows_).status()
             : absl::OkStatus();
}

absl::Status PackedPiece::Fill(ThreadPool* pool, uint8_t* to) {
  const auto with_name = [this](const absl::Status& status) {
    return Annotate(status,
                    absl::StrCat("decoding ", QuotedName(module_->name)));
  };
  RETURN_IF_ERROR(with_name(FillWords(pool, to)));
  const auto matrix =
      module_->packing->unpack_scales(*module_, first_row_, n_rows_);
  RETURN_IF_ERROR(with_name(matrix.status()));
  global_scale_ = matrix->global_scale;
  std::copy(matrix->scales.begin(), matrix->scales.end(),
            reinterpret_cast<float*>(to + scales_at_));
  std::copy(matrix->zeros.begin(), matrix->zeros.end(),
            reinterpret_cast<float*>(to + zeros_at_));
  std::copy(matrix->group_of_column.begin(), matrix->group_of_column.end(),
            reinterpret_cast<int32_t*>(to + groups_at_));
  return absl::OkStatus();
}

CodesTask PackedPiece::Task(const uint8_t* staged) const {
  const WeightScheme& scheme = module_->scheme;
  CodesTask task;
  task.words = staged;
  task.layout = layout_;
  if (!is_by_rows()) {
    task.layout.col_step = n_rows_ / layout_.rows_of_word;
  }
  task.n_rows = n_rows_;
  task.n_cols = module_->n_cols;
  task.scales = reinterpret_cast<const float*>(staged + scales_at_);
  if (scheme.zero != ZeroKind::kNone) {
    task.zeros = reinterpret_cast<const float*>(staged + zeros_at_);
  }
  task.middle = static_cast<float>(1 << (scheme.bits - 1));
  task.scale_unit = scheme.scale_unit;
  task.global_scale = global_scale_;
  task.block_rows = scheme.block_rows;
  task.block_cols = scheme.block_cols;
  task.n_scale_cols = NumScaleCols(scheme, n_rows_, module_->n_cols);
  task.flat = scheme.flat;
  if (scheme.column_groups) {
    task.group_of_column =
        reinterpret_cast<const int32_t*>(staged + groups_at_);
  }
  task.interleave_group = interleave_group_;
  return task;
}

}  // namespace narrow
