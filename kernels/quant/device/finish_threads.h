// What is left to do with decoded weights before a model may use them: the
// steps of ReadScaledRows (calibration/weights/weights.h) behind the decoder, a
// weight a thread, in their order:
//
//   x + offset -> rounded to a plain 16-bit type and back -> * its scale

#ifndef NARROW_KERNELS_QUANT_DEVICE_FINISH_THREADS_H_
#define NARROW_KERNELS_QUANT_DEVICE_FINISH_THREADS_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include <cstdint>

namespace narrow {

// Plain data for a kernel; pointers are the device's.
struct FinishTask {
  enum class Rounding { kNone, kBf16, kF16 };

  const float* weights = nullptr;
  int64_t n_weights = 0;
  float offset = 0;
  Rounding rounding = Rounding::kNone;
  // Weight i has scale (first_weight + i) / weights_per_scale; nullptr: 1.
  const float* scales = nullptr;
  int64_t first_weight = 0;
  int64_t weights_per_scale = 1;
  // One of these.
  float* floats = nullptr;
  uint16_t* halves = nullptr;  // bfloat16
};

NARROW_LANE_FUNCTION void FinishWeight(const FinishTask& task, int64_t i) {
  team::F32 weight = task.weights[i];
  if (task.offset != 0) {
    weight = weight + task.offset;
  }
  if (task.rounding == FinishTask::Rounding::kBf16) {
    weight = team::Widen(team::Bf16Of(weight));
  } else if (task.rounding == FinishTask::Rounding::kF16) {
    weight = team::FloatFromF16(team::F16FromFloat(weight));
  }
  if (task.scales != nullptr) {
    weight =
        weight * task.scales[(task.first_weight + i) / task.weights_per_scale];
  }
  if (task.floats != nullptr) {
    task.floats[i] = weight.v;
  } else {
    task.halves[i] = team::Bf16Of(weight);
  }
}

}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_DEVICE_FINISH_THREADS_H_
