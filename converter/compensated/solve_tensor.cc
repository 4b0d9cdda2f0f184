// One matrix of blocks under the second moments of its input.
//
// The steps, each measured by tr(E H E^T), E the targets less what the blocks
// decode to, row by row:
//   1. The baseline: the codec's own encoder, importance the mean squares.
//   2. Targets: the weights, moved to cancel the drift of a model quantized so
//      far (converter/solvers/drift.h).
//   3. Error feedback with fields found on the way (kernels/compensated/
//      feed_rows.cc, where the idea is explained).
//   4. Rows where the baseline is better than that begin with it; refits and
//      descent (descend_rows.cc).
//   5. Rows where the result is not better than the baseline keep the latter's
//      bytes. Better means: with H damped, as it was optimised, and no worse
//      with H itself.
//
// Where second moments of the outputs' gradients are given, couple_rows.h
// follows, under its own form.
//
// Measured: three of tiny-llama's blocks, Gram matrices of 49152 tokens of one
// text; output error over the plain encoding's, geometric mean, on that text
// and on another; CPU time a weight, matrices of 256 and 768 columns, one
// thread of a shared Zen 5:
//
//   type      same   other   ns     type      same   other   ns
//   q4_0      0.396  0.440  106     iq4_nl    0.394  0.438  151
//   q4_1      0.409  0.453  122     iq4_xs    0.414  0.458  222
//   q5_0      0.399  0.444  114     iq3_s     0.374  0.413  543
//   q5_1      0.411  0.455  121     iq3_xxs   0.410  0.453  468
//   q8_0      0.352  0.392  110     iq2_s     0.418  0.459  535
//   q2_k      0.437  0.484  190     iq2_xs    0.421  0.464  492
//   q3_k      0.415  0.459  193     iq2_xxs   0.419  0.462  433
//   q4_k      0.448  0.493  193     iq1_s     0.443  0.485  744
//   q5_k      0.442  0.486  180     iq1_m     0.457  0.500  767
//   q6_k      0.436  0.481  181     mxfp4     0.318  0.358  110
//   tq2_0     0.081  0.091  153     nvfp4     0.281  0.314  120
//
// With 2048 columns q4_k takes 610 ns, iq2_s 980. What each step is worth,
// the same error for q4_0 and q2_k on the other text: feedback alone 0.501,
// 0.639; one round of descent after it 0.468, 0.546; three 0.452, 0.509; six
// 0.449, 0.498; three, and two within each block before its errors are fed on
// 0.441, 0.498; pivots replaced by mean squares in the fit 0.442, 0.500;
// damping 0.03 for 0.01 0.440, 0.491; with what feedback alone adds (see
// kFeedDamping) q2_k 0.484. Then, at damping 0.01, two column orders 0.432,
// 0.482 (1.4 times the time), four 0.428, 0.471 (3 times).
//
// When things go wrong. H + damping I is factored in double. A pivot that is
// not positive (a Gram matrix of fewer rows than columns, damping 0) raises
// the damping by a hundredth of the mean diagonal, then twice that and so on;
// a note says so. Where no input was ever seen the baseline stays. A Gram
// matrix that holds no numbers is DataLoss.
//
// Tested by solve_tensor_test.cc.

#include "converter/compensated/solve_tensor.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "converter/compensated/couple_rows.h"
#include "converter/solvers/drift.h"
#include "converter/solvers/solver.h"
#include "converter/solvers/solver_inputs.h"
#include "formats/base/status.h"
#include "formats/quant_type.h"
#include "kernels/compensated/compensated.h"
#include "kernels/linalg/cholesky.h"

