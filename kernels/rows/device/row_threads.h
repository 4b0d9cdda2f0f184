// The passes of a transformer over rows, as a card's threads do them. The
// definitions are those of kernels/rows/rows.h.
//
// Rows that are summed have kRowThreads threads and phases, as in
// kernels/quant/team: every thread sums what is kRowThreads apart, in double;
// sixteen threads fold sixteen of these sums each; all fold the sixteen. So
// sums have one order. Other passes have a thread an element.

#ifndef NARROW_KERNELS_ROWS_DEVICE_ROW_THREADS_H_
#define NARROW_KERNELS_ROWS_DEVICE_ROW_THREADS_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define NARROW_ROW_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_ROW_FUNCTION inline
#endif

namespace narrow {
namespace row_threads {

inline constexpr int kRowThreads = 256;
inline constexpr int kFolds = 16;
static_assert(kFolds * kFolds == kRowThreads, "two equal steps");

struct RowSums {
  double of_threads[kRowThreads];
  double of_folds[kFolds];
};

NARROW_ROW_FUNCTION void FoldSums(int thread, RowSums* sums) {
  if (thread < kFolds) {
    double sum = 0;
    for (int i = 0; i < kFolds; ++i) {
      sum += sums->of_threads[thread * kFolds + i];
    }
    sums->of_folds[thread] = sum;
  }
}

NARROW_ROW_FUNCTION double TotalOf(const RowSums& sums) {
  double sum = 0;
  for (int i = 0; i < kFolds; ++i) {
    sum += sums.of_folds[i];
  }
  return sum;
}

NARROW_ROW_FUNCTION uint16_t ToBf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7fffffff) > 0x7f800000) {
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  }
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// A number to where the next kernel wants it; either may be nullptr.
struct Output {
  float* floats;
  uint16_t* halves;  // bfloat16
};
NARROW_ROW_FUNCTION void Put(const Output& out, int64_t i, float value) {
  if (out.floats != nullptr) {
    out.floats[i] = value;
  }
  if (out.halves != nullptr) {
    out.halves[i] = ToBf16(value);
  }
}

// out = x / sqrt(mean(x^2) + eps) * weight, by rows.
struct NormTask {
  const float* x;  // [n_rows, n]
  const float* weight;
  int64_t n_rows;
  int64_t n;
  float eps;
  Output out;

  static constexpr int kPhases = 3;

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int thread, RowSums* sums) const {
    const float* its_x = x + row * n;
    if constexpr (kPhase == 0) {
      double sum = 0;
      for (int64_t i = thread; i < n; i += kRowThreads) {
        sum += static_cast<double>(its_x[i]) * its_x[i];
      }
      sums->of_threads[thread] = sum;
    } else if constexpr (kPhase == 1) {
      FoldSums(thread, sums);
    } else {
      const double mean = TotalOf(*sums) / static_cast<double>(n);
      const double inverse = 1 / sqrt(mean + eps);
      for (int64_t i = thread; i < n; i += kRowThreads) {
        Put(out, row * n + i,
            static_cast<float>(its_x[i] * inverse * weight[i]));
      }
    }
  }
};

// Logarithm of the softmax at one place of each row. A row's largest value is
// found on the way: the sums of threads are relative to their own largest.
struct LogProbTask {
  const float* logits;  // [n_rows, n], finite
  const int32_t* targets;
  int64_t n_rows;
  int64_t n;
  double* out;     // [n_rows]
  float* largest;  // room for kRowThreads a row

  static constexpr int kPhases = 4;

  template <int kPhase>
  NARROW_ROW_FUNCTION void Run(int64_t row, int thread, RowSums* sums) const {
    const float* its = logits + row * n;
    float* its_largest = largest + row * kRowThreads;
    if constexpr (kPhase == 0) {
      float high = its[0];
      for (int64_t i = thread; i < n; i += kRowThreads) {
        high = its[i] > high ? its[i] : high;
      }
      its_largest[thread] = high;
    } else if constexpr (kPhase == 1) {
      const float high = Largest(its_largest);
      double sum = 0;
      for (int64_t i = thread; i < n; i += kRowThreads) {
        sum += exp(static_cast<double>(its[i]) - high);
      }
      sums->of_threads[thread] = sum;
    } else if constexpr (kPhase == 2) {
      FoldSums(thread, sums);
    } else if (thread == 0) {
      out[row] = static_cast<double>(its[targets[row]]) - Largest(its_largest) -
                 log(TotalOf(*sums));
    }
  }

  NARROW_ROW_FUNCTION static float Largest(const float* of_threads) {
    float high = of_threads[0];
    for (int i = 1; i < kRowThreads; ++i) {
      high = of_threads[i] > high ? of_threads[i] : high;
    }
    return high;
  }
};

enum class Gate { kSilu, kGelu };

// out = act(gate) * up.
struct GateTask {
  const float* gate;
  const float* up;
  Gate kind;
  int64_t n_numbers;
  Output out;

  NARROW_ROW_FUNCTION int64_t n() const { return n_numbers; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const float g = gate[i];
    float act;
    if (kind == Gate::kSilu) {
      act = g / (1 + expf(-g));
    } else {
      const float z = 0.797884561f * (g + 0.044715f * g * g * g);
      act = 0.5f * g * (1 + tanhf(z));
    }
    Put(out, i, act * up[i]);
  }
};

// Rotates the first 2 * n_pairs numbers of every head of every token by the
// token's angles: pairs (i, i + n_pairs), or (2i, 2i + 1).
struct RotateTask {
  float* x;              // token t, head h at x + t * stride + h * head_dim
  const float* cosines;  // [n_tokens, n_pairs]
  const float* sines;
  int64_t n_tokens;
  int64_t n_heads;
  int64_t head_dim;
  int64_t stride;
  int64_t n_pairs;
  bool halves;

  NARROW_ROW_FUNCTION int64_t n() const { return n_tokens * n_heads * n_pairs; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    const int64_t pair = i % n_pairs;
    const int64_t head = i / n_pairs % n_heads;
    const int64_t token = i / n_pairs / n_heads;
    const float c = cosines[token * n_pairs + pair];
    const float s = sines[token * n_pairs + pair];
    float* at = x + token * stride + head * head_dim;
    float* first = at + (halves ? pair : 2 * pair);
    float* second = first + (halves ? n_pairs : 1);
    const float a = *first;
    const float b = *second;
    *first = a * c - b * s;
    *second = a * s + b * c;
  }
};

// y = y * keep + x * scale, and capped: cap * tanh(y / cap), if cap > 0.
struct MixTask {
  const float* x;
  float scale;
  float keep;
  float cap;
  int64_t n_numbers;
  float* y;

  NARROW_ROW_FUNCTION int64_t n() const { return n_numbers; }
  NARROW_ROW_FUNCTION void Run(int64_t i) const {
    float value = (keep != 0 ? y[i] * keep : 0) + x[i] * scale;
    if (cap > 0) {
      value = cap * tanhf(value / cap);
    }
    y[i] = value;
  }
};

}  // namespace row_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_DEVICE_ROW_THREADS_H_
