#include "kernels/quant/iq2/reference.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "formats/base/float16.h"
#include "kernels/quant/k/scale_search.h"
#include "kernels/quant/numbers.h"

namespace narrow {
namespace iq2 {

const GridIndex& IndexOf(Iq2Xxs) { return Iq2XxsIndex(); }
const GridIndex& IndexOf(Iq2Xs) { return Iq2XsIndex(); }
const GridIndex& IndexOf(Iq2S) { return Iq2SIndex(); }

float ScaleValue(int16_t stored) { return static_cast<float>(2 * stored + 1); }

namespace {

// 1, 3, 5: what a level counts in the search.
float Odd(int level) { return static_cast<float>(2 * level + 1); }

// A group as the search sees it.
template <class Type>
struct Group {
  static constexpr int kSize = Type::kGroup;
  static constexpr int kUnitsHere = kSize / kUnit;
  // Magnitudes; with even signs, one a unit may be negative.
  float x[kSize];
  float weights[kSize];
  float roots[kSize];
  uint8_t signs[kUnitsHere];
};

// Where the number of negative weights is odd, the sign of the one that
// matters least is turned.
template <class Type>
void SplitSigns(const float* x, Group<Type>* group) {
  for (int k = 0; k < Group<Type>::kUnitsHere; ++k) {
    const float* unit = x + k * kUnit;
    const float* w = group->weights + k * kUnit;
    float* magnitudes = group->x + k * kUnit;
    int signs = 0;
    for (int i = 0; i < kUnit; ++i) {
      const bool is_negative = !(unit[i] >= 0);
      magnitudes[i] = is_negative ? -unit[i] : unit[i];
      signs |= is_negative << i;
    }
    if (Type::kEvenSigns && __builtin_popcount(signs) % 2 != 0) {
      int least = 0;
      float least_energy = w[0] * unit[0] * unit[0];
      for (int i = 1; i < kUnit; ++i) {
        const float energy = w[i] * unit[i] * unit[i];
        if (energy < least_energy) {
          least_energy = energy;
          least = i;
        }
      }
      magnitudes[least] = -magnitudes[least];
      signs ^= 1 << least;
    }
    group->signs[k] = static_cast<uint8_t>(signs);
  }
}

// The number of a unit's levels at scale 1 / inverse.
int RoundUnit(const float* x, float inverse) {
  int number = 0;
  for (int i = 0, place = 1; i < kUnit; ++i, place *= kLevels) {
    const int level = RoundToInt(0.5f * (inverse * x[i] - 1));
    number += place * k_quants::Bounded(level, 0, kLevels - 1);
  }
  return number;
}

// The first of the list's points that are nearest.
int NearestOf(const GridIndex& index, const uint16_t* list, const float* x,
              const float* roots, float scale) {
  int nearest = list[1];
  float least = std::numeric_limits<float>::max();
  for (int j = 1; j <= list[0]; ++j) {
    const uint8_t* levels = index.grid->levels + kUnit * list[j];
    float distance = 0;
    for (int i = 0; i < kUnit; ++i) {
      const float miss = scale * Odd(levels[i]) - x[i];
      distance += roots[i] * miss * miss;
    }
    if (distance < least) {
      least = distance;
      nearest = list[j];
    }
  }
  return nearest;
}

// A choice of points and how well it fits.
template <class Type>
struct Choice {
  int points[Group<Type>::kUnitsHere] = {};
  bool on_grid[Group<Type>::kUnitsHere] = {};
  float sum_qx = 0;
  float sum_q2 = 0;

  // Rounds unit k at 1 / inverse; nearest points are sought at `scale`.
  void ChooseUnit(const GridIndex& index, const Group<Type>& group, int k,
                  float inverse, float scale) {
    const float* x = group.x + k * kUnit;
    const int32_t entry = index.entries[RoundUnit(x, inverse)];
    on_grid[k] = entry >= 0;
    points[k] = on_grid[k] ? entry
                           : NearestOf(index, index.lists + ~entry, x,
                                       group.roots + k * kUnit, scale);
  }