namespace narrow {
namespace {

// Dampings tried before giving up: the last is 2^11 steps.
constexpr int kMaxTries = 12;
constexpr double kDampingStep = 0.01;
// Added for error feedback where blocks have 256 weights: fields are fitted
// when a block's first column comes, so the less the columns behind it are
// moved, the better they fit. Measured on tiny-llama, error on another text
// with nothing added, 0.1, 0.2: Q2_K 1, 0.985, 0.982; Q4_K 1, 0.989, 0.986;
// IQ2_S 1, 0.989, 0.988; Q4_0, whose blocks are of 32, 1, 1.004, 1.013.
constexpr double kFeedDamping = 0.1;
constexpr int kLargeBlock = 256;
// No column counts less than this share of the mean for the encoder.
constexpr double kLeastImportance = 1e-6;

absl::Status CheckProblem(const CompensatedProblem& problem) {
  if (!SupportsCompensation(*problem.codec)) {
    return absl::UnimplementedError(absl::StrCat(
        "tensor ", QuotedName(problem.name), ": ",
        TypeName(problem.codec->type), " has no blocks to compensate in"));
  }
  if (problem.n_cols % problem.codec->block != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor ", QuotedName(problem.name), " has ", problem.n_cols,
        " columns, no multiple of ", problem.codec->block, ", a block of ",
        TypeName(problem.codec->type)));
  }
  const CompensatedOptions& options = *problem.options;
  if (!(options.damping >= 0) || options.rounds < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("damping ", options.damping, " and rounds ",
                     options.rounds, " must be 0 or more"));
  }
  SolverProblem inputs;
  inputs.name = problem.name;
  inputs.weights = problem.weights;
  inputs.n_rows = problem.n_rows;
  inputs.n_cols = problem.n_cols;
  inputs.pool = problem.pool;
  RETURN_IF_ERROR(CheckWeights(inputs));
  return CheckGram(problem.name, problem.n_cols, problem.stats);
}

// A problem's Gram matrix with what is added to its diagonal.
struct Metric {
  const double* gram = nullptr;
  int64_t n = 0;
  double mean = 0;          // of the diagonal
  double damping = 0;       // times the mean
  double feed_damping = 0;  // the same, added for error feedback

  double At(int64_t i, int64_t j) const {
    return gram[i * n + j] + (i == j ? damping * mean : 0);
  }
};

Metric MakeMetric(const CompensatedProblem& problem) {
  Metric metric;
  metric.gram = problem.stats->gram.data();
  metric.n = problem.n_cols;
  metric.damping = problem.options->damping;
  metric.feed_damping = problem.codec->block >= kLargeBlock ? kFeedDamping : 0;
  double sum = 0;
  for (int64_t i = 0; i < metric.n; ++i) {
    sum += metric.gram[i * metric.n + i];
  }
  metric.mean = sum / static_cast<double>(metric.n);
  return metric;
}

// The encoder's bytes, rows shared out.
std::vector<uint8_t> EncodePlainly(const CompensatedProblem& problem,
                                   const Metric& metric) {
  const int64_t n = problem.n_cols;
  std::vector<float> squares;
  const float* importance = problem.importance;
  if (importance == nullptr && metric.mean > 0) {
    for (int64_t i = 0; i < n; ++i) {
      squares.push_back(static_cast<float>(
          std::max(metric.gram[i * n + i] / metric.mean, kLeastImportance)));
    }
    importance = squares.data();
  }
  if (importance == nullptr && problem.codec->requires_importance) {
    squares.assign(static_cast<size_t>(n), 1.0f);
    importance = squares.data();
  }
  const int64_t row_bytes =
      n / problem.codec->block * Geometry(problem.codec->type).block_bytes;
  std::vector<uint8_t> bytes(static_cast<size_t>(problem.n_rows * row_bytes));
  constexpr int64_t kRows = 16;
  problem.pool->ParallelFor(
      (problem.n_rows + kRows - 1) / kRows, [&](int64_t part) {
        const int64_t first = part * kRows;
        problem.codec->EncodeRows(
            problem.weights + first * n,
            std::min(kRows, problem.n_rows - first), n,
            problem.codec->uses_importance ? importance : nullptr,
            bytes.data() + first * row_bytes);
      });
  return bytes;
}

// R of H, its rows and columns in an order (empty: the natural one).
FactorResult FactorInOrder(const CompensatedProblem& problem,
                           const Metric& metric,
                           const std::vector<int32_t>& order,
                           std::vector<double>* h) {
  const int64_t n = metric.n;
  h->resize(static_cast<size_t>(n * n));
  problem.pool->ParallelFor(n, [&](int64_t i) {
    for (int64_t j = i; j < n; ++j) {
      (*h)[static_cast<size_t>(i * n + j)] =
          order.empty() ? metric.At(i, j)
                        : metric.At(order[static_cast<size_t>(i)],
                                    order[static_cast<size_t>(j)]);
    }
    (*h)[static_cast<size_t>(i * n + i)] += metric.feed_damping * metric.mean;
  });
  return FactorUpper(problem.pool, n, h->data());
}

