#include "converter/solvers/block_scales.h"

#include <algorithm>

#include "converter/solvers/solver_inputs.h"

namespace narrow {
namespace {

// A grid of nothing but 0, whose error is the weights' own energy.
constexpr RunGrid kZeroGrid = {RunGrid::Kind::kInteger, 0, 0, {}, {}, {}};

// How the blocks are shared out: about 16 thousand weights at once, whole
// sixteens of blocks.
struct Parts {
  Parts(const SolverProblem& problem, int64_t block_size)
      : block(block_size),
        n_weights(problem.n_rows * problem.n_cols),
        n_blocks((n_weights + block - 1) / block),
        blocks_at_once(kRunsAside * std::max<int64_t>(1, 1024 / block)),
        n_parts((n_blocks + blocks_at_once - 1) / blocks_at_once) {}

  int64_t First(int64_t part) const { return part * blocks_at_once; }
  int64_t End(int64_t part) const {
    return std::min((part + 1) * blocks_at_once, n_blocks);
  }
  int64_t Length(int64_t b) const {
    return std::min(block, n_weights - b * block);
  }

  const int64_t block;
  const int64_t n_weights;
  const int64_t n_blocks;
  const int64_t blocks_at_once;
  const int64_t n_parts;
};

struct Errors {
  double energy = 0;  // of the weights themselves
  double before = 0;  // under the first candidates
  double after = 0;

  void Add(const Errors& other) {
    energy += other.energy;
    before += other.before;
    after += other.after;
  }
};

// The blocks of one part.
class PartSearch {
 public:
  PartSearch(const SolverProblem& problem, const std::vector<float>& importance,
             const BlockSearch& search, const Parts& parts, float* scales)
      : problem_(problem),
        importance_(importance),
        search_(search),
        parts_(parts),
        kernels_(RunKernelsForCpu()),
        scales_(scales),
        x_(static_cast<size_t>(parts.block * kRunsAside)),
        weights_(importance.empty() ? 0 : x_.size()),
        candidates_(static_cast<size_t>(search.n_candidates * kRunsAside)),
        candidates_of_one_(static_cast<size_t>(search.n_candidates)) {}

  Errors Run(int64_t first, int64_t end) {
    Errors errors;
    for (int64_t b = first; b < end; b += kRunsAside) {
      int64_t n = std::min(kRunsAside, end - b);
      const bool has_short = parts_.Length(b + n - 1) < parts_.block;
      if (has_short) {
        --n;
      }
      if (n > 0) {
        errors.Add(RunAside(b, n));
      }
      if (has_short) {
        errors.Add(RunShort(b + n));
      }
    }
    return errors;
  }

 private:
  Errors RunAside(int64_t first, int64_t n) {
    const float* from = problem_.weights + first * parts_.block;
    kernels_.put_aside(from, parts_.block, n, parts_.block, x_.data());
    SpreadImportance(first, n);
    for (int64_t k = 0; k < n; ++k) {
      PutCandidates(kernels_.max_abs(from + k * parts_.block, parts_.block), k);
    }
    for (int64_t k = n; k < kRunsAside; ++k) {
      PutCandidates(1, k);
    }
    const float* weights = weights_.empty() ? nullptr : weights_.data();
    const int64_t block = parts_.block;
    float best[kRunsAside];
    float energy[kRunsAside];
    float before[kRunsAside];
    float after[kRunsAside];
    kernels_.choose_scales(kZeroGrid, x_.data(), weights, block,
                           candidates_.data(), 1, best, energy);
    kernels_.choose_scales(search_.grid, x_.data(), weights, block,
                           candidates_.data(), 1, best, before);
    std::copy(before, before + kRunsAside, after);
    if (search_.n_candidates > 1) {
      ChooseAmongOthers(weights, best, after);
    }
    if (search_.n_refits > 0) {
      kernels_.refit_scales(search_.grid, x_.data(), weights, block,
                            search_.n_refits, best, after);
    }
    std::copy(best, best + n, scales_ + first);
    Errors errors;
    for (int64_t k = 0; k < n; ++k) {
      errors.Add({double{energy[k]}, double{before[k]}, double{after[k]}});
    }
    return errors;
  }