  void Sum(const GridIndex& index, const Group<Type>& group) {
    sum_qx = 0;
    sum_q2 = 0;
    for (int i = 0; i < Type::kGroup; ++i) {
      const int point = points[i / kUnit];
      const float q = Odd(index.grid->levels[kUnit * point + i % kUnit]);
      const float w = group.weights[i];
      sum_qx += w * group.x[i] * q;
      sum_q2 += w * q * q;
    }
  }
};

// What the candidates are steps around; 0: the group is zero.
template <class Type>
float TopOf(const Group<Type>& group, float* scale) {
  float top = group.x[0];
  for (int i = 1; i < Type::kGroup; ++i) {
    top = top > group.x[i] ? top : group.x[i];
  }
  if (top < Type::kZeroLimit) {
    return 0;
  }
  if (!Type::kSearchesTop) {
    *scale = top / 5;
    return top;
  }
  uint8_t codes[Type::kGroup];
  *scale = k_quants::SearchUnit(group.x, group.weights, 4, codes);
  top = *scale * 3;
  return top <= 0 ? 0 : top;
}

// The group's scale; its points and signs go to `block`, from unit `first`.
template <class Type>
float FitGroup(const GridIndex& index, const Group<Type>& group, int first,
               StoredBlock* block) {
  constexpr int kUnitsHere = Group<Type>::kUnitsHere;
  float scale = 0;
  const float top = TopOf(group, &scale);
  if (top == 0) {
    return 0;
  }
  Choice<Type> best;
  std::fill(best.on_grid, best.on_grid + kUnitsHere, true);
  float best_score = 0;
  for (int step = -Type::kSteps; step <= Type::kSteps; ++step) {
    const float inverse = (5 + static_cast<float>(step) * 0.1f) / top;
    Choice<Type> choice;
    for (int k = 0; k < kUnitsHere; ++k) {
      choice.ChooseUnit(index, group, k, inverse, 1 / inverse);
    }
    choice.Sum(index, group);
    if (choice.sum_q2 > 0 &&
        choice.sum_qx * choice.sum_qx > best_score * choice.sum_q2) {
      scale = choice.sum_qx / choice.sum_q2;
      best_score = scale * choice.sum_qx;
      best = choice;
    }
  }
  if (scale > 0) {
    bool again = false;
    for (int k = 0; k < kUnitsHere; ++k) {
      if (Type::kSearchesTop || !best.on_grid[k]) {
        best.ChooseUnit(index, group, k, 1 / scale, scale);
        again = true;
      }
    }
    best.Sum(index, group);
    if (again && best.sum_q2 > 0) {
      scale = best.sum_qx / best.sum_q2;
    }
  }
  const int flip = scale < 0 ? 255 : 0;
  for (int k = 0; k < kUnitsHere; ++k) {
    block->points[first + k] = static_cast<uint16_t>(best.points[k]);
    block->signs[first + k] = static_cast<uint8_t>(group.signs[k] ^ flip);
  }
  return std::fabs(scale);
}

// The block's unit and the groups' scales in it. Without any, the block
// keeps its points only where that is said.
template <class Type>
void StoreScales(const float* scales, StoredBlock* block) {
  constexpr int kGroups = kSuperBlock / Type::kGroup;
  float top = 0;
  for (int g = 0; g < kGroups; ++g) {
    top = top > scales[g] ? top : scales[g];
  }
  if (top == 0) {
    if (Type::kEvenSigns) {
      *block = StoredBlock();
    }
    return;
  }
  const float d = top / 31;
  block->d = F16FromFloat(d * Type::kScaleShare);
  const float inverse = 1 / d;
  for (int g = 0; g < kGroups; ++g) {
    block->scales[g] = static_cast<uint8_t>(k_quants::Bounded(
        RoundToInt(0.5f * (inverse * scales[g] - 1)), 0, kScaleHigh));
  }
}

template <class Type>
void EncodeBlock(const float* x, const float* importance, uint8_t* bytes) {
  const GridIndex& index = IndexOf(Type());
  float sum = 0;
  for (int i = 0; i < kSuperBlock; ++i) {
    sum += x[i] * x[i];
  }
  const float variance = Type::kVarianceFactor * sum / kSuperBlock;
  StoredBlock block = {};
  float scales[kMaxGroups] = {};
  for (int first = 0; first < kSuperBlock; first += Type::kGroup) {
    Group<Type> group;
    for (int i = 0; i < Type::kGroup; ++i) {
      const float square = x[first + i] * x[first + i];
      group.weights[i] =
          importance != nullptr
              ? importance[first + i] * std::sqrt(variance + square)
              : 0.25f * variance + square;
      group.roots[i] = std::sqrt(group.weights[i]);
    }
    SplitSigns(x + first, &group);
    scales[first / Type::kGroup] =
        FitGroup(index, group, first / kUnit, &block);
  }
  StoreScales<Type>(scales, &block);
  StoreBlock(Type(), block, bytes);
}

// d * (2 * scale + 1) / 8, exactly.
float UnitOf(float d, int scale) {
  return d * (0.5f + static_cast<float>(scale)) * 0.25f;
}

int8_t SignedMagnitude(int level, int signs, int i) {
  const int magnitude = kMagnitudes[level];
  return static_cast<int8_t>((signs >> i) & 1 ? -magnitude : magnitude);
}

}  // namespace

template <class Type>
void EncodeReference(const float* weights, int64_t n_rows, int64_t n_cols,
                     const float* importance, uint8_t* bytes) {
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t col = 0; col < n_cols; col += kSuperBlock) {
      EncodeBlock<Type>(weights, importance ? importance + col : nullptr,
                        bytes);
      weights += kSuperBlock;
      bytes += Type::kBytes;
    }
  }
}