FeedFactor MakeFactor(const CompensatedProblem& problem, const Metric& metric,
                      const std::vector<double>& r,
                      std::vector<int32_t> order) {
  // Inputs that have nothing in common and equal sizes have pivots 1.
  return MakeFeedFactor(
      problem.pool, *problem.codec, metric.n, r.data(),
      metric.mean * (1 + metric.damping + metric.feed_damping),
      std::move(order));
}

// Raises metric->damping until H has a factor.
absl::StatusOr<FeedFactor> FactorMetric(const CompensatedProblem& problem,
                                        Metric* metric,
                                        std::vector<std::string>* notes) {
  const double asked = metric->damping;
  std::vector<double> h;
  FactorResult result;
  double step = kDampingStep;
  for (int tries = 0; tries < kMaxTries; ++tries, step *= 2) {
    result = FactorInOrder(problem, *metric, {}, &h);
    if (result.failed_at < 0) {
      break;
    }
    metric->damping += step;
  }
  if (result.failed_at >= 0) {
    return absl::DataLossError(
        absl::StrCat("the Gram matrix of tensor ", QuotedName(problem.name),
                     " is not positive even with ", metric->damping,
                     " of its mean diagonal added; pivot ", result.failed_at,
                     " is ", result.failed_pivot));
  }
  if (metric->damping != asked) {
    notes->push_back(absl::StrCat(
        "damping raised from ", asked, " to ", metric->damping,
        ", as the Gram matrix is not positive definite in float64"));
  }
  return MakeFactor(problem, *metric, h, {});
}

// Column order number `number`, 1 and up, whole units together: the largest
// mean squares first, backwards, then shuffles.
std::vector<int32_t> MakeOrder(const CompensatedProblem& problem,
                               const Metric& metric, int number) {
  const int64_t unit = problem.codec->unit;
  std::vector<int64_t> units(static_cast<size_t>(metric.n / unit));
  std::iota(units.begin(), units.end(), int64_t{0});
  if (number == 1) {
    std::vector<double> squares(units.size(), 0.0);
    for (int64_t i = 0; i < metric.n; ++i) {
      squares[static_cast<size_t>(i / unit)] += metric.gram[i * metric.n + i];
    }
    std::stable_sort(units.begin(), units.end(), [&](int64_t a, int64_t b) {
      return squares[static_cast<size_t>(a)] > squares[static_cast<size_t>(b)];
    });
  } else if (number == 2) {
    std::reverse(units.begin(), units.end());
  } else {
    uint64_t state = static_cast<uint64_t>(number);
    for (size_t i = units.size() - 1; i > 0; --i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::swap(units[i], units[(state >> 33) % (i + 1)]);
    }
  }
  std::vector<int32_t> order;
  for (const int64_t place : units) {
    for (int64_t i = 0; i < unit; ++i) {
      order.push_back(static_cast<int32_t>(place * unit + i));
    }
  }
  return order;
}

// H / mean diagonal in float32: sums of large activations stay in range.
std::vector<float> GramInFloat(const CompensatedProblem& problem,
                               const Metric& metric) {
  const int64_t n = metric.n;
  std::vector<float> gram(static_cast<size_t>(n * n));
  problem.pool->ParallelFor(n, [&](int64_t i) {
    for (int64_t j = 0; j < n; ++j) {
      gram[static_cast<size_t>(i * n + j)] =
          static_cast<float>(metric.At(i, j) / metric.mean);
    }
  });
  return gram;
}

// A matrix on its way.
class Solve {
 public:
  Solve(const CompensatedProblem& problem, const Metric& metric,
        std::vector<float> targets, CompensatedResult* result)
      : p_(problem),
        metric_(metric),
        targets_(std::move(targets)),
        result_(*result),
        plain_(result->bytes),
        row_bytes_(result->bytes.size() / static_cast<size_t>(problem.n_rows)) {
  }

