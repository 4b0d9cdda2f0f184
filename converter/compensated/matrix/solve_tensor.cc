// One matrix of blocks under the second moments of its input.
//
// The steps, each measured by tr(E H E^T), E the targets less what the blocks
// decode to, row by row:
//   1. The baseline: the codec's own encoder, importance the mean squares.
//   2. Targets: the weights, moved to cancel the drift of a model quantized so
//      far (converter/solvers/metric/drift.h).
//   3. Error feedback with fields found on the way (kernels/feedback/feed.cc,
//      where the idea is explained).
//   4. Rows where the baseline is better than that begin with it; refits and
//      descent (kernels/feedback/descend.cc).
//   5. Rows where the result is not better than the baseline keep the latter's
//      bytes. Better means: with H damped, as it was optimised, and no worse
//      with H itself.
//
// Where second moments of the outputs' gradients are given, steps 3 and 4 are
// for some rows at a time, with targets by which they make up for rows before
// them, and what may not rise is one form of all rows (couple_rows.h).
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
// kFeedDamping in metric.cc) q2_k 0.484. Then, at damping 0.01, two column
// orders 0.432, 0.482 (1.4 times the time), four 0.428, 0.471 (3 times).
//
// When things go wrong. H + damping I is factored in double. A pivot that is
// not positive (a Gram matrix of fewer rows than columns, damping 0) raises
// the damping by a hundredth of the mean diagonal, then twice that and so on;
// a note says so. Where no input was ever seen the baseline stays. A Gram
// matrix that holds no numbers is DataLoss.
//
// Tested by solve_tensor_test.cc.

#include "converter/compensated/matrix/solve_tensor.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/compensated/matrix/check_problem.h"
#include "converter/compensated/matrix/factor_cache.h"
#include "converter/compensated/matrix/metric.h"
#include "converter/compensated/matrix/placed_rows.h"
#include "converter/compensated/matrix/plain_blocks.h"
#include "converter/solvers/metric/drift.h"
#include "formats/base/status.h"
#include "kernels/compensated/compensated.h"
#include "kernels/feedback/couple_rows.h"

namespace narrow {
namespace {

// A matrix on its way.
class MatrixSolve {
 public:
  MatrixSolve(const CompensatedProblem& problem, const Metric& metric,
              std::vector<float> targets, CompensatedResult* result)
      : p_(problem),
        metric_(metric),
        targets_(std::move(targets)),
        result_(*result),
        plain_(result->plain_bytes),
        row_bytes_(plain_.size() / static_cast<size_t>(problem.n_rows)) {}

  absl::Status Run() {
    RETURN_IF_ERROR(TakeFactor());
    gram_ = GramInFloat(p_, metric_);
    rows_ = std::make_unique<PlacedRows>(p_, gram_.data());
    natural_ = rows_->Place({factored_, &factored_->factor});
    result_.bytes = plain_;
    const std::vector<RowError> plain = MeasurePlain();
    const bool coupled = HasMoments();
    if (coupled) {
      CoupleOutputs();
    } else {
      SolveRows(targets_.data(), p_.n_rows, result_.bytes.data());
    }
    std::vector<RowError> errors =
        Measure(targets_.data(), p_.n_rows, result_.bytes.data());
    if (!coupled) {
      errors = KeepPlainWhereNoWorse(plain, std::move(errors));
    }
    Report(plain, errors);
    const std::vector<std::string> notes = rows_->notes();
    result_.notes.insert(result_.notes.end(), notes.begin(), notes.end());
    return rows_->status();
  }

 private:
  // The metric is damped as far as it had to be.
  absl::Status TakeFactor() {
    ASSIGN_OR_RETURN(factored_, p_.factors != nullptr ? p_.factors->Get(p_)
                                                      : FactorProblem(p_));
    metric_.damping = factored_->damping;
    result_.notes.insert(result_.notes.end(), factored_->notes.begin(),
                         factored_->notes.end());
    return absl::OkStatus();
  }

  std::optional<PlacedFactor> FactorOfOrder(int number) const {
    std::optional<FeedFactor> factor =
        FactorInOrder(p_, metric_, MakeOrder(p_, metric_, number));
    if (!factor.has_value()) {
      return std::nullopt;
    }
    return rows_->Place(std::make_shared<const FeedFactor>(*std::move(factor)));
  }

  std::vector<RowError> Measure(const float* targets, int64_t n_rows,
                                const uint8_t* bytes) const {
    return rows_->Measure(targets, n_rows, bytes);
  }

