#include "kernels/quant/k/scale_search.h"

#include <cmath>

#include "kernels/quant/numbers.h"

namespace narrow {
namespace k_quants {
namespace {

// Weighted sums over a sub-block with codes.
struct CodeSums {
  float code = 0;         // w c
  float code_square = 0;  // w c²
  float code_x = 0;       // w c x
};

int8_t AffineCode(float quotient, int code_high, CodeRule rule) {
  if (rule == CodeRule::kRoundThenBound) {
    return static_cast<int8_t>(Bounded(RoundToInt(quotient), 0, code_high));
  }
  if (!(quotient > 0)) {
    return 0;
  }
  const float high = static_cast<float>(code_high);
  return static_cast<int8_t>(RoundToInt(quotient < high ? quotient : high));
}

float LineError(absl::Span<const float> x, const float* weights,
                const AffineLine& line, const int8_t* codes, bool absolute) {
  float error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const float miss = line.scale * codes[i] + line.low - x[i];
    error += weights[i] * (absolute ? std::fabs(miss) : miss * miss);
  }
  return error;
}

// Weighted least squares for the line, given the codes. False if they do not
// determine it.
bool FitLine(const CodeSums& sums, float sum_w, float sum_x, AffineLine* line) {
  const float determinant = sum_w * sums.code_square - sums.code * sums.code;
  if (!(determinant > 0)) {
    return false;
  }
  line->scale = (sum_w * sums.code_x - sum_x * sums.code) / determinant;
  line->low =
      (sums.code_square * sum_x - sums.code * sums.code_x) / determinant;
  if (line->low > 0) {
    *line = {sums.code_x / sums.code_square, 0};
  }
  return true;
}

// The first weight of the greatest magnitude; 0 if that is below the limit.
float Peak(absl::Span<const float> x) {
  float peak = 0;
  float magnitude = 0;
  for (const float value : x) {
    if (std::fabs(value) > magnitude) {
      magnitude = std::fabs(value);
      peak = value;
    }
  }
  return magnitude < kZeroLimit ? 0 : peak;
}

struct ScaleSums {
  float code_x = 0;       // w x c
  float code_square = 0;  // w c²