  absl::Status Run() {
    std::vector<uint8_t>& bytes = result_.bytes;
    {
      ASSIGN_OR_RETURN(const FeedFactor factor,
                       FactorMetric(p_, &metric_, &result_.notes));
      FeedOptions feed;
      feed.refit = p_.options->refit;
      feed.sweep = p_.options->sweep;
      if (p_.options->rounds == 0) {
        feed.block_rounds = 0;
      }
      FeedRows(*p_.codec, targets_.data(), p_.n_rows, factor, feed,
               bytes.data(), p_.pool);
    }
    gram_ = GramInFloat(p_, metric_);
    const std::vector<RowError> plain = MeasurePlain();
    TakePlainWhereBetter(plain, Measure(bytes.data()), /*strictly=*/false);
    Descend(&bytes);
    for (int order = 1; order < p_.options->n_orders; ++order) {
      TryOrder(order);
    }
    std::vector<RowError> errors =
        TakePlainWhereBetter(plain, Measure(bytes.data()), /*strictly=*/true);
    if (p_.output_moments != nullptr && CoupleOutputs()) {
      errors = Measure(bytes.data());
    }
    Report(plain, errors);
    return absl::OkStatus();
  }

 private:
  std::vector<RowError> Measure(const uint8_t* bytes) const {
    return MeasureRows(*p_.codec, targets_.data(), p_.n_rows, p_.n_cols,
                       gram_.data(), bytes, p_.pool);
  }

  // The baseline's errors; infinite where its encoder overflowed.
  std::vector<RowError> MeasurePlain() const {
    std::vector<RowError> errors = Measure(plain_.data());
    for (size_t row = 0; row < errors.size(); ++row) {
      if (p_.codec->FirstBadBlock(plain_.data() + row * row_bytes_,
                                  p_.n_cols / p_.codec->block) >= 0) {
        errors[row].gram = INFINITY;
      }
    }
    return errors;
  }

  // Without what damping adds.
  double Undamped(const RowError& error) const {
    return std::max(error.gram - metric_.damping * error.square, 0.0);
  }

  void Descend(std::vector<uint8_t>* bytes) const {
    DescendOptions descend;
    descend.rounds = p_.options->rounds;
    descend.refit = p_.options->refit;
    descend.sweep = p_.options->sweep;
    if (descend.rounds > 0 && (descend.refit || descend.sweep)) {
      DescendRows(*p_.codec, targets_.data(), p_.n_rows, p_.n_cols,
                  gram_.data(), descend, bytes->data(), p_.pool);
    }
  }

  // Whether anything was done.
  bool CoupleOutputs() {
    double trace = 0;
    for (int64_t i = 0; i < p_.n_rows * p_.n_rows; ++i) {
      trace += i % (p_.n_rows + 1) == 0 ? p_.output_moments[i] : 0;
      if (!std::isfinite(p_.output_moments[i])) {
        result_.notes.push_back("the outputs' moments hold no numbers");
        return false;
      }
    }
    if (!(trace > 0)) {
      return false;
    }
    CoupleProblem couple;
    couple.codec = p_.codec;
    couple.targets = targets_.data();
    couple.n_rows = p_.n_rows;
    couple.n_cols = p_.n_cols;
    couple.gram = gram_.data();
    couple.moments = p_.output_moments;
    couple.descend.refit = p_.options->refit;
    couple.descend.sweep = p_.options->sweep;
    couple.pool = p_.pool;
    const CoupleResult coupled = CoupleRows(couple, result_.bytes.data());
    result_.accepted |= coupled.n_kept > 0;
    result_.notes.push_back(absl::StrCat(
        "coupled outputs: ", coupled.n_kept, " of ", coupled.n_batches,
        " batches kept, the form fell to ",
        coupled.before > 0 ? coupled.after / coupled.before : 1.0, " of it"));
    return coupled.n_kept > 0;
  }

  // Codes found anew under the present fields, columns in another order; rows
  // that are better then are taken.
  void TryOrder(int number) {
    std::vector<uint8_t> bytes = result_.bytes;
    {
      std::vector<int32_t> order = MakeOrder(p_, metric_, number);
      std::vector<double> r;
      if (FactorInOrder(p_, metric_, order, &r).failed_at >= 0) {
        return;
      }
      const FeedFactor factor = MakeFactor(p_, metric_, r, std::move(order));
      RefeedRows(*p_.codec, targets_.data(), p_.n_rows, factor, bytes.data(),
                 p_.pool);
    }
    Descend(&bytes);
    const std::vector<RowError> was = Measure(result_.bytes.data());
    const std::vector<RowError> is = Measure(bytes.data());
    for (size_t row = 0; row < is.size(); ++row) {
      if (is[row].gram < was[row].gram) {
        std::memcpy(result_.bytes.data() + row * row_bytes_,
                    bytes.data() + row * row_bytes_, row_bytes_);
      }
    }
  }