template <class Type>
void DecodeReference(const uint8_t* bytes, int64_t n_blocks, float* weights) {
  const Grid& grid = *IndexOf(Type()).grid;
  for (int64_t b = 0; b < n_blocks; ++b, bytes += Type::kBytes) {
    const StoredBlock block = LoadBlock(Type(), bytes);
    const float d = FloatFromF16(block.d);
    for (int i = 0; i < kSuperBlock; ++i) {
      const int u = i / kUnit;
      const int level = grid.levels[kUnit * block.points[u] + i % kUnit];
      *weights++ = UnitOf(d, block.scales[i / Type::kGroup]) *
                   SignedMagnitude(level, block.signs[u], i % kUnit);
    }
  }
}

template <class Type>
void Unpack(const uint8_t* bytes, BlockFields* fields, int8_t* codes) {
  const Grid& grid = *IndexOf(Type()).grid;
  const StoredBlock block = LoadBlock(Type(), bytes);
  *fields = BlockFields();
  fields->d = FloatFromF16(block.d);
  for (int g = 0; g < kSuperBlock / Type::kGroup; ++g) {
    fields->scales[g] = block.scales[g];
  }
  for (int i = 0; i < kSuperBlock; ++i) {
    const int u = i / kUnit;
    const int level = grid.levels[kUnit * block.points[u] + i % kUnit];
    codes[i] = SignedMagnitude(level, block.signs[u], i % kUnit);
  }
}

template <class Type>
void Pack(const BlockFields& fields, const int8_t* codes, uint8_t* bytes) {
  const GridIndex& index = IndexOf(Type());
  StoredBlock block = {};
  block.d = F16FromFloat(fields.d);
  for (int g = 0; g < kSuperBlock / Type::kGroup; ++g) {
    block.scales[g] = static_cast<uint8_t>(fields.scales[g]);
  }
  for (int u = 0; u < kUnits; ++u, codes += kUnit) {
    int number = 0;
    int signs = 0;
    for (int i = 0, place = 1; i < kUnit; ++i, place *= kLevels) {
      const int magnitude = std::abs(codes[i]);
      number += place * (magnitude == 8 ? 0 : magnitude == 25 ? 1 : 2);
      signs |= (codes[i] < 0) << i;
    }
    assert(index.entries[number] >= 0);
    block.points[u] = static_cast<uint16_t>(index.entries[number]);
    block.signs[u] = static_cast<uint8_t>(signs);
  }
  StoreBlock(Type(), block, bytes);
}

