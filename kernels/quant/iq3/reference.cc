#include "kernels/quant/iq3/reference.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "kernels/quant/iq3/fields.h"
#include "kernels/quant/lattice/grid_index.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace iq3 {
namespace {

const GridIndex& Index(IQ3_XXS) { return Iq3XxsIndex(); }
const GridIndex& Index(IQ3_S) { return Iq3SIndex(); }

// One group of 32 as the search sees it.
struct GroupSearch {
  float x[kGroup];       // magnitudes; one that got a wrong sign is negative
  float weight[kGroup];  // in the sums
  float metric[kGroup];  // in distances to points: the root of `weight`
  uint8_t signs[4];
};

// The choice under one scale.
struct Choice {
  uint8_t levels[kGroup];
  bool in_grid[kPointsPerGroup];
};

struct Sums {
  float xq = 0;
  float qq = 0;
};

void WeighGroup(const float* weights, const float* importance, float variance,
                GroupSearch* group) {
  for (int i = 0; i < kGroup; ++i) {
    const float square = weights[i] * weights[i];
    group->weight[i] = importance != nullptr
                           ? importance[i] * std::sqrt(variance + square)
                           : square;
    group->metric[i] = std::sqrt(group->weight[i]);
  }
}

// Splits weights into magnitudes and signs. If the type wants an even number
// of minus signs in each 8, the weight that matters least gets a wrong one.
template <class Type>
void SplitSigns(const float* weights, GroupSearch* group) {
  for (int first = 0; first < kGroup; first += 8) {
    unsigned signs = 0;
    bool odd = false;
    for (int i = 0; i < 8; ++i) {
      const float x = weights[first + i];
      const bool positive = x >= 0;
      group->x[first + i] = positive ? x : -x;
      signs |= positive ? 0u : 1u << i;
      odd ^= !positive;
    }
    if (Type::kEvenSigns && odd) {
      int least_at = 0;
      float least = 0;
      for (int i = 0; i < 8; ++i) {
        const float x = weights[first + i];
        const float matters = group->weight[first + i] * x * x;
        if (i == 0 || matters < least) {
          least = matters;
          least_at = i;
        }
      }
      group->x[first + least_at] = -group->x[first + least_at];
      signs ^= 1u << least_at;
    }
    group->signs[first / 8] = static_cast<uint8_t>(signs);
  }
}

// The first of the points in `list` at the least distance; the first one if
// no distance is finite.
int NearestOf(const Grid& grid, const uint16_t* list, const float* x,
              const float* metric, float scale) {
  float least = FLT_MAX;
  int nearest = list[1];
  for (int j = 1; j <= list[0]; ++j) {
    const uint8_t* levels = grid.levels + kPoint * list[j];
    float distance = 0;
    for (int i = 0; i < kPoint; ++i) {
      const float miss = scale * static_cast<float>(2 * levels[i] + 1) - x[i];
      distance += metric[i] * miss * miss;
    }
    if (distance < least) {
      least = distance;
      nearest = list[j];
    }
  }
  return nearest;
}

// Levels for the four weights at `x`: nearest, and then the grid's. True if
// the nearest are in the grid.
bool ChooseLevels(const GridIndex& index, const float* x, const float* metric,
                  float inverse, float scale, uint8_t* levels) {
  int number = 0;
  for (int i = 0; i < kPoint; ++i) {
    const int level = RoundToInt(0.5f * (inverse * x[i] - 1));
    number |= std::max(0, std::min(kLevels - 1, level)) << (3 * i);
  }
  const int32_t entry = index.entries[number];
  const int point = entry >= 0 ? entry
                               : NearestOf(*index.grid, index.lists + ~entry, x,
                                           metric, scale);
  std::memcpy(levels, index.grid->levels + kPoint * point, kPoint);
  return entry >= 0;
}

Sums SumUp(const GroupSearch& group, const uint8_t* levels) {
  Sums sums;
  for (int i = 0; i < kGroup; ++i) {
    const float q = static_cast<float>(2 * levels[i] + 1);
    sums.xq += group.weight[i] * group.x[i] * q;
    sums.qq += group.weight[i] * q * q;
  }
  return sums;
}

// The best of the candidate scales and its choice.
template <class Type>
float ScanScales(const GridIndex& index, const GroupSearch& group,
                 float largest, Choice* choice) {
  float scale = largest / kTopLevel;
  std::memset(choice->levels, 0, kGroup);
  std::fill_n(choice->in_grid, kPointsPerGroup, !Type::kRefineAll);
  float best = 0;
  for (int k = -Type::kScan; k <= Type::kScan; ++k) {
    const float inverse = (kTopLevel + static_cast<float>(k) * kStep) / largest;
    const float candidate = 1 / inverse;
    Choice tried;
    for (int p = 0; p < kPointsPerGroup; ++p) {
      const int at = kPoint * p;
      tried.in_grid[p] = ChooseLevels(index, group.x + at, group.metric + at,
                                      inverse, candidate, tried.levels + at);
    }
    const Sums sums = SumUp(group, tried.levels);
    if (sums.qq > 0 && sums.xq * sums.xq > best * sums.qq) {
      scale = sums.xq / sums.qq;
      best = scale * sums.xq;
      *choice = tried;
    }
  }
  return scale;
}

// Chooses levels under the scale that the scan ended with, which differs from
// the one that they were chosen under.
template <class Type>
float Refine(const GridIndex& index, const GroupSearch& group, float scale,
             Choice* choice) {
  const bool* in_grid = choice->in_grid;
  if (!(scale > 0) || std::all_of(in_grid, in_grid + kPointsPerGroup,
                                  [](bool in) { return in; })) {
    return scale;
  }
  const float inverse = 1 / scale;
  for (int p = 0; p < kPointsPerGroup; ++p) {
    if (Type::kRefineAll || !in_grid[p]) {
      const int at = kPoint * p;
      ChooseLevels(index, group.x + at, group.metric + at, inverse, scale,
                   choice->levels + at);
    }
  }
  const Sums sums = SumUp(group, choice->levels);
  return sums.qq > 0 ? sums.xq / sums.qq : scale;
}

int NumberOf(const uint8_t* levels) {
  return levels[0] | levels[1] << 3 | levels[2] << 6 | levels[3] << 9;
}

// What the search gives for a group that is not zero.
struct GroupFit {
  float scale;
  uint16_t points[kPointsPerGroup];
  uint8_t signs[4];
};

// False if the group is zero.
template <class Type>
bool FitGroup(const float* weights, const float* importance, float variance,
              GroupFit* fit) {
  const GridIndex& index = Index(Type());
  GroupSearch group;
  WeighGroup(weights, importance, variance, &group);
  SplitSigns<Type>(weights, &group);
  float largest = group.x[0];
  for (int i = 1; i < kGroup; ++i) {
    largest = largest > group.x[i] ? largest : group.x[i];
  }
  if (Type::kZeroLimit > 0 ? largest < Type::kZeroLimit : largest == 0) {
    return false;
  }
  Choice choice;
  float scale = ScanScales<Type>(index, group, largest, &choice);
  scale = Refine<Type>(index, group, scale, &choice);
  const bool negative = scale < 0;
  fit->scale = negative ? -scale : scale;
  for (int k = 0; k < 4; ++k) {
    fit->signs[k] =
        static_cast<uint8_t>(negative ? ~group.signs[k] : group.signs[k]);
  }
  for (int p = 0; p < kPointsPerGroup; ++p) {
    fit->points[p] = static_cast<uint16_t>(
        index.entries[NumberOf(choice.levels + kPoint * p)]);
  }
  return true;
}

// Puts group g's points and signs in place: in IQ3_S, where `n_before` groups
// before it are not zero, see kClosesGaps.
template <class Type>
void PlaceGroup(const GroupFit& fit, int g, int n_before, Fields* fields) {
  const int at = Type::kClosesGaps ? n_before : g;
  for (int p = 0; p < kPointsPerGroup; ++p) {
    fields->points[kPointsPerGroup * at + p] |= fit.points[p] & 255;
    fields->points[kPointsPerGroup * g + p] |=
        static_cast<uint16_t>(fit.points[p] & ~255);
  }
  std::memcpy(fields->signs + 4 * at, fit.signs, sizeof(fit.signs));
}

template <class Type>
float FitBlock(const float* weights, const float* importance, Fields* fields) {
  *fields = Fields();
  float sum = 0;
  for (int i = 0; i < kSuperBlock; ++i) {
    sum += weights[i] * weights[i];
  }
  const float variance = 2 * sum / kSuperBlock;
  float scales[kGroups];
  float largest = 0;
  int n_before = 0;
  for (int g = 0; g < kGroups; ++g) {
    GroupFit fit;
    scales[g] = 0;
    if (FitGroup<Type>(
            weights + kGroup * g,
            importance != nullptr ? importance + kGroup * g : nullptr, variance,
            &fit)) {
      PlaceGroup<Type>(fit, g, n_before++, fields);
      scales[g] = fit.scale;
    }
    largest = largest > scales[g] ? largest : scales[g];
  }
  if (largest == 0) {
    if (!Type::kClosesGaps) {
      *fields = Fields();
    }
    return 0;
  }
  const float d = largest / kTopScale;
  const float inverse = 1 / d;
  for (int g = 0; g < kGroups; ++g) {
    const int scale = RoundToInt(0.5f * (inverse * scales[g] - 1));
    fields->scales[g] =
        static_cast<uint8_t>(std::max(0, std::min(kScaleHigh, scale)));
  }
  return d * Type::kStretch;
}

template <class Type>
void EncodeBlockOf(const float* weights, const float* importance,
                   uint8_t* bytes) {
  Fields fields;
  fields.half = F16FromFloat(FitBlock<Type>(weights, importance, &fields));
  PackFields(Type(), fields, bytes);
}

}  // namespace

float FitFields(IQ3_XXS, const float* weights, const float* importance,
                Fields* fields) {
  return FitBlock<IQ3_XXS>(weights, importance, fields);
}

float FitFields(IQ3_S, const float* weights, const float* importance,
                Fields* fields) {
  return FitBlock<IQ3_S>(weights, importance, fields);
}

void EncodeBlock(IQ3_XXS, const float* weights, const float* importance,
                 uint8_t* bytes) {
  EncodeBlockOf<IQ3_XXS>(weights, importance, bytes);
}

void EncodeBlock(IQ3_S, const float* weights, const float* importance,
                 uint8_t* bytes) {
  EncodeBlockOf<IQ3_S>(weights, importance, bytes);
}

}  // namespace iq3
}  // namespace narrow
