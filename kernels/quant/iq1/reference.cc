#include "kernels/quant/iq1/reference.h"

#include <cfloat>
#include <cmath>

#include "kernels/quant/iq1/split_search.h"
#include "kernels/quant/lattice/grid.h"
#include "kernels/quant/lattice/grid_index.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace iq1 {
namespace {

const float* Values(bool down) { return down ? kDown : kUp; }

// The first point of `list` with the least error.
int NearestOf(const uint16_t* list, const float* x, const float* w, float scale,
              const float* q) {
  const uint8_t* levels = Iq1Grid().levels;
  float least = FLT_MAX;
  // If sums overflow there is no least. ggml searches on then, with whatever
  // lies in memory behind the octet; no file can depend on that.
  int best = list[1];
  for (int k = 1; k <= list[0]; ++k) {
    const uint8_t* point = levels + kOctet * list[k];
    float error = 0;
    for (int i = 0; i < kOctet; ++i) {
      const float miss = scale * q[point[i]] - x[i];
      error += w[i] * miss * miss;
    }
    if (error < least) {
      least = error;
      best = list[k];
    }
  }
  return best;
}

// The point for an octet of levels, and whether it is those levels.
int PointFor(const uint8_t* levels, const float* x, const float* w, float scale,
             const float* q, bool* exact) {
  const GridIndex& index = Iq1Index();
  int number = 0;
  for (int i = kOctet - 1; i >= 0; --i) {
    number = 3 * number + levels[i];
  }
  const int32_t entry = index.entries[number];
  if (entry >= 0) {
    return entry;
  }
  *exact = false;
  return NearestOf(index.lists + ~entry, x, w, scale, q);
}

// Weighted sums over octets of points, in ggml's order: the numerator and the
// denominator of a scale.
struct ScaleSums {
  float code_x = 0;
  float code_square = 0;

  // `times` is an integer on the level values.
  void Add(int point, const float* x, const float* w, const float* q,
           float times) {
    const uint8_t* levels = Iq1Grid().levels + kOctet * point;
    for (int i = 0; i < kOctet; ++i) {
      const float code = q[levels[i]] * times;
      code_x += w[i] * code * x[i];
      code_square += w[i] * code * code;
    }
  }
};

// Shift, points and the real scale of one group; zero if it has none.
template <class Type>
float FitGroup(const float* x, const float* w, int* shift, uint16_t* points) {
  float largest = 0;
  for (int i = 0; i < Type::kGroup; ++i) {
    largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
  }
  Split split;
  if (largest < Type::kZeroLimit || !FindSplit(Type(), x, w, &split)) {
    return 0;
  }
  *shift = split.shift;
  bool exact = true;
  constexpr int kGroupOctets = Type::kGroup / kOctet;
  for (int o = 0; o < kGroupOctets; ++o) {
    const int i = o * kOctet;
    points[o] = static_cast<uint16_t>(
        PointFor(split.levels + i, x + i, w + i, split.scale,
                 Values(Type::IsDown(split.shift, o)), &exact));
  }
  if (exact) {
    return split.scale;
  }
  ScaleSums sums;
  for (int o = 0; o < kGroupOctets; ++o) {
    const int i = o * kOctet;
    sums.Add(points[o], x + i, w + i, Values(Type::IsDown(split.shift, o)), 1);
  }
  return sums.code_x > 0 && sums.code_square > 0
             ? sums.code_x / sums.code_square
             : split.scale;
}

// What each weight counts.
void WeighBlock(const float* x, const float* importance, bool plain_squares,
                float* w) {
  if (importance == nullptr && plain_squares) {
    for (int i = 0; i < kBlock; ++i) {
      w[i] = x[i] * x[i];
    }
    return;
  }
  float squares = 0;
  for (int i = 0; i < kBlock; ++i) {
    squares += x[i] * x[i];
  }
  const float variance = 2 * squares / kBlock;
  for (int i = 0; i < kBlock; ++i) {
    const float root = std::sqrt(variance + x[i] * x[i]);
    w[i] = importance != nullptr ? importance[i] * root : root;
  }
}

// All but groups->d, which becomes the unit of the scales; false if they are
// all zero.
template <class Type>
bool FitUnscaled(const float* x, const float* w, Groups* groups) {
  constexpr int kGroups = kBlock / Type::kGroup;
  float scales[kGroups];
  float largest = 0;
  *groups = Groups();
  for (int g = 0; g < kGroups; ++g) {
    const int i = g * Type::kGroup;
    scales[g] = FitGroup<Type>(x + i, w + i, &groups->shifts[g],
                               groups->points + i / kOctet);
    largest = largest > scales[g] ? largest : scales[g];
  }
  if (largest == 0) {
    // ggml stores points, if there are any, but no shifts.
    for (int& shift : groups->shifts) {
      shift = 0;
    }
    return false;
  }
  groups->d = largest / 15;
  const float inverse = 1 / groups->d;
  for (int g = 0; g < kGroups; ++g) {
    const int nearest = RoundToInt(0.5f * (inverse * scales[g] - 1));
    groups->scales[g] = nearest < 0            ? 0
                        : nearest > kScaleHigh ? kScaleHigh
                                               : nearest;
  }
  return true;
}

}  // namespace

void FitGroups(IQ1_S, const float* x, const float* importance, Groups* groups) {
  float w[kBlock];
  WeighBlock(x, importance, /*plain_squares=*/false, w);
  FitUnscaled<IQ1_S>(x, w, groups);
  groups->d *= IQ1_S::kFactor;
}

// The scale of the block is fitted again to what was rounded.
void FitGroups(IQ1_M, const float* x, const float* importance, Groups* groups) {
  float w[kBlock];
  WeighBlock(x, importance, /*plain_squares=*/true, w);
  if (!FitUnscaled<IQ1_M>(x, w, groups)) {
    return;
  }
  ScaleSums sums;
  for (int o = 0; o < kOctets; ++o) {
    const int i = o * kOctet;
    const int g = i / IQ1_M::kGroup;
    sums.Add(groups->points[o], x + i, w + i,
             Values(IQ1_M::IsDown(groups->shifts[g], o % 2)),
             static_cast<float>(2 * groups->scales[g] + 1));
  }
  if (sums.code_square > 0) {
    groups->d = sums.code_x / sums.code_square;
  }
  groups->d *= IQ1_M::kFactor;
}

}  // namespace iq1
}  // namespace narrow