template <class Type>
void Fit(const float* weights, const float* column_weights,
         BlockFields* fields) {
  float ones[kSuperBlock];
  if (Type::kRequiresImportance && column_weights == nullptr) {
    std::fill(ones, ones + kSuperBlock, 1.0f);
    column_weights = ones;
  }
  uint8_t bytes[Type::kBytes];
  EncodeBlock<Type>(weights, column_weights, bytes);
  int8_t codes[kSuperBlock];
  Unpack<Type>(bytes, fields, codes);
  // ggml's encoder lets it overflow.
  fields->d = LegalHalf(fields->d);
}

bool IsFinite(const uint8_t* bytes) { return HalfIsFinite(bytes); }

// The unit's point of least weighted distance, by trying all. A pair of
// coordinates has nine combinations, whose shares are tabulated, so a point
// costs four additions.
template <class Type>
class NearestPoint {
 public:
  // `magnitudes` of the targets, not negative; `size`: of one code's unit.
  NearestPoint(const double* magnitudes, const float* metric, double size) {
    for (int i = 0; i < kUnit; ++i) {
      const double weight = metric != nullptr ? metric[i] : 1.0;
      for (int level = 0; level < kLevels; ++level) {
        const double value = size * kMagnitudes[level];
        const double miss = value - magnitudes[i];
        miss_[i][level] = weight * miss * miss;
        // By how much the wrong sign adds to that.
        turn_[i][level] = 4 * weight * value * magnitudes[i];
      }
    }
    for (int pair = 0; pair < kUnit / 2; ++pair) {
      for (int c = 0; c < kLevels * kLevels; ++c) {
        const int i = 2 * pair;
        const int low = c % kLevels;
        const int high = c / kLevels;
        pair_miss_[pair][c] = miss_[i][low] + miss_[i + 1][high];
        pair_turn_[pair][c] = std::min(turn_[i][low], turn_[i + 1][high]);
      }
    }
  }

  // The point; `odd`: one sign must be turned.
  int Find(const Grid& grid, bool odd) const {
    int nearest = 0;
    double least = std::numeric_limits<double>::infinity();
    for (int p = 0; p < grid.n_points; ++p) {
      double miss = 0;
      double turn = std::numeric_limits<double>::infinity();
      int number = grid.numbers[p];
      for (int pair = 0; pair < kUnit / 2; ++pair) {
        const int c = number % (kLevels * kLevels);
        number /= kLevels * kLevels;
        miss += pair_miss_[pair][c];
        turn = std::min(turn, pair_turn_[pair][c]);
      }
      miss += odd ? turn : 0;
      if (miss < least) {
        least = miss;
        nearest = p;
      }
    }
    return nearest;
  }

  // The sign that costs least to turn.
  int CheapestTurn(const uint8_t* levels) const {
    int cheapest = 0;
    for (int i = 1; i < kUnit; ++i) {
      if (turn_[i][levels[i]] < turn_[cheapest][levels[cheapest]]) {
        cheapest = i;
      }
    }
    return cheapest;
  }

 private:
  double miss_[kUnit][kLevels];
  double turn_[kUnit][kLevels];
  double pair_miss_[kUnit / 2][kLevels * kLevels];
  double pair_turn_[kUnit / 2][kLevels * kLevels];
};