  // Rows of the baseline in the place of worse ones; the errors as they are
  // then.
  std::vector<RowError> TakePlainWhereBetter(const std::vector<RowError>& plain,
                                             std::vector<RowError> errors,
                                             bool strictly) {
    int64_t n_plain = 0;
    for (size_t row = 0; row < errors.size(); ++row) {
      const bool better =
          errors[row].gram < plain[row].gram &&
          (!strictly || Undamped(errors[row]) <= Undamped(plain[row]));
      if (!better) {
        std::memcpy(result_.bytes.data() + row * row_bytes_,
                    plain_.data() + row * row_bytes_, row_bytes_);
        errors[row] = plain[row];
        ++n_plain;
      }
    }
    if (strictly) {
      result_.accepted = n_plain < p_.n_rows;
      if (n_plain > 0) {
        result_.notes.push_back(
            absl::StrCat(n_plain, " of ", p_.n_rows,
                         " rows keep the plain encoding, which is no worse"));
      }
    }
    return errors;
  }

  void Report(const std::vector<RowError>& plain,
              const std::vector<RowError>& errors) {
    double before = 0;
    double after = 0;
    double energy = 0;
    const std::vector<RowError> whole = Measure(nullptr);
    for (size_t row = 0; row < errors.size(); ++row) {
      before += Undamped(plain[row]);
      after += Undamped(errors[row]);
      energy += Undamped(whole[row]);
    }
    result_.relative_error = energy > 0 ? after / energy : 0;
    result_.relative_error_plain = energy > 0 ? before / energy : 0;
  }

  const CompensatedProblem& p_;
  Metric metric_;
  const std::vector<float> targets_;
  CompensatedResult& result_;
  const std::vector<uint8_t> plain_;
  const size_t row_bytes_;
  std::vector<float> gram_;
};

void NoteWhatIsOdd(const CompensatedProblem& problem, const Metric& metric,
                   std::vector<std::string>* notes) {
  int64_t n_dead = 0;
  for (int64_t i = 0; i < metric.n; ++i) {
    n_dead += metric.gram[i * metric.n + i] == 0;
  }
  if (n_dead > 0) {
    notes->push_back(absl::StrCat(n_dead, " of ", problem.n_cols,
                                  " columns never had an input"));
  }
  if (problem.stats->n_rows < problem.n_cols && problem.stats->shrinkage == 0) {
    notes->push_back(absl::StrCat("only ", problem.stats->n_rows,
                                  " rows were seen for ", problem.n_cols,
                                  " columns"));
  }
}

}  // namespace

absl::StatusOr<CompensatedResult> SolveCompensated(
    const CompensatedProblem& problem) {
  RETURN_IF_ERROR(CheckProblem(problem));
  CompensatedResult result;
  const Metric metric = MakeMetric(problem);
  result.bytes = EncodePlainly(problem, metric);
  if (problem.n_rows == 0) {
    return result;
  }
  if (!(metric.mean > 0)) {
    result.notes.push_back("no input was seen: the plain encoding is kept");
    return result;
  }
  NoteWhatIsOdd(problem, metric, &result.notes);
  std::vector<float> targets(problem.weights,
                             problem.weights + problem.n_rows * problem.n_cols);
  DriftProblem drift = {problem.name,   problem.weights, problem.n_rows,
                        problem.n_cols, problem.stats,   problem.pool};
  drift.drift = problem.options->drift;
  drift.residual = problem.options->residual;
  drift.damping = problem.options->drift_damping;
  if (WantsCorrection(drift)) {
    ASSIGN_OR_RETURN(std::string note, CorrectDrift(drift, &targets));
    result.notes.push_back(std::move(note));
  }
  RETURN_IF_ERROR(Solve(problem, metric, std::move(targets), &result).Run());
  return result;
}

}  // namespace narrow