  // The baseline's errors; infinite where its encoder overflowed.
  std::vector<RowError> MeasurePlain() const {
    std::vector<RowError> errors =
        Measure(targets_.data(), p_.n_rows, plain_.data());
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

  // Rows by themselves: feedback, and descent from there, or from what `bytes`
  // are where that is better.
  void SolveRows(const float* targets, int64_t n_rows, uint8_t* bytes) const {
    FeedOptions feed;
    feed.refit = p_.options->refit;
    feed.sweep = p_.options->sweep;
    if (p_.options->rounds == 0) {
      feed.block_rounds = 0;
    }
    std::vector<uint8_t> fed(static_cast<size_t>(n_rows) * row_bytes_);
    rows_->Feed(targets, n_rows, natural_, feed, fed.data());
    TakeBetter(targets, n_rows, fed, bytes);
    Descend(targets, n_rows, bytes);
    for (int number = 1; number < p_.options->n_orders; ++number) {
      const size_t at = static_cast<size_t>(number - 1);
      const std::optional<PlacedFactor> made =
          orders_.empty() ? FactorOfOrder(number) : std::nullopt;
      const std::optional<PlacedFactor>& factor =
          orders_.empty() ? made : orders_[at];
      if (factor.has_value()) {
        TryOrder(*factor, targets, n_rows, bytes);
      }
    }
  }

  void Descend(const float* targets, int64_t n_rows, uint8_t* bytes) const {
    DescendOptions descend;
    descend.rounds = p_.options->rounds;
    descend.refit = p_.options->refit;
    descend.sweep = p_.options->sweep;
    if (descend.rounds > 0 && (descend.refit || descend.sweep)) {
      rows_->Descend(targets, n_rows, descend, bytes);
    }
  }

  // Codes found anew under the present fields, columns in another order.
  void TryOrder(const PlacedFactor& factor, const float* targets,
                int64_t n_rows, uint8_t* bytes) const {
    std::vector<uint8_t> tried(
        bytes, bytes + static_cast<size_t>(n_rows) * row_bytes_);
    rows_->Refeed(targets, n_rows, factor, tried.data());
    Descend(targets, n_rows, tried.data());
    TakeBetter(targets, n_rows, tried, bytes);
  }

  // Rows of `tried` that are better than those of `bytes` take their place.
  void TakeBetter(const float* targets, int64_t n_rows,
                  const std::vector<uint8_t>& tried, uint8_t* bytes) const {
    const std::vector<RowError> was = Measure(targets, n_rows, bytes);
    const std::vector<RowError> is = Measure(targets, n_rows, tried.data());
    for (size_t row = 0; row < is.size(); ++row) {
      uint8_t* const own = bytes + row * row_bytes_;
      const bool bad =
          p_.codec->FirstBadBlock(own, p_.n_cols / p_.codec->block) >= 0;
      if (bad || is[row].gram < was[row].gram) {
        std::memcpy(own, tried.data() + row * row_bytes_, row_bytes_);
      }
    }
  }

  // Whether outputs can be coupled.
  bool HasMoments() {
    if (p_.output_moments == nullptr) {
      return false;
    }
    const bool can = CanCouple(p_.output_moments, p_.n_rows);
    if (!can) {
      result_.notes.push_back("the outputs' moments hold no numbers");
    }
    return can;
  }

  // Some rows' blocks, solved as this solves them.
  class BlockRows final : public StoredRows {
   public:
    BlockRows(const MatrixSolve* solve, std::vector<uint8_t> bytes)
        : solve_(*solve), bytes_(std::move(bytes)) {}

    std::unique_ptr<StoredRows> Take(
        absl::Span<const int64_t> rows) const override {
      const size_t n = solve_.row_bytes_;
      std::vector<uint8_t> taken(rows.size() * n);
      for (size_t i = 0; i < rows.size(); ++i) {
        std::memcpy(taken.data() + i * n,
                    bytes_.data() + static_cast<size_t>(rows[i]) * n, n);
      }
      return std::make_unique<BlockRows>(&solve_, std::move(taken));
    }
    void Put(absl::Span<const int64_t> rows, const StoredRows& from) override {
      const size_t n = solve_.row_bytes_;
      const auto& bytes = static_cast<const BlockRows&>(from).bytes_;
      for (size_t i = 0; i < rows.size(); ++i) {
        std::memcpy(bytes_.data() + static_cast<size_t>(rows[i]) * n,
                    bytes.data() + i * n, n);
      }
    }
    void Decode(float* values) const override {
      const BlockCodec& codec = *solve_.p_.codec;
      codec.Decode(bytes_.data(), n_rows() * solve_.p_.n_cols / codec.block,
                   values);
    }
    void Solve(const float* targets) override {
      solve_.SolveRows(targets, n_rows(), bytes_.data());
    }
    void Descend(const float* targets, const DescendOptions& options) override {
      solve_.rows_->Descend(targets, n_rows(), options, bytes_.data());
    }

    std::vector<uint8_t> TakeBytes() { return std::move(bytes_); }

   private:
    int64_t n_rows() const {
      return static_cast<int64_t>(bytes_.size() / solve_.row_bytes_);
    }

    const MatrixSolve& solve_;
    std::vector<uint8_t> bytes_;
  };

  void CoupleOutputs() {
    for (int number = 1; number < p_.options->n_orders; ++number) {
      orders_.push_back(FactorOfOrder(number));
    }
    CoupleProblem couple;
    couple.targets = targets_.data();
    couple.n_rows = p_.n_rows;
    couple.n_cols = p_.n_cols;
    couple.gram = gram_.data();
    couple.moments = p_.output_moments;
    couple.refit = p_.options->refit;
    couple.sweep = p_.options->sweep;
    couple.pool = p_.pool;
    couple.device = rows_->device();
    BlockRows rows(this, std::move(result_.bytes));
    const CoupleResult coupled = CoupleRows(couple, &rows);
    result_.bytes = rows.TakeBytes();
    result_.accepted = coupled.fed || coupled.n_kept > 0;
    result_.notes.push_back(absl::StrCat(
        "coupled outputs: ", coupled.fed ? "" : "feedback rejected, ",
        coupled.n_kept, " of ", coupled.n_batches,
        " batches kept, the form fell to ",
        coupled.before > 0 ? coupled.after / coupled.before : 1.0,
        " of the plain encoding's"));
    if (!coupled.note.empty()) {
      result_.notes.push_back(coupled.note);
    }
  }

  // Rows of the baseline in the place of those that are not better; the errors
  // as they are then.
  std::vector<RowError> KeepPlainWhereNoWorse(
      const std::vector<RowError>& plain, std::vector<RowError> errors) {
    int64_t n_plain = 0;
    for (size_t row = 0; row < errors.size(); ++row) {
      const bool better = errors[row].gram < plain[row].gram &&
                          Undamped(errors[row]) <= Undamped(plain[row]);
      if (!better) {
        std::memcpy(result_.bytes.data() + row * row_bytes_,
                    plain_.data() + row * row_bytes_, row_bytes_);
        errors[row] = plain[row];
        ++n_plain;
      }
    }
    result_.accepted = n_plain < p_.n_rows;
    result_.n_plain_rows = n_plain;
    if (n_plain > 0) {
      result_.notes.push_back(
          absl::StrCat(n_plain, " of ", p_.n_rows,
                       " rows keep the plain encoding, which is no worse"));
    }
    return errors;
  }

  void Report(const std::vector<RowError>& plain,
              const std::vector<RowError>& errors) {
    double before = 0;
    double after = 0;
    double energy = 0;
    const std::vector<RowError> whole =
        Measure(targets_.data(), p_.n_rows, nullptr);
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
  const std::vector<uint8_t>& plain_;
  const size_t row_bytes_;
  std::shared_ptr<const FactoredMetric> factored_;
  std::unique_ptr<PlacedRows> rows_;
  PlacedFactor natural_;
  // Of column orders besides the natural one, where they are used many times;
  // otherwise there is one at a time.
  std::vector<std::optional<PlacedFactor>> orders_;
  std::vector<float> gram_;
};

}  // namespace

absl::StatusOr<CompensatedResult> SolveCompensated(
    const CompensatedProblem& problem) {
  RETURN_IF_ERROR(CheckProblem(problem));
  CompensatedResult result;
  const Metric metric = MakeMetric(problem);
  ASSIGN_OR_RETURN(result.plain_bytes, EncodePlainly(problem, metric));
  if (problem.n_rows == 0 || !(metric.mean > 0)) {
    result.bytes = result.plain_bytes;
  }
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
  drift.device = problem.device;
  if (WantsCorrection(drift)) {
    ASSIGN_OR_RETURN(std::string note, CorrectDrift(drift, &targets));
    result.notes.push_back(std::move(note));
  }
  RETURN_IF_ERROR(
      MatrixSolve(problem, metric, std::move(targets), &result).Run());
  return result;
}

}  // namespace narrow