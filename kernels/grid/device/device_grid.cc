#include "kernels/grid/device/device_grid.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "formats/base/status.h"
#include "kernels/grid/device/run_task.h"
#include "kernels/linalg/device/device_chains.h"

namespace narrow {

using grid_tasks::Codes;
using grid_tasks::ColumnsTask;
using grid_tasks::DecodeTask;
using grid_tasks::DotTask;
using grid_tasks::FitTask;
using grid_tasks::KeepTask;
using grid_tasks::LevelsTask;
using grid_tasks::OnesTask;
using grid_tasks::RefitTask;
using grid_tasks::RoundTask;
using grid_tasks::Run;
using grid_tasks::ScaleTask;
using grid_tasks::Shape;
using grid_tasks::SubtractTask;
using grid_tasks::SweepTask;
using grid_tasks::TransposeTask;

namespace {

// Rows stand so many apart that reads of 16 bytes, and whole lines of memory,
// begin with each column.
constexpr int64_t kAlign = 32;
constexpr int kCodesOfTable = 256;
// Below this a product costs as much in chains: it is bound by memory, or by
// its launch.
constexpr int64_t kStackedDepth = 64;
constexpr int64_t kStackedWidth = 64;

}  // namespace

Codes DeviceGrid::State::view() const {
  return {codes.as<uint8_t>(), scales.as<float>(), zeros.as<float>()};
}

absl::Status DeviceGrid::Allocate(DeviceBuffer* buffer, int64_t n_bytes) {
  ASSIGN_OR_RETURN(*buffer, device_.Allocate(static_cast<size_t>(n_bytes),
                                             "rows of a grid"));
  return absl::OkStatus();
}

absl::Status DeviceGrid::NewState(State* state) {
  const int64_t n_groups = shape_.n_batch * shape_.n_groups * shape_.ld;
  RETURN_IF_ERROR(
      Allocate(&state->codes, shape_.n_batch * shape_.n_cols * shape_.ld));
  RETURN_IF_ERROR(Allocate(&state->scales, 4 * n_groups));
  return Allocate(&state->zeros, 4 * n_groups);
}

absl::Status DeviceGrid::AllocateForSolving() {
  RETURN_IF_ERROR(NewState(&other_));
  const int64_t n_batch = shape_.n_batch;
  const int64_t wide = std::max(shape_.group, grid_tasks::kFar);
  for (DeviceBuffer* buffer : {&errors_, &before_, &levels_}) {
    RETURN_IF_ERROR(Allocate(buffer, 4 * n_batch * wide * shape_.ld));
  }
  RETURN_IF_ERROR(Allocate(&ones_, 4 * n_batch * shape_.n_cols));
  return Allocate(&was_, 8 * n_batch * shape_.n_rows);
}

absl::Status DeviceGrid::Upload(const void* from, size_t n_bytes,
                                DeviceBuffer* to, DeviceStream* stream) {
  if (to->n_bytes() < n_bytes) {
    RETURN_IF_ERROR(Allocate(to, static_cast<int64_t>(n_bytes)));
  }
  RETURN_IF_ERROR(stream->Copy(from, n_bytes, to->data()));
  // What it came from may go.
  return stream->Synchronize("rows of a grid");
}

absl::StatusOr<std::unique_ptr<DeviceGrid>> DeviceGrid::New(
    const Device& device, const GridSpec& spec, int64_t n_rows, int64_t n_cols,
    int64_t n_batch, Use use) {
  std::unique_ptr<DeviceGrid> grid(new DeviceGrid(device, spec));
  grid->spec_ = spec;
  const GridRows fresh(spec, n_rows, n_cols);
  Shape& shape = grid->shape_;
  shape.n_batch = n_batch;
  shape.n_rows = n_rows;
  shape.ld = (n_rows + kAlign - 1) / kAlign * kAlign;
  shape.n_cols = n_cols;
  shape.group = spec.group > 0 ? spec.group : n_cols;
  shape.n_groups = fresh.n_groups;
  const int64_t n_columns = n_batch * n_cols * shape.ld;
  RETURN_IF_ERROR(grid->NewState(&grid->now_));
  for (DeviceBuffer* buffer :
       {&grid->targets_, &grid->scratch_, &grid->gradient_, &grid->values_}) {
    RETURN_IF_ERROR(grid->Allocate(buffer, 4 * n_columns));
  }
  RETURN_IF_ERROR(grid->Allocate(&grid->sums_, 8 * n_batch * n_rows));
  if (use == Use::kSolving) {
    RETURN_IF_ERROR(grid->AllocateForSolving());
  }
  ASSIGN_OR_RETURN(DeviceStream stream, device.NewStream());
  const std::vector<float> ones(static_cast<size_t>(n_batch * n_cols), 1.0f);
  RETURN_IF_ERROR(grid->Upload(ones.data(), 4 * ones.size(),
                               &grid->ones_weights_, &stream));
  if (grid->rules_.table != nullptr) {
    RETURN_IF_ERROR(grid->Upload(grid->rules_.table,
                                 kCodesOfTable * sizeof(float), &grid->table_,
                                 &stream));
    grid->rules_.table = grid->table_.as<float>();
  }
  for (int64_t batch = 0; batch < n_batch; ++batch) {
    RETURN_IF_ERROR(grid->Write(batch, fresh, &stream));
  }
  return grid;
}

absl::Status DeviceGrid::SetTargets(const float* rows, DeviceStream* stream) {
  return Run(
      TransposeTask<float>{shape_, shape_.n_cols, const_cast<float*>(rows),
                           targets_.as<float>(), false},
      stream);
}

// One matrix at a time, through scratch as rows.
absl::Status DeviceGrid::Write(int64_t batch, const GridRows& rows,
                               DeviceStream* stream) {
  Shape one = shape_;
  one.n_batch = 1;
  float* const scratch = scratch_.as<float>();
  const auto write = [&](const float* from, size_t n, float* to) {
    RETURN_IF_ERROR(stream->Copy(from, 4 * n, scratch));
    RETURN_IF_ERROR(Run(
        TransposeTask<float>{one, one.n_groups, scratch, to, false}, stream));
    return stream->Synchronize("rows of a grid");
  };
  const int64_t groups = shape_.Groups(batch);
  RETURN_IF_ERROR(write(rows.scales.data(), rows.scales.size(),
                        now_.scales.as<float>() + groups));
  if (!rows.zeros.empty()) {
    RETURN_IF_ERROR(write(rows.zeros.data(), rows.zeros.size(),
                          now_.zeros.as<float>() + groups));
  }
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(scratch);
  RETURN_IF_ERROR(stream->Copy(rows.codes.data(), rows.codes.size(), bytes));
  RETURN_IF_ERROR(Run(
      TransposeTask<uint8_t>{one, one.n_cols, bytes,
                             now_.codes.as<uint8_t>() + shape_.Columns(batch),
                             false},
      stream));
  return stream->Synchronize("rows of a grid");
}

absl::Status DeviceGrid::Read(int64_t batch, GridRows* rows,
                              DeviceStream* stream) {
  Shape one = shape_;
  one.n_batch = 1;
  float* const scratch = scratch_.as<float>();
  const auto read = [&](float* from, std::vector<float>* to) {
    RETURN_IF_ERROR(Run(
        TransposeTask<float>{one, one.n_groups, scratch, from, true}, stream));
    RETURN_IF_ERROR(stream->Copy(scratch, 4 * to->size(), to->data()));
    return stream->Synchronize("rows of a grid");
  };
  const int64_t groups = shape_.Groups(batch);
  RETURN_IF_ERROR(read(now_.scales.as<float>() + groups, &rows->scales));
  if (!rows->zeros.empty()) {
    RETURN_IF_ERROR(read(now_.zeros.as<float>() + groups, &rows->zeros));
  }
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(scratch);
  RETURN_IF_ERROR(Run(
      TransposeTask<uint8_t>{one, one.n_cols, bytes,
                             now_.codes.as<uint8_t>() + shape_.Columns(batch),
                             true},
      stream));
  RETURN_IF_ERROR(stream->Copy(bytes, rows->codes.size(), rows->codes.data()));
  return stream->Synchronize("rows of a grid");
}

absl::StatusOr<FitPlan> DeviceGrid::UploadPlan(const GridSpec& spec,
                                               const FitOptions& options,
                                               DeviceStream* stream) {
  std::vector<FitStart> starts;
  FitPlan plan = MakeFitPlan(spec, options, &starts);
  RETURN_IF_ERROR(Upload(plan.starts,
                         static_cast<size_t>(plan.n_starts) * sizeof(FitStart),
                         &starts_, stream));
  plan.starts = starts_.as<FitStart>();
  return plan;
}

absl::Status DeviceGrid::FitGroups(const float* column_weights,
                                   const FitOptions& options,
                                   DeviceStream* stream) {
  ASSIGN_OR_RETURN(const FitPlan plan, UploadPlan(spec_, options, stream));
  return Run(
      FitTask{shape_, rules_, plan, 0, shape_.n_groups, targets_.as<float>(),
              shape_.n_cols * shape_.ld, shape_.group * shape_.ld,
              column_weights != nullptr ? column_weights
                                        : ones_weights_.as<float>(),
              now_.view()},
      stream);
}

absl::Status DeviceGrid::RoundRows(DeviceStream* stream) {
  return Run(RoundTask{shape_, rules_, targets_.as<float>(), now_.view()},
             stream);
}

absl::Status DeviceGrid::DecodeRows(float* rows, DeviceStream* stream) {
  float* const columns = scratch_.as<float>();
  RETURN_IF_ERROR(
      Run(DecodeTask{shape_, rules_, now_.view(), nullptr, columns}, stream));
  return Run(TransposeTask<float>{shape_, shape_.n_cols, rows, columns, true},
             stream);
}

void DeviceGrid::Swap() { std::swap(now_, other_); }

absl::Status DeviceGrid::CopyToOther(DeviceStream* stream) {
  RETURN_IF_ERROR(stream->Copy(now_.codes.data(), now_.codes.n_bytes(),
                               other_.codes.data()));
  RETURN_IF_ERROR(stream->Copy(now_.scales.data(), now_.scales.n_bytes(),
                               other_.scales.data()));
  return stream->Copy(now_.zeros.data(), now_.zeros.n_bytes(),
                      other_.zeros.data());
}

absl::Status DeviceGrid::TakeFromOther(const std::vector<uint8_t>& matrices,
                                       DeviceStream* stream) {
  RETURN_IF_ERROR(Upload(matrices.data(), matrices.size(), &flags_, stream));
  return Run(KeepTask{shape_, nullptr, nullptr, flags_.as<uint8_t>(),
                      other_.view(), now_.view()},
             stream);
}

absl::Status DeviceGrid::AddStacked(const float* gram, int64_t begin, int64_t n,
                                    int64_t first, int64_t end,
                                    const float* changes, int64_t changes_step,
                                    float* out, DeviceStream* stream) {
  StackedProduct product;
  product.left = gram + begin * shape_.n_cols + first;
  product.left_stride = shape_.n_cols;
  product.right = changes;
  product.right_stride = shape_.ld;
  product.n_rows = end - first;
  product.n_cols = shape_.n_rows;
  product.depth = n;
  product.out = out + first * shape_.ld;
  product.out_row = shape_.ld;
  product.n_batch = shape_.n_batch;
  product.left_step = shape_.n_cols * shape_.n_cols;
  product.right_step = changes_step;
  product.out_step = shape_.n_cols * shape_.ld;
  return stacked_->Add(product, stream);
}

absl::Status DeviceGrid::AddProducts(const float* gram, int64_t begin,
                                     int64_t n, int64_t first, int64_t end,
                                     const float* changes, int64_t changes_step,
                                     float* out, DeviceStream* stream) {
  if (stacked_ != nullptr && n >= kStackedDepth &&
      end - first >= kStackedWidth) {
    return AddStacked(gram, begin, n, first, end, changes, changes_step, out,
                      stream);
  }
  const int64_t n_cols = shape_.n_cols;
  chain::Product<float> product;
  product.update = Update::kAdd;
  product.m = end - first;
  product.n = shape_.n_rows;
  product.k = n;
  product.left = {gram + begin * n_cols + first, 1, n_cols};
  product.right = {changes, 1, shape_.ld};
  product.out = out + first * shape_.ld;
  product.out_row = shape_.ld;
  product.n_batch = shape_.n_batch;
  product.left_step = n_cols * n_cols;
  product.right_step = changes_step;
  product.out_step = n_cols * shape_.ld;
  return RunChainProduct(product, stream);
}

// tr(E H E^T) by rows for scratch_ as errors E; gradient_ becomes E H.
absl::StatusOr<std::vector<double>> DeviceGrid::Measure(const float* gram,
                                                        bool is_shared,
                                                        DeviceStream* stream) {
  if (stacked_ != nullptr && !is_shared) {
    RETURN_IF_ERROR(stream->Fill(0, gradient_.n_bytes(), gradient_.data()));
    RETURN_IF_ERROR(AddStacked(gram, 0, shape_.n_cols, 0, shape_.n_cols,
                               scratch_.as<float>(), shape_.n_cols * shape_.ld,
                               gradient_.as<float>(), stream));
  } else {
    chain::Product<float> product;
    product.m = shape_.n_cols;
    product.n = shape_.n_rows;
    product.k = shape_.n_cols;
    product.left = {gram, 1, shape_.n_cols};  // it is symmetric
    product.right = {scratch_.as<float>(), 1, shape_.ld};
    product.out = gradient_.as<float>();
    product.out_row = shape_.ld;
    product.n_batch = shape_.n_batch;
    product.left_step = is_shared ? 0 : shape_.n_cols * shape_.n_cols;
    product.right_step = product.out_step = shape_.n_cols * shape_.ld;
    RETURN_IF_ERROR(RunChainProduct(product, stream));
  }
  RETURN_IF_ERROR(Run(DotTask{shape_, scratch_.as<float>(),
                              gradient_.as<float>(), sums_.as<double>()},
                      stream));
  std::vector<double> rows(static_cast<size_t>(shape_.n_batch * shape_.n_rows));
  RETURN_IF_ERROR(stream->Copy(sums_.data(), 8 * rows.size(), rows.data()));
  RETURN_IF_ERROR(stream->Synchronize("errors of a grid"));
  return rows;
}

std::vector<double> DeviceGrid::SumRows(const std::vector<double>& rows) const {
  std::vector<double> sums(static_cast<size_t>(shape_.n_batch), 0.0);
  for (size_t i = 0; i < rows.size(); ++i) {
    sums[i / static_cast<size_t>(shape_.n_rows)] += rows[i];
  }
  return sums;
}

absl::StatusOr<std::vector<double>> DeviceGrid::Errors(const float* gram,
                                                       bool of_nothing,
                                                       DeviceStream* stream) {
  if (of_nothing) {
    RETURN_IF_ERROR(
        stream->Copy(targets_.data(), targets_.n_bytes(), scratch_.data()));
  } else {
    RETURN_IF_ERROR(Run(DecodeTask{shape_, rules_, now_.view(),
                                   targets_.as<float>(), scratch_.as<float>()},
                        stream));
  }
  ASSIGN_OR_RETURN(const std::vector<double> rows,
                   Measure(gram, false, stream));
  return SumRows(rows);
}

// The rows without scales stay in values_.
absl::Status DeviceGrid::SetScaledTargets(const float* rows,
                                          const float* scales,
                                          DeviceStream* stream) {
  Shape one = shape_;
  one.n_batch = 1;
  float* const columns = values_.as<float>();
  RETURN_IF_ERROR(
      Run(TransposeTask<float>{one, one.n_cols, const_cast<float*>(rows),
                               columns, false},
          stream));
  return Run(ScaleTask{shape_, columns, scales, targets_.as<float>(), nullptr},
             stream);
}

absl::StatusOr<std::vector<double>> DeviceGrid::ScaledErrors(
    const float* scales, const float* gram, DeviceStream* stream) {
  float* const errors = scratch_.as<float>();
  RETURN_IF_ERROR(
      Run(DecodeTask{shape_, rules_, now_.view(), nullptr, errors}, stream));
  RETURN_IF_ERROR(Run(
      ScaleTask{shape_, values_.as<float>(), scales, errors, errors}, stream));
  ASSIGN_OR_RETURN(const std::vector<double> by_row,
                   Measure(gram, true, stream));
  return SumRows(by_row);
}

absl::Status DeviceGrid::Sweep(const float* gram, int64_t group,
                               DeviceStream* stream) {
  const int64_t first = shape_.GroupBegin(group);
  const int64_t end = shape_.GroupEnd(group);
  for (int64_t begin = first; begin < end; begin += grid_tasks::kStrip) {
    const int64_t strip_end = std::min(end, begin + grid_tasks::kStrip);
    const int64_t n = strip_end - begin;
    float* const changes = errors_.as<float>();
    RETURN_IF_ERROR(
        Run(SweepTask{shape_, rules_, group, begin, static_cast<int>(n), gram,
                      now_.view(), values_.as<float>(), gradient_.as<float>(),
                      changes},
            stream));
    for (const auto& [from, to] :
         {std::make_pair(first, begin), std::make_pair(strip_end, end)}) {
      RETURN_IF_ERROR(AddProducts(gram, begin, n, from, to, changes,
                                  grid_tasks::kStrip * shape_.ld,
                                  gradient_.as<float>(), stream));
    }
  }
  return absl::OkStatus();
}

// Refit and sweep of a group, of which all other columns then hear.
absl::Status DeviceGrid::ImproveGroup(const float* gram, int64_t group,
                                      const DeviceDescent& options,
                                      DeviceStream* stream) {
  const int64_t begin = shape_.GroupBegin(group);
  const int64_t n = shape_.GroupEnd(group) - begin;
  const int64_t step = shape_.group * shape_.ld;
  // Less nothing: a copy.
  RETURN_IF_ERROR(stream->Fill(0, before_.n_bytes(), before_.data()));
  RETURN_IF_ERROR(
      Run(SubtractTask{shape_, begin, n, values_.as<float>(),
                       before_.as<float>(), shape_.group, before_.as<float>()},
          stream));
  if (options.refit) {
    RETURN_IF_ERROR(
        Run(LevelsTask{shape_, rules_, group, now_.view(), levels_.as<float>()},
            stream));
    chain::Product<float> product;
    product.m = n;
    product.n = shape_.n_rows;
    product.k = n;
    product.left = {gram + begin * shape_.n_cols + begin, 1, shape_.n_cols};
    product.right = {levels_.as<float>(), 1, shape_.ld};
    product.out = errors_.as<float>();
    product.out_row = shape_.ld;
    product.n_batch = shape_.n_batch;
    product.left_step = shape_.n_cols * shape_.n_cols;
    product.right_step = product.out_step = step;
    RETURN_IF_ERROR(RunChainProduct(product, stream));
    RETURN_IF_ERROR(
        Run(RefitTask{shape_, rules_, group, ones_.as<float>(), now_.view(),
                      values_.as<float>(), gradient_.as<float>(),
                      levels_.as<float>(), errors_.as<float>()},
            stream));
  }
  if (options.sweep) {
    RETURN_IF_ERROR(Sweep(gram, group, stream));
  }
  float* const change = before_.as<float>();
  RETURN_IF_ERROR(Run(SubtractTask{shape_, begin, n, values_.as<float>(),
                                   change, shape_.group, change},
                      stream));
  RETURN_IF_ERROR(AddProducts(gram, begin, n, 0, begin, change, step,
                              gradient_.as<float>(), stream));
  return AddProducts(gram, begin, n, begin + n, shape_.n_cols, change, step,
                     gradient_.as<float>(), stream);
}

absl::StatusOr<std::vector<DescentErrors>> DeviceGrid::Descend(
    const float* gram, const DeviceDescent& options, DeviceStream* stream) {
  RETURN_IF_ERROR(CopyToOther(stream));
  RETURN_IF_ERROR(
      Run(DecodeTask{shape_, rules_, now_.view(), nullptr, values_.as<float>()},
          stream));
  const auto measure = [&]() -> absl::StatusOr<std::vector<double>> {
    RETURN_IF_ERROR(
        stream->Copy(targets_.data(), targets_.n_bytes(), scratch_.data()));
    RETURN_IF_ERROR(Run(
        SubtractTask{shape_, 0, shape_.n_cols, values_.as<float>(),
                     scratch_.as<float>(), shape_.n_cols, scratch_.as<float>()},
        stream));
    return Measure(gram, false, stream);
  };
  ASSIGN_OR_RETURN(const std::vector<double> was, measure());
  RETURN_IF_ERROR(stream->Copy(sums_.data(), sums_.n_bytes(), was_.data()));
  RETURN_IF_ERROR(Run(OnesTask{shape_, gram, ones_.as<float>()}, stream));
  for (int round = 0; round < options.rounds; ++round) {
    for (int64_t group = 0; group < shape_.n_groups; ++group) {
      RETURN_IF_ERROR(ImproveGroup(gram, group, options, stream));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<double> is, measure());
  // What was is in the other place, and takes the rows that got better.
  Swap();
  RETURN_IF_ERROR(Run(KeepTask{shape_, sums_.as<double>(), was_.as<double>(),
                               nullptr, other_.view(), now_.view()},
                      stream));
  std::vector<double> best = was;
  for (size_t i = 0; i < best.size(); ++i) {
    best[i] = std::min(was[i], is[i]);
  }
  const std::vector<double> before = SumRows(was);
  const std::vector<double> after = SumRows(best);
  std::vector<DescentErrors> errors;
  for (size_t i = 0; i < before.size(); ++i) {
    errors.push_back({before[i], after[i]});
  }
  return errors;
}

}  // namespace narrow
