// A round of refits and descent on a block, as improve_block.cc has it for a
// panel, and its parts that are products.

#include <algorithm>
#include <type_traits>

#include "formats/base/status.h"
#include "kernels/compensated/device/device_blocks.h"
#include "kernels/compensated/device/run_task.h"

namespace narrow {

using block_tasks::DirectionTask;
using block_tasks::kStrip;
using block_tasks::RefitSubTask;
using block_tasks::RefitUnitsTask;
using block_tasks::Run;
using block_tasks::Signs;
using block_tasks::SweepTask;
using block_tasks::SweepUnitsTask;

absl::Status DeviceCodecBlocks::Improve(const Improved& improved) {
  const DeviceForms& forms = *improved.forms;
  GramBlock gram;
  gram.ld = ld();
  gram.h = forms.h + improved.block * forms.h_step;
  gram.h_stride = forms.h_stride;
  gram.sums =
      forms.sums.as<float>() + improved.block * block() * rows_->rules().n_sub;
  gram.fields = rows_->Fields(improved.block);
  gram.codes = rows_->Codes(improved.block * block());
  gram.values = improved.values;
  gram.gradient = improved.gradient;
  gram.direction = direction_.as<float>();
  gram.curvature = curvature_.as<float>();
  if (improved.refit) {
    RETURN_IF_ERROR(Refit(gram));
  }
  return improved.sweep ? Sweep(improved, gram) : absl::OkStatus();
}

absl::Status DeviceCodecBlocks::Refit(const GramBlock& gram) {
  const BlockRules& rules = rows_->rules();
  const block_tasks::Rows size = rows_->size();
  if (rules.unit != BlockRules::Unit::kOne) {
    RETURN_IF_ERROR(Run(DirectionTask{size, rules, gram}, &stream_));
    RETURN_IF_ERROR(AddProducts(Update::kSet, gram.h, gram.h_stride, 0, block(),
                                0, block(), gram.direction, gram.curvature));
    RETURN_IF_ERROR(Run(RefitUnitsTask{size, rules, gram}, &stream_));
  }
  if (rules.fixed_scales && (!rules.has_minima || rules.fixed_minima)) {
    return absl::OkStatus();
  }
  for (int64_t g = 0; g < rules.n_sub; ++g) {
    RETURN_IF_ERROR(Run(RefitSubTask{size, rules, gram, g}, &stream_));
    const int64_t begin = g * rules.sub;
    RETURN_IF_ERROR(AddProducts(Update::kAdd, gram.h, gram.h_stride, begin,
                                rules.sub, 0, block(),
                                gram.direction + begin * ld(), gram.gradient));
  }
  return absl::OkStatus();
}

absl::Status DeviceCodecBlocks::SweepStrip(const Improved& improved,
                                           const GramBlock& gram, int64_t begin,
                                           int n_strip) {
  const BlockRules& rules = rows_->rules();
  const block_tasks::Rows size = rows_->size();
  float* const changes = strip_.as<float>();
  if (codec_.unit == 1) {
    return rules.has_table ? Run(SweepTask<true>{size, rules, gram, begin,
                                                 n_strip, changes},
                                 &stream_)
                           : Run(SweepTask<false>{size, rules, gram, begin,
                                                  n_strip, changes},
                                 &stream_);
  }
  const auto run = [&](auto signs) {
    return Run(
        SweepUnitsTask<signs.value>{size, rows_->units(), rules.sub, gram,
                                    improved.forms->inverses.as<float>() +
                                        improved.block * block() * codec_.unit,
                                    rows_->Downs(improved.block * block()),
                                    begin, n_strip, unit_.as<float>(), changes},
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

// Strips tell the rest of the block what they changed.
absl::Status DeviceCodecBlocks::Sweep(const Improved& improved,
                                      const GramBlock& gram) {
  for (int64_t begin = 0; begin < block(); begin += kStrip) {
    const int64_t end = std::min(block(), begin + kStrip);
    RETURN_IF_ERROR(
        SweepStrip(improved, gram, begin, static_cast<int>(end - begin)));
    RETURN_IF_ERROR(AddProducts(Update::kAdd, gram.h, gram.h_stride, begin,
                                end - begin, 0, begin, strip_.as<float>(),
                                gram.gradient));
    RETURN_IF_ERROR(AddProducts(Update::kAdd, gram.h, gram.h_stride, begin,
                                end - begin, end, block(), strip_.as<float>(),
                                gram.gradient));
  }
  return absl::OkStatus();
}

}  // namespace narrow
