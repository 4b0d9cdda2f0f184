#include "kernels/quant/iq3/nearest_point.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace narrow {
namespace iq3 {
namespace {

constexpr int kDim = 4;
constexpr int kLevels = 8;

// A point and how far it is, with the target's own signs or with one wrong.
struct Nearest {
  double distance = std::numeric_limits<double>::infinity();
  int point = 0;
  int wrong_sign = -1;
};

class PointSearch {
 public:
  PointSearch(const Grid& grid, const uint8_t* magnitudes, float unit,
              const float* target, const float* metric)
      : grid_(grid), magnitudes_(magnitudes) {
    const double size = std::fabs(static_cast<double>(unit));
    for (int i = 0; i < kDim; ++i) {
      const double weight = metric != nullptr ? metric[i] : 1;
      const double x = std::fabs(static_cast<double>(target[i]));
      minus_[i] = std::signbit(target[i]) != std::signbit(unit);
      for (int level = 0; level < kLevels; ++level) {
        const double value = size * magnitudes[level];
        cost_[i][level] = weight * (value - x) * (value - x);
        flip_[i][level] = 4 * weight * value * x;
      }
    }
  }

  bool IsOdd() const { return minus_[0] ^ minus_[1] ^ minus_[2] ^ minus_[3]; }

  Nearest WithSigns() const {
    Nearest nearest;
    for (int p = 0; p < grid_.n_points; ++p) {
      const double distance = Distance(grid_.levels + kDim * p);
      if (distance < nearest.distance) {
        nearest = {distance, p, -1};
      }
    }
    return nearest;
  }

  Nearest WithOneWrongSign() const {
    Nearest nearest;
    for (int p = 0; p < grid_.n_points; ++p) {
      const uint8_t* levels = grid_.levels + kDim * p;
      const double distance = Distance(levels);
      for (int i = 0; i < kDim && distance < nearest.distance; ++i) {
        const double with_flip = distance + flip_[i][levels[i]];
        if (with_flip < nearest.distance) {
          nearest = {with_flip, p, i};
        }
      }
    }
    return nearest;
  }

  void Write(const Nearest& nearest, int8_t* codes) const {
    const uint8_t* levels = grid_.levels + kDim * nearest.point;
    for (int i = 0; i < kDim; ++i) {
      const int magnitude = magnitudes_[levels[i]];
      const bool minus = minus_[i] != (i == nearest.wrong_sign);
      codes[i] = static_cast<int8_t>(minus ? -magnitude : magnitude);
    }
  }

 private:
  double Distance(const uint8_t* levels) const {
    return (cost_[0][levels[0]] + cost_[1][levels[1]]) +
           (cost_[2][levels[2]] + cost_[3][levels[3]]);
  }

  const Grid& grid_;
  const uint8_t* magnitudes_;
  bool minus_[kDim];
  double cost_[kDim][kLevels];
  double flip_[kDim][kLevels];  // what a wrong sign adds
};

}  // namespace

void NearestPoint(const Grid& grid, const uint8_t* magnitudes, float unit,
                  const float* target, const float* metric, int8_t* codes) {
  const PointSearch search(grid, magnitudes, unit, target, metric);
  search.Write(search.WithSigns(), codes);
}

void NearestPointPair(const Grid& grid, const uint8_t* magnitudes, float unit,
                      const float* target, const float* metric, int8_t* codes) {
  const PointSearch first(grid, magnitudes, unit, target, metric);
  const PointSearch second(grid, magnitudes, unit, target + kDim,
                           metric != nullptr ? metric + kDim : nullptr);
  Nearest a = first.WithSigns();
  Nearest b = second.WithSigns();
  if (first.IsOdd() != second.IsOdd()) {
    const Nearest wrong_a = first.WithOneWrongSign();
    const Nearest wrong_b = second.WithOneWrongSign();
    // With a distance that is not finite, no sign was chosen.
    if (wrong_b.wrong_sign < 0 ||
        wrong_a.distance + b.distance <= a.distance + wrong_b.distance) {
      a = wrong_a;
      a.wrong_sign = std::max(a.wrong_sign, 0);
    } else {
      b = wrong_b;
    }
  }
  first.Write(a, codes);
  second.Write(b, codes + kDim);
}

}  // namespace iq3
}  // namespace narrow