template <class Type>
void Round(const BlockFields& fields, int first, const float* target,
           const float* metric, int8_t* codes, float* values) {
  const Grid& grid = *IndexOf(Type()).grid;
  const float size = UnitOf(fields.d, fields.scales[first / Type::kGroup]);
  double magnitudes[kUnit];
  int signs = 0;
  for (int i = 0; i < kUnit; ++i) {
    magnitudes[i] = std::fabs(static_cast<double>(target[i]));
    signs |= (size < 0 ? target[i] > 0 : target[i] < 0) << i;
  }
  const NearestPoint<Type> nearest(magnitudes, metric, std::fabs(size));
  const bool odd = Type::kEvenSigns && __builtin_popcount(signs) % 2 != 0;
  const uint8_t* levels = grid.levels + kUnit * nearest.Find(grid, odd);
  if (odd) {
    signs ^= 1 << nearest.CheapestTurn(levels);
  }
  for (int i = 0; i < kUnit; ++i) {
    codes[i] = SignedMagnitude(levels[i], signs, i);
    values[i] = size * codes[i];
  }
}

template <class Type>
UnitPoints Points() {
  const Grid& grid = *IndexOf(Type()).grid;
  UnitPoints points;
  points.dim = grid.dim;
  points.n_levels = grid.n_levels;
  points.n_points = grid.n_points;
  points.levels = grid.levels;
  points.signs =
      Type::kEvenSigns ? UnitPoints::Signs::kEven : UnitPoints::Signs::kFree;
  for (int level = 0; level < kLevels; ++level) {
    points.codes[level] = static_cast<int8_t>(kMagnitudes[level]);
  }
  return points;
}

void EncodePlainly(Iq2Xxs, const float* x, const float* importance,
                   uint8_t* bytes) {
  EncodeBlock<Iq2Xxs>(x, importance, bytes);
}

void EncodePlainly(Iq2Xs, const float* x, const float* importance,
                   uint8_t* bytes) {
  EncodeBlock<Iq2Xs>(x, importance, bytes);
}

void EncodePlainly(Iq2S, const float* x, const float* importance,
                   uint8_t* bytes) {
  EncodeBlock<Iq2S>(x, importance, bytes);
}

template void EncodeReference<Iq2Xxs>(const float*, int64_t, int64_t,
                                      const float*, uint8_t*);
template void DecodeReference<Iq2Xxs>(const uint8_t*, int64_t, float*);
template UnitPoints Points<Iq2Xxs>();
template void Fit<Iq2Xxs>(const float*, const float*, BlockFields*);
template void Round<Iq2Xxs>(const BlockFields&, int, const float*, const float*,
                            int8_t*, float*);
template void Pack<Iq2Xxs>(const BlockFields&, const int8_t*, uint8_t*);
template void Unpack<Iq2Xxs>(const uint8_t*, BlockFields*, int8_t*);
template void EncodeReference<Iq2Xs>(const float*, int64_t, int64_t,
                                     const float*, uint8_t*);
template void DecodeReference<Iq2Xs>(const uint8_t*, int64_t, float*);
template UnitPoints Points<Iq2Xs>();
template void Fit<Iq2Xs>(const float*, const float*, BlockFields*);
template void Round<Iq2Xs>(const BlockFields&, int, const float*, const float*,
                           int8_t*, float*);
template void Pack<Iq2Xs>(const BlockFields&, const int8_t*, uint8_t*);
template void Unpack<Iq2Xs>(const uint8_t*, BlockFields*, int8_t*);
template void EncodeReference<Iq2S>(const float*, int64_t, int64_t,
                                    const float*, uint8_t*);
template void DecodeReference<Iq2S>(const uint8_t*, int64_t, float*);
template UnitPoints Points<Iq2S>();
template void Fit<Iq2S>(const float*, const float*, BlockFields*);
template void Round<Iq2S>(const BlockFields&, int, const float*, const float*,
                          int8_t*, float*);
template void Pack<Iq2S>(const BlockFields&, const int8_t*, uint8_t*);
template void Unpack<Iq2S>(const uint8_t*, BlockFields*, int8_t*);

}  // namespace iq2
}  // namespace narrow
