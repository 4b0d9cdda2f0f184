// Error feedback on a device. Strips of kStrip columns are decided by a thread
// a row; what they owe to the rest of kFar columns is one product, and what
// those owe to all others another: an element is one chain of multiply-adds in
// the order of places wherever it is cut.

#include <algorithm>

#include "formats/base/status.h"
#include "kernels/grid/device/device_grid.h"
#include "kernels/grid/device/run_task.h"

namespace narrow {

using grid_tasks::ColumnsTask;
using grid_tasks::FeedTask;
using grid_tasks::FitTask;
using grid_tasks::kFar;
using grid_tasks::kStrip;
using grid_tasks::Run;

namespace {

// Per matrix and place, the group that is fitted there, or -1.
std::vector<std::vector<int32_t>> Entries(const DeviceFeed& feed,
                                          const grid_tasks::Shape& shape) {
  std::vector<std::vector<int32_t>> entries(static_cast<size_t>(shape.n_batch));
  for (size_t b = 0; b < entries.size(); ++b) {
    std::vector<bool> seen(static_cast<size_t>(shape.n_groups), false);
    for (int64_t i = 0; i < shape.n_cols; ++i) {
      const int64_t column =
          feed.order.empty()
              ? i
              : feed.order[b * static_cast<size_t>(shape.n_cols) +
                           static_cast<size_t>(i)];
      const size_t group = static_cast<size_t>(column / shape.group);
      entries[b].push_back(seen[group] ? -1 : static_cast<int32_t>(group));
      seen[group] = true;
    }
  }
  return entries;
}

}  // namespace

// Groups that begin at `place`, on what their columns have become. Matrices
// whose groups begin there may be of any number; the others keep theirs.
absl::Status DeviceGrid::FitEntered(const DeviceFeed& feed, const FitPlan& plan,
                                    int64_t place, DeviceStream* stream) {
  grid_tasks::Shape one = shape_;
  one.n_batch = 1;
  const size_t n = static_cast<size_t>(shape_.n_cols);
  for (int64_t b = 0; b < shape_.n_batch; ++b) {
    const int32_t group =
        group_at_[static_cast<size_t>(b)][static_cast<size_t>(place)];
    if (group < 0) {
      continue;
    }
    // Where its columns stand.
    const int64_t first = shape_.GroupBegin(group);
    const int64_t width = shape_.GroupEnd(group) - first;
    std::vector<int32_t> places(static_cast<size_t>(width));
    for (size_t i = 0; i < n; ++i) {
      const int64_t column = feed.order.empty()
                                 ? static_cast<int64_t>(i)
                                 : feed.order[static_cast<size_t>(b) * n + i];
      if (column >= first && column < first + width) {
        places[static_cast<size_t>(column - first)] = static_cast<int32_t>(i);
      }
    }
    RETURN_IF_ERROR(Upload(places.data(), 4 * places.size(), &flags_, stream));
    RETURN_IF_ERROR(
        Run(ColumnsTask{one, width, gradient_.as<float>() + shape_.Columns(b),
                        shape_.n_cols, flags_.as<int32_t>(), 0,
                        levels_.as<float>()},
            stream));
    grid_tasks::Codes codes = now_.view();
    codes.scales += shape_.Groups(b);
    codes.zeros += shape_.Groups(b);
    RETURN_IF_ERROR(Run(
        FitTask{one, rules_, plan, group, 1, levels_.as<float>(), 0, 0,
                (feed.column_weights != nullptr ? feed.column_weights
                                                : ones_weights_.as<float>()) +
                    b * shape_.n_cols,
                codes},
        stream));
  }
  return absl::OkStatus();
}

// Places [begin, end), at most kFar of them, which then owe nothing to those
// behind `end` either.
absl::Status DeviceGrid::FeedStrips(const DeviceFeed& feed,
                                    const int32_t* order, int64_t begin,
                                    int64_t end, DeviceStream* stream) {
  const int64_t step = kFar * shape_.ld;
  float* const compensated = gradient_.as<float>();
  for (int64_t at = begin; at < end; at += kStrip) {
    const int64_t n = std::min<int64_t>(kStrip, end - at);
    float* const errors = errors_.as<float>() + (at - begin) * shape_.ld;
    RETURN_IF_ERROR(Run(
        FeedTask{shape_, rules_, at, static_cast<int>(n), feed.m, order,
                 targets_.as<float>(), compensated, errors, step, now_.view()},
        stream));
    RETURN_IF_ERROR(AddProducts(feed.m, at, n, at + n, end, errors, step,
                                compensated, stream));
  }
  return AddProducts(feed.m, begin, end - begin, end, shape_.n_cols,
                     errors_.as<float>(), step, compensated, stream);
}

absl::Status DeviceGrid::Feedback(const DeviceFeed& feed,
                                  DeviceStream* stream) {
  const int32_t* order = nullptr;
  if (!feed.order.empty()) {
    RETURN_IF_ERROR(
        Upload(feed.order.data(), 4 * feed.order.size(), &order_, stream));
    order = order_.as<int32_t>();
  }
  RETURN_IF_ERROR(Run(
      ColumnsTask{shape_, shape_.n_cols, targets_.as<float>(), shape_.n_cols,
                  order, shape_.n_cols, gradient_.as<float>()},
      stream));
  FitPlan plan;
  if (feed.fit_on_entry) {
    ASSIGN_OR_RETURN(plan, UploadPlan(spec_, feed.fit, stream));
    group_at_ = Entries(feed, shape_);
  }
  const auto enters = [&](int64_t place) {
    return feed.fit_on_entry &&
           std::any_of(group_at_.begin(), group_at_.end(),
                       [&](const std::vector<int32_t>& groups) {
                         return groups[static_cast<size_t>(place)] >= 0;
                       });
  };
  for (int64_t begin = 0; begin < shape_.n_cols;) {
    if (enters(begin)) {
      RETURN_IF_ERROR(FitEntered(feed, plan, begin, stream));
    }
    int64_t end = begin + 1;
    while (end < std::min(shape_.n_cols, begin + kFar) && !enters(end)) {
      ++end;
    }
    RETURN_IF_ERROR(FeedStrips(feed, order, begin, end, stream));
    begin = end;
  }
  return absl::OkStatus();
}

}  // namespace narrow
