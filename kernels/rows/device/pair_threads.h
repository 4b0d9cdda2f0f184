// How far one model's next-token probabilities are from another's, of logits
// that come slice by slice and never leave the device:
//
//   KL = sum over tokens of p (log p - log q)
//
// p and q the softmaxes of the two models' logits, in nats. Both softmaxes and
// the sum are taken in one pass: what is known of a row so far is relative to
// the largest logits so far, and fades when larger ones come. Exponentials and
// sums in double, so that nothing is lost when all are put together.
//
// A row has kPairThreads threads and phases, as in kernels/quant/team: largest
// logits, sums relative to them, each by threads and then over them. The
// definition is DivergenceOfLogits of validate/measures, in double.

#ifndef NARROW_KERNELS_ROWS_DEVICE_PAIR_THREADS_H_
#define NARROW_KERNELS_ROWS_DEVICE_PAIR_THREADS_H_

#include <cmath>
#include <cstdint>

#include "formats/base/elementary_exp.h"

#if defined(__CUDACC__)
#define NARROW_PAIR_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_PAIR_FUNCTION inline
#endif

namespace narrow {
namespace pair_threads {

inline constexpr int kPairThreads = 256;
inline constexpr int kFolds = 16;
static_assert(kFolds * kFolds == kPairThreads, "two equal steps");

// Of some tokens of a row.
struct PairScore {
  float p_top = -INFINITY;  // the largest logits
  float q_top = -INFINITY;
  double p_sum = 0;  // of exp(p - p_top)
  double q_sum = 0;
  double cross = 0;  // sum of exp(p - p_top) * (p - q)

  NARROW_PAIR_FUNCTION void Raise(float p, float q) {
    if (p > p_top) {
      const double fade = ElementaryExp(static_cast<double>(p_top) - p);
      p_sum *= fade;
      cross *= fade;
      p_top = p;
    }
    if (q > q_top) {
      q_sum *= ElementaryExp(static_cast<double>(q_top) - q);
      q_top = q;
    }
  }
  // A token's logits. REQUIRES: Raise saw them.
  NARROW_PAIR_FUNCTION void Add(float p, float q) {
    const double weight = Weight(p, p_top);
    p_sum += weight;
    q_sum += Weight(q, q_top);
    // What has no probability adds nothing, whatever the other model says.
    if (weight != 0) {
      cross += weight * (static_cast<double>(p) - static_cast<double>(q));
    }
  }
  NARROW_PAIR_FUNCTION static double Weight(float logit, float top) {
    // Though all before may have been -infinity, too.
    return logit == -INFINITY ? 0
                              : ElementaryExp(static_cast<double>(logit) - top);
  }
  // Sums of other tokens relative to the same largest logits.
  NARROW_PAIR_FUNCTION void AddSums(const PairScore& other) {
    p_sum += other.p_sum;
    q_sum += other.q_sum;
    cross += other.cross;
  }
  // The divergence over all tokens seen; tiny negative results of rounding
  // become 0.
  double Divergence() const {
    const double divergence =
        cross / p_sum - p_top - std::log(p_sum) + q_top + std::log(q_sum);
    return divergence < 0 ? 0 : divergence;  // keeps a NaN
  }
};

struct PairSums {
  PairScore of_threads[kPairThreads];
  PairScore of_folds[kFolds];
};

// Takes the logits of n tokens into the rows' scores. Plain data for a kernel.
struct PairTask {
  const float* p;  // [n_rows, p_stride], the reference's
  const float* q;
  int64_t p_stride;
  int64_t q_stride;
  int64_t n_rows;
  int64_t n;
  PairScore* scores;  // [n_rows]

  static constexpr int kPhases = 5;

  template <int kPhase>
  NARROW_PAIR_FUNCTION void Run(int64_t row, int thread, PairSums* sums) const {
    const float* its_p = p + row * p_stride;
    const float* its_q = q + row * q_stride;
    if constexpr (kPhase == 0) {
      PairScore tops;
      for (int64_t i = thread; i < n; i += kPairThreads) {
        tops.p_top = its_p[i] > tops.p_top ? its_p[i] : tops.p_top;
        tops.q_top = its_q[i] > tops.q_top ? its_q[i] : tops.q_top;
      }
      sums->of_threads[thread] = tops;
    } else if constexpr (kPhase == 1) {
      FoldTops(row, thread, sums);
    } else if constexpr (kPhase == 2) {
      PairScore own = Tops(*sums);
      for (int64_t i = thread; i < n; i += kPairThreads) {
        own.Add(its_p[i], its_q[i]);
      }
      sums->of_threads[thread] = own;
    } else if constexpr (kPhase == 3) {
      if (thread < kFolds) {
        PairScore fold = sums->of_threads[thread * kFolds];
        for (int i = 1; i < kFolds; ++i) {
          fold.AddSums(sums->of_threads[thread * kFolds + i]);
        }
        sums->of_folds[thread] = fold;
      }
    } else if (thread == 0) {
      const PairScore tops = sums->of_folds[0];
      scores[row].Raise(tops.p_top, tops.q_top);
      for (int i = 0; i < kFolds; ++i) {
        scores[row].AddSums(sums->of_folds[i]);
      }
    }
  }

 private:
  // The largest of a sixteenth, and of the row so far.
  NARROW_PAIR_FUNCTION void FoldTops(int64_t row, int thread,
                                     PairSums* sums) const {
    if (thread >= kFolds) {
      return;
    }
    PairScore fold;
    fold.p_top = scores[row].p_top;
    fold.q_top = scores[row].q_top;
    for (int i = 0; i < kFolds; ++i) {
      const PairScore& of_thread = sums->of_threads[thread * kFolds + i];
      fold.p_top = of_thread.p_top > fold.p_top ? of_thread.p_top : fold.p_top;
      fold.q_top = of_thread.q_top > fold.q_top ? of_thread.q_top : fold.q_top;
    }
    sums->of_folds[thread] = fold;
  }

  NARROW_PAIR_FUNCTION static PairScore Tops(const PairSums& sums) {
    PairScore tops;
    for (int i = 0; i < kFolds; ++i) {
      const PairScore& fold = sums.of_folds[i];
      tops.p_top = fold.p_top > tops.p_top ? fold.p_top : tops.p_top;
      tops.q_top = fold.q_top > tops.q_top ? fold.q_top : tops.q_top;
    }
    return tops;
  }
};

}  // namespace pair_threads
}  // namespace narrow

#endif  // NARROW_KERNELS_ROWS_DEVICE_PAIR_THREADS_H_
