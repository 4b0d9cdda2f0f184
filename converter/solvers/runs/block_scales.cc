#include "converter/solvers/runs/block_scales.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"

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

  // Blocks that are not short, and parts that have any.
  int64_t NumWhole() const { return n_weights / block; }
  int64_t NumPartsOfWhole() const {
    return (NumWhole() + blocks_at_once - 1) / blocks_at_once;
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
        candidates_(static_cast<size_t>(search.candidates.n * kRunsAside)) {}

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
    if (search_.candidates.n > 1) {
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
                           search_.candidates.n - 1, others, their_errors);
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
    const RunStart start = StartRun(search_.candidates, kernels_.max_abs(x, n));
    scales_[b] = CandidateAt(search_.candidates, start, 0);
    const double error =
        kernels_.measure(search_.grid, x, nullptr, n, scales_[b]).error;
    return {kernels_.measure(kZeroGrid, x, nullptr, n, 1).error, error, error};
  }

  void PutCandidates(float top, int64_t k) {
    const RunStart start = StartRun(search_.candidates, top);
    for (int c = 0; c < search_.candidates.n; ++c) {
      candidates_[static_cast<size_t>(c * kRunsAside + k)] =
          CandidateAt(search_.candidates, start, c);
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
};

// Of whole blocks the device's, of a short one at the end the processor's.
absl::Status ChooseOnDevice(PartSearch* last, const Parts& parts,
                            DeviceBlocks* device, float* scales,
                            std::vector<Errors>* errors) {
  std::vector<run_threads::PartErrors> sums(
      static_cast<size_t>(parts.NumPartsOfWhole()));
  RETURN_IF_ERROR(device->Choose(scales, absl::MakeSpan(sums)));
  for (size_t p = 0; p < sums.size(); ++p) {
    (*errors)[p] = {sums[p].energy, sums[p].before, sums[p].after};
  }
  if (parts.NumWhole() < parts.n_blocks) {
    errors->back().Add(last->Run(parts.NumWhole(), parts.n_blocks));
  }
  return absl::OkStatus();
}

}  // namespace

BlockScales::BlockScales(const SolverProblem& problem,
                         const std::vector<float>& importance,
                         const BlockSearch& search)
    : problem_(problem), importance_(importance), search_(search) {}

absl::Status BlockScales::OpenDevice(SolverReport* report) {
  const Parts parts(problem_, search_.block);
  BlockProblem blocks;
  blocks.name = problem_.name;
  blocks.weights = problem_.weights;
  blocks.n_blocks = parts.NumWhole();
  blocks.block = search_.block;
  blocks.n_cols = problem_.n_cols;
  blocks.importance = importance_;
  blocks.grid = search_.grid;
  blocks.candidates = search_.candidates;
  blocks.n_refits = search_.n_refits;
  blocks.part_blocks = parts.blocks_at_once;
  std::string note;
  auto on_device = DeviceBlocks::New(
      *problem_.device, blocks, [&](int64_t n, absl::string_view why) {
        note = absl::StrCat("solved ", n, " weights at once: ", why);
      });
  if (on_device.ok()) {
    on_device_ = *std::move(on_device);
  } else if (absl::IsResourceExhausted(on_device.status())) {
    note = SolvedOnProcessor(on_device.status());
  } else {
    return on_device.status();
  }
  if (!note.empty()) {
    report->notes.push_back(std::move(note));
  }
  return absl::OkStatus();
}

absl::StatusOr<SolverReport> BlockScales::Choose(std::vector<float>* scales) {
  const Parts parts(problem_, search_.block);
  scales->resize(static_cast<size_t>(parts.n_blocks));
  std::vector<Errors> errors(static_cast<size_t>(parts.n_parts));
  SolverReport report;
  if (problem_.device != nullptr) {
    RETURN_IF_ERROR(OpenDevice(&report));
  }
  if (on_device_ != nullptr) {
    PartSearch last(problem_, importance_, search_, parts, scales->data());
    RETURN_IF_ERROR(ChooseOnDevice(&last, parts, on_device_.get(),
                                   scales->data(), &errors));
  } else {
    problem_.pool->ParallelFor(parts.n_parts, [&](int64_t p) {
      PartSearch part(problem_, importance_, search_, parts, scales->data());
      errors[static_cast<size_t>(p)] = part.Run(parts.First(p), parts.End(p));
    });
  }
  Errors all;
  for (const Errors& part : errors) {
    all.Add(part);
  }
  report.relative_error = Ratio(all.after, all.energy);
  report.relative_error_before = Ratio(all.before, all.energy);
  return report;
}

absl::Status BlockScales::Round(const std::vector<float>& scales,
                                RunDivision division, uint8_t* codes) {
  const int64_t block = search_.block;
  const Parts parts(problem_, block);
  const RunKernels& kernels = RunKernelsForCpu();
  const auto round = [&](int64_t b) {
    const float scale = scales[static_cast<size_t>(b)];
    const bool divides =
        division == RunDivision::kDivide || parts.Length(b) < block;
    kernels.round(search_.grid, problem_.weights + b * block, parts.Length(b),
                  divides ? scale : 1.0f / scale,
                  divides ? RunDivision::kDivide : RunDivision::kMultiply,
                  codes + b * block);
  };
  if (on_device_ == nullptr) {
    problem_.pool->ParallelFor(parts.n_parts, [&](int64_t p) {
      for (int64_t b = parts.First(p); b < parts.End(p); ++b) {
        round(b);
      }
    });
    return absl::OkStatus();
  }
  if (parts.NumWhole() < parts.n_blocks) {
    round(parts.NumWhole());
  }
  return on_device_->Round(scales.data(), division, codes);
}

}  // namespace narrow