  // All candidates but the first, which are in `best` with their errors.
  void ChooseAmongOthers(const float* weights, float* best, float* errors) {
    float others[kRunsAside];
    float their_errors[kRunsAside];
    kernels_.choose_scales(search_.grid, x_.data(), weights, parts_.block,
                           candidates_.data() + kRunsAside,
                           search_.n_candidates - 1, others, their_errors);
    for (int64_t k = 0; k < kRunsAside; ++k) {
      if (their_errors[k] < errors[k]) {
        best[k] = others[k];
        errors[k] = their_errors[k];
      }
    }
  }

  // By its own measure: short blocks are few.
  Errors RunShort(int64_t b) {
    const float* x = problem_.weights + b * parts_.block;
    const int64_t n = parts_.Length(b);
    search_.candidates(kernels_.max_abs(x, n), candidates_of_one_.data());
    scales_[b] = candidates_of_one_[0];
    const double error =
        kernels_.measure(search_.grid, x, nullptr, n, scales_[b]).error;
    return {kernels_.measure(kZeroGrid, x, nullptr, n, 1).error, error, error};
  }

  void PutCandidates(float top, int64_t k) {
    search_.candidates(top, candidates_of_one_.data());
    for (size_t c = 0; c < candidates_of_one_.size(); ++c) {
      candidates_[c * kRunsAside + static_cast<size_t>(k)] =
          candidates_of_one_[c];
    }
  }

  // Blocks may begin at any column and go on in the next row.
  void SpreadImportance(int64_t first, int64_t n) {
    if (importance_.empty()) {
      return;
    }
    for (int64_t k = 0; k < kRunsAside; ++k) {
      size_t col = static_cast<size_t>((first + (k < n ? k : 0)) *
                                       parts_.block % problem_.n_cols);
      for (int64_t i = 0; i < parts_.block; ++i) {
        weights_[static_cast<size_t>(i * kRunsAside + k)] = importance_[col];
        col = col + 1 == importance_.size() ? 0 : col + 1;
      }
    }
  }

  const SolverProblem& problem_;
  const std::vector<float>& importance_;
  const BlockSearch& search_;
  const Parts& parts_;
  const RunKernels& kernels_;
  float* scales_;
  std::vector<float> x_;
  std::vector<float> weights_;
  std::vector<float> candidates_;
  std::vector<float> candidates_of_one_;
};

}  // namespace

SolverReport ChooseBlockScales(const SolverProblem& problem,
                               const std::vector<float>& importance,
                               const BlockSearch& search,
                               std::vector<float>* scales) {
  const Parts parts(problem, search.block);
  scales->resize(static_cast<size_t>(parts.n_blocks));
  std::vector<Errors> errors(static_cast<size_t>(parts.n_parts));
  problem.pool->ParallelFor(parts.n_parts, [&](int64_t p) {
    PartSearch part(problem, importance, search, parts, scales->data());
    errors[static_cast<size_t>(p)] = part.Run(parts.First(p), parts.End(p));
  });
  Errors all;
  for (const Errors& part : errors) {
    all.Add(part);
  }
  SolverReport report;
  report.relative_error = Ratio(all.after, all.energy);
  report.relative_error_before = Ratio(all.before, all.energy);
  return report;
}

void RoundBlocks(const SolverProblem& problem, const RunGrid& grid,
                 int64_t block, const std::vector<float>& scales,
                 RunDivision division, uint8_t* codes) {
  const Parts parts(problem, block);
  const RunKernels& kernels = RunKernelsForCpu();
  problem.pool->ParallelFor(parts.n_parts, [&](int64_t p) {
    for (int64_t b = parts.First(p); b < parts.End(p); ++b) {
      const float scale = scales[static_cast<size_t>(b)];
      const bool divide =
          division == RunDivision::kDivide || parts.Length(b) < block;
      kernels.round(grid, problem.weights + b * block, parts.Length(b),
                    divide ? scale : 1.0f / scale,
                    divide ? RunDivision::kDivide : RunDivision::kMultiply,
                    codes + b * block);
    }
  });
}

}  // namespace narrow