  void Add(float w, float x, int code) {
    code_x += w * x * static_cast<float>(code);
    code_square += w * static_cast<float>(code) * static_cast<float>(code);
  }
  void Remove(float w, float x, int code) {
    code_x -= w * x * static_cast<float>(code);
    code_square -= w * static_cast<float>(code) * static_cast<float>(code);
  }
  // Whether these explain more of x than `other` does; the explained part is
  // code_x² / code_square.
  bool Beats(const ScaleSums& other) const {
    return code_x * code_x * other.code_square >
           other.code_x * other.code_x * code_square;
  }
  float Scale() const { return code_square > 0 ? code_x / code_square : 0; }
};

int SymmetricCode(float quotient, int half) {
  return Bounded(RoundToInt(quotient), -half, half - 1);
}

// From the codes under `inverse`, moves single codes while the error falls.
float DescendUnit(absl::Span<const float> x, const float* weights,
                  float inverse, int code_high, uint8_t* codes) {
  const int n = static_cast<int>(x.size());
  ScaleSums sums;
  for (int i = 0; i < n; ++i) {
    const int nearest = RoundToInt(inverse * x[i]);
    const int code = nearest < code_high ? nearest : code_high;
    codes[i] = static_cast<uint8_t>(code);
    sums.Add(weights[i], x[i], code);
  }
  bool changed = true;
  for (int pass = 0; pass < kDescentPasses && changed; ++pass) {
    changed = false;
    for (int i = 0; i < n; ++i) {
      ScaleSums trial = sums;
      trial.Remove(weights[i], x[i], codes[i]);
      if (!(trial.code_x > 0 && trial.code_square > 0)) {
        continue;
      }
      const int nearest = RoundToInt(x[i] * trial.code_square / trial.code_x);
      const int code = nearest < code_high ? nearest : code_high;
      if (code == codes[i]) {
        continue;
      }
      trial.Add(weights[i], x[i], code);
      if (trial.Beats(sums)) {
        codes[i] = static_cast<uint8_t>(code);
        sums = trial;
        changed = true;
      }
    }
  }
  return sums.Scale();
}

}  // namespace

AffineLine SearchAffine(absl::Span<const float> x, const float* weights,
                        int code_high, const AffineGrid& grid,
                        bool absolute_error, CodeRule rule, int8_t* codes) {
  const int n = static_cast<int>(x.size());
  float low = x[0];
  float high = x[0];
  float sum_w = weights[0];
  float sum_x = weights[0] * x[0];
  for (int i = 1; i < n; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  if (low > 0) {
    low = 0;
  }
  if (rule == CodeRule::kRoundThenBound ? high == low : high <= low) {
    for (int i = 0; i < n; ++i) {
      codes[i] = 0;
    }
    return {0, low};
  }
  // From the smallest to the largest weight first.
  float inverse = static_cast<float>(code_high) / (high - low);
  AffineLine best = {1 / inverse, low};
  for (int i = 0; i < n; ++i) {
    codes[i] = AffineCode(inverse * (x[i] - best.low), code_high,
                          CodeRule::kRoundThenBound);
  }
  float least_error = LineError(x, weights, best, codes, absolute_error);

  int8_t trial_codes[kMaxSubBlock];
  for (int k = 0; k <= grid.last; ++k) {
    // The best line so far is where the next candidate starts from.
    inverse = (grid.first + grid.step * static_cast<float>(k) +
               static_cast<float>(code_high)) /
              (high - best.low);
    CodeSums sums;
    for (int i = 0; i < n; ++i) {
      trial_codes[i] = AffineCode(inverse * (x[i] - best.low), code_high, rule);
      const float code = trial_codes[i];
      sums.code += weights[i] * code;
      sums.code_square += weights[i] * code * code;
      sums.code_x += weights[i] * code * x[i];
    }
    AffineLine trial;
    if (!FitLine(sums, sum_w, sum_x, &trial)) {
      continue;
    }
    const float error =
        LineError(x, weights, trial, trial_codes, absolute_error);
    if (error < least_error) {
      least_error = error;
      best = trial;
      for (int i = 0; i < n; ++i) {
        codes[i] = trial_codes[i];
      }
    }
  }
  return best;
}

float SearchSymmetric(absl::Span<const float> x, const float* weights, int half,
                      int8_t* codes) {
  const int n = static_cast<int>(x.size());
  const float peak = Peak(x);
  for (int i = 0; i < n; ++i) {
    codes[i] = static_cast<int8_t>(-half);
  }
  if (peak == 0) {
    return 0;
  }
  float scale = 0;
  float best = 0;  // explained part of x: scale * sum of w x c
  // The offset 0 goes first; only others that are better replace it.
  for (int trial = -1; trial <= 2 * kSymmetricOffsets; ++trial) {
    const int offset = trial - kSymmetricOffsets;
    if (trial >= 0 && offset == 0) {
      continue;
    }
    // The peak gets the code of the larger range, which is negative.
    const float steps = trial < 0
                            ? static_cast<float>(half)
                            : static_cast<float>(half) +
                                  kOffsetStep * static_cast<float>(offset);
    const float inverse = -steps / peak;
    ScaleSums sums;
    for (int i = 0; i < n; ++i) {
      sums.Add(weights != nullptr ? weights[i] : x[i] * x[i], x[i],
               SymmetricCode(inverse * x[i], half));
    }
    const bool better =
        trial < 0 || (sums.code_square > 0 &&
                      sums.code_x * sums.code_x > best * sums.code_square);
    if (better) {
      scale = sums.code_square != 0 ? sums.code_x / sums.code_square : 0;
      best = scale * sums.code_x;
      for (int i = 0; i < n; ++i) {
        codes[i] = static_cast<int8_t>(SymmetricCode(inverse * x[i], half));
      }
    }
  }
  return scale;
}

float DescendSymmetric(absl::Span<const float> x, int half, int8_t* codes) {
  const int n = static_cast<int>(x.size());
  const float peak = Peak(x);
  for (int i = 0; i < n; ++i) {
    codes[i] = static_cast<int8_t>(-half);
  }
  if (peak == 0) {
    return 0;
  }
  const float inverse = -static_cast<float>(half) / peak;
  ScaleSums sums;
  for (int i = 0; i < n; ++i) {
    codes[i] = static_cast<int8_t>(SymmetricCode(inverse * x[i], half));
    sums.Add(x[i] * x[i], x[i], codes[i]);
  }
  bool changed = true;
  for (int pass = 0; pass < kDescentPasses && changed; ++pass) {
    changed = false;
    for (int i = 0; i < n; ++i) {
      const float w = x[i] * x[i];
      ScaleSums trial = sums;
      trial.Remove(w, x[i], codes[i]);
      if (!(trial.code_x > 0)) {
        continue;
      }
      // The best scale for the others rounds this one.
      const int code =
          SymmetricCode(x[i] * trial.code_square / trial.code_x, half);
      if (code == codes[i]) {
        continue;
      }
      trial.Add(w, x[i], code);
      if (trial.code_square > 0 && trial.Beats(sums)) {
        codes[i] = static_cast<int8_t>(code);
        sums = trial;
        changed = true;
      }
    }
  }
  return sums.Scale();
}

float SearchUnit(absl::Span<const float> x, const float* weights, int code_high,
                 uint8_t* codes) {
  const int n = static_cast<int>(x.size());
  float peak = 0;
  for (int i = 0; i < n; ++i) {
    codes[i] = 0;
    peak = peak > x[i] ? peak : x[i];
  }
  if (peak < kZeroLimit) {
    return 0;
  }
  float best_inverse = static_cast<float>(code_high) / peak;
  float least_error = 0;
  for (int trial = -1; trial <= 2 * kUnitOffsets; ++trial) {
    const int offset = trial - kUnitOffsets;
    if (trial >= 0 && offset == 0) {
      continue;
    }
    float inverse = best_inverse;
    if (trial >= 0) {
      inverse = (kOffsetStep * static_cast<float>(offset) +
                 static_cast<float>(code_high)) /
                peak;
    }
    const float unit = 1 / inverse;
    float error = 0;
    for (int i = 0; i < n; ++i) {
      int code = RoundToInt(inverse * x[i]);
      // The first trial alone stores its codes as bytes.
      code = trial < 0 ? static_cast<uint8_t>(code)
                       : (code < code_high ? code : code_high);
      const float miss = x[i] - unit * static_cast<float>(code);
      error += weights[i] * miss * miss;
    }
    if (trial < 0 || error < least_error) {
      least_error = error;
      best_inverse = inverse;
    }
  }

  return DescendUnit(x, weights, best_inverse, code_high, codes);
}

}  // namespace k_quants
}  // namespace narrow
