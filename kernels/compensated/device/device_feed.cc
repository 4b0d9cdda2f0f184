// Error feedback over rows of blocks on a device, as kernels/feedback/feed.cc
// has it for a panel: a block is fitted on what its columns have become, its
// strips are rounded by a thread a row, it is improved under its own price,
// and then its errors are told to the columns behind it, by products.

#include <algorithm>
#include <cassert>
#include <type_traits>

#include "formats/base/status.h"
#include "kernels/compensated/device/device_blocks.h"
#include "kernels/compensated/device/run_task.h"

namespace narrow {

using block_tasks::FeedTask;
using block_tasks::FeedUnitsTask;
using block_tasks::kStrip;
using block_tasks::MissTask;
using block_tasks::Run;
using block_tasks::Signs;
using block_tasks::SolveStripTask;
using block_tasks::SubtractTask;

// Places [begin, begin + n).
absl::Status DeviceCodecBlocks::FeedStrip(const DeviceFeedFactor& factor,
                                          int64_t begin, int n, float* errors) {
  const block_tasks::Rows size = rows_->size();
  const FieldLanes fields = rows_->Fields(0);
  const block_tasks::FeedStrip strip = {begin,
                                        n,
                                        n_,
                                        factor.m.as<float>(),
                                        factor.order.as<int32_t>(),
                                        first_.as<float>(),
                                        second_.as<float>(),
                                        errors,
                                        fields.steps,
                                        fields.lows,
                                        rows_->Codes(0)};
  const BlockRules& rules = rows_->rules();
  if (codec_.unit == 1) {
    return rules.has_table ? Run(FeedTask<true>{size, rules, strip}, &stream_)
                           : Run(FeedTask<false>{size, rules, strip}, &stream_);
  }
  const auto run = [&](auto signs) {
    return Run(
        FeedUnitsTask<signs.value>{size, rows_->units(), rules.sub, strip,
                                   factor.metric.as<float>(), rows_->Downs(0)},
        &stream_);
  };
  switch (rows_->units().signs) {
    case Signs::kFree:
      return run(std::integral_constant<Signs, Signs::kFree>());
    case Signs::kEven:
      return run(std::integral_constant<Signs, Signs::kEven>());
    case Signs::kNone:
      break;
  }
  return run(std::integral_constant<Signs, Signs::kNone>());
}

// Descends from a block's codes under its own price P = R[b, b] R[b, b]^T:
// (q - t) P (q - t)^T with t = w + y, y M[b, b] = what was added to w by the
// blocks before.
absl::Status DeviceCodecBlocks::ImproveFed(const DeviceFeedFactor& factor,
                                           const FeedOptions& options,
                                           int64_t at_block, float* errors) {
  const block_tasks::Rows size = rows_->size();
  const int64_t begin = at_block * block();
  const float* const originals = first_.as<float>() + begin * ld();
  const float* const m = factor.m.as<float>() + begin * (n_ + 1);
  float* const y = entry_.as<float>();
  float* const misses = direction_.as<float>();
  RETURN_IF_ERROR(Run(SubtractTask{size, block(), y, originals, y}, &stream_));
  for (int64_t j = 0; j < block(); j += kStrip) {
    const int64_t end = std::min(block(), j + kStrip);
    float* const strip = y + j * ld();
    RETURN_IF_ERROR(Run(SolveStripTask{size, static_cast<int>(end - j),
                                       m + j * (n_ + 1), n_, strip},
                        &stream_));
    RETURN_IF_ERROR(AddProducts(Update::kSubtract, m, n_, j, end - j, end,
                                block(), strip, y));
  }
  RETURN_IF_ERROR(Run(MissTask{size, block(), originals, errors, y,
                               values_.as<float>(), misses},
                      &stream_));
  RETURN_IF_ERROR(AddProducts(Update::kSet,
                              factor.forms.h + at_block * factor.forms.h_step,
                              factor.forms.h_stride, 0, block(), 0, block(),
                              misses, gradient_.as<float>()));
  for (int round = 0; round < options.block_rounds; ++round) {
    RETURN_IF_ERROR(
        Improve({&factor.forms, at_block, options.refit, options.sweep,
                 values_.as<float>(), gradient_.as<float>()}));
  }
  return Run(
      SubtractTask{size, block(), originals, values_.as<float>(), errors},
      &stream_);
}

// Blocks, or with known fields strips of any columns, tell the rest of their
// group at once, and all others when the group is over.
absl::Status DeviceCodecBlocks::FeedGroup(const DeviceFeedFactor& factor,
                                          const FeedOptions& options, bool fits,
                                          Far group) {
  const float* const m = factor.m.as<float>();
  float* const compensated = second_.as<float>();
  const int64_t run = fits ? block() : kStrip;
  for (int64_t begin = group.begin; begin < group.end; begin += run) {
    const int64_t end = std::min(group.end, begin + run);
    float* const errors = told_.as<float>() + (begin - group.begin) * ld();
    if (fits) {
      RETURN_IF_ERROR(stream_.Copy(compensated + begin * ld(),
                                   static_cast<size_t>(4 * block() * ld()),
                                   entry_.data()));
      RETURN_IF_ERROR(Fit(begin / block(), factor));
    }
    for (int64_t j = begin; j < end; j += kStrip) {
      const int64_t strip_end = std::min(end, j + kStrip);
      float* const own = errors + (j - begin) * ld();
      RETURN_IF_ERROR(
          FeedStrip(factor, j, static_cast<int>(strip_end - j), own));
      RETURN_IF_ERROR(AddProducts(Update::kAdd, m, n_, j, strip_end - j,
                                  strip_end, end, own, compensated));
    }
    if (fits && options.block_rounds > 0) {
      RETURN_IF_ERROR(ImproveFed(factor, options, begin / block(), errors));
    }
    RETURN_IF_ERROR(AddProducts(Update::kAdd, m, n_, begin, end - begin, end,
                                group.end, errors, compensated));
  }
  return AddProducts(Update::kAdd, m, n_, group.begin, group.end - group.begin,
                     group.end, n_, told_.as<float>(), compensated);
}

absl::Status DeviceCodecBlocks::FeedPart(const DeviceFeedFactor& factor,
                                         const FeedOptions& options,
                                         bool fits) {
  RETURN_IF_ERROR(stream_.Copy(
      first_.data(), static_cast<size_t>(4 * n_ * ld()), second_.data()));
  for (int64_t begin = 0; begin < n_; begin += group_size()) {
    RETURN_IF_ERROR(FeedGroup(factor, options, fits, GroupAt(begin)));
  }
  return absl::OkStatus();
}

absl::Status DeviceCodecBlocks::Feed(const float* targets, int64_t n_rows,
                                     const DeviceFeedFactor& factor,
                                     const FeedOptions& options,
                                     uint8_t* bytes) {
  assert(factor.order.n_bytes() == 0);
  return InParts(n_rows, [&](int64_t first, int64_t) -> absl::Status {
    RETURN_IF_ERROR(SetTargets(targets + first * n_, nullptr));
    RETURN_IF_ERROR(FeedPart(factor, options, /*fits=*/true));
    return rows_->Store(nullptr, bytes + first * row_bytes(), pool_, &stream_);
  });
}

absl::Status DeviceCodecBlocks::Refeed(const float* targets, int64_t n_rows,
                                       const DeviceFeedFactor& factor,
                                       uint8_t* bytes) {
  return InParts(n_rows, [&](int64_t first, int64_t) -> absl::Status {
    uint8_t* const own = bytes + first * row_bytes();
    RETURN_IF_ERROR(
        SetTargets(targets + first * n_, factor.order.as<int32_t>()));
    RETURN_IF_ERROR(rows_->Load(own, pool_, &stream_));
    RETURN_IF_ERROR(FeedPart(factor, {}, /*fits=*/false));
    return rows_->Store(nullptr, own, pool_, &stream_);
  });
}

}  // namespace narrow
