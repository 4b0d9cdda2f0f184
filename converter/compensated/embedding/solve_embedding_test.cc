// The metric of an embedding's rows, where it is the output matrix too and
// where it is not, and that they lose less under it than their plain encoding
// does.

#include "converter/compensated/embedding/solve_embedding.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "calibration/weights/weights.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

class SolveEmbeddingTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    CheckpointOptions options;
    options.skip_tokenizer = true;
    auto opened = Checkpoint::Open(GetParam(), options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    model_ = *std::move(opened);
    planned_.source = model_->Find("token_embd.weight");
    ASSERT_NE(planned_.source, nullptr);
    ASSERT_TRUE(IsEmbedding(*planned_.source));
    tied_ = model_->Find("output.weight") == nullptr;
    planned_.meta = planned_.source->meta;
    planned_.meta.type = QuantType::kQ4_0;
    n_rows_ = planned_.meta.n_rows();
    n_cols_ = planned_.meta.n_cols();
    samples_.sample_tokens = 32;
    for (int32_t i = 0; i < 32 * 32; ++i) {
      // Of a third of the vocabulary, some often.
      samples_.ids.push_back((i * i % 97) * (i % 3 == 0 ? 1 : 0) + i % 5);
      samples_.counts.push_back(i % 7 != 2);
    }
    FisherOptions fisher;
    fisher.embedding = true;
    auto weights = ComputeFisherWeights(model_.get(), samples_, fisher, {});
    ASSERT_TRUE(weights.ok()) << weights.status();
    fisher_ = *std::move(weights);
  }

  EmbeddingMetric Metric() const {
    auto metric = EmbeddingMetric::Of(fisher_, samples_, n_rows_);
    EXPECT_TRUE(metric.ok()) << metric.status();
    return *std::move(metric);
  }
  SolvedTensor Solve(const EmbeddingMetric& metric, int n_threads) const {
    ThreadPool pool(n_threads);
    EmbeddingOptions options;
    options.pool = &pool;
    auto solved = SolveEmbedding(*model_, planned_, metric, options);
    EXPECT_TRUE(solved.ok()) << solved.status();
    return *std::move(solved);
  }
  std::vector<float> Weights() const {
    std::vector<float> weights(static_cast<size_t>(n_rows_ * n_cols_));
    EXPECT_TRUE(
        ReadRows(*model_, *planned_.source, 0, n_rows_, weights.data()).ok());
    return weights;
  }
  // The sum over rows of e^T H_v e.
  double Loss(const EmbeddingMetric& metric,
              const std::vector<uint8_t>& bytes) const {
    const BlockCodec& codec = *FindCodec(planned_.meta.type);
    std::vector<float> values(static_cast<size_t>(n_rows_ * n_cols_));
    codec.Decode(bytes.data(), n_rows_ * n_cols_ / codec.block, values.data());
    const std::vector<float> weights = Weights();
    double sum = 0;
    for (int64_t v = 0; v < n_rows_; ++v) {
      const LayerStats stats = metric.StatsOf(metric.ClassOf(v));
      double own = 0;
      for (int64_t i = 0; i < n_cols_ * n_cols_; ++i) {
        const auto error = [&](int64_t c) {
          const size_t at = static_cast<size_t>(v * n_cols_ + c);
          return double{values[at]} - double{weights[at]};
        };
        own += error(i / n_cols_) * stats.gram[static_cast<size_t>(i)] *
               error(i % n_cols_);
      }
      sum += own;
    }
    return sum;
  }

  std::unique_ptr<Checkpoint> model_;
  PlannedTensor planned_ = {};
  CalibrationSamples samples_;
  FisherWeights fisher_;
  int64_t n_rows_ = 0, n_cols_ = 0;
  bool tied_ = false;
};

// The diagonal of the moments at the input is the squares that are summed
// beside them; and the loss's own, at the logits, has its size.
TEST_P(SolveEmbeddingTest, MomentsAreThoseOfBothUses) {
  const auto input = fisher_.moments->Read(kEmbeddingMoments, -1);
  ASSERT_TRUE(input.ok()) << input.status();
  const std::vector<double>& squares =
      fisher_.output_squares.at({"token_embd.weight", -1});
  ASSERT_EQ(static_cast<int64_t>(squares.size()), n_cols_);
  for (int64_t i = 0; i < n_cols_; ++i) {
    const size_t at = static_cast<size_t>(i);
    EXPECT_NEAR((*input)[at * static_cast<size_t>(n_cols_ + 1)], squares[at],
                1e-5 * squares[at])
        << i;
  }
  ASSERT_EQ(fisher_.moments->Has(kOutputInputMoments, -1), tied_);
  ASSERT_EQ(Metric().has_output(), tied_);
  if (!tied_) {
    return;
  }
  // What a final norm gives has the norm's own size.
  const auto output = fisher_.moments->Read(kOutputInputMoments, -1);
  ASSERT_TRUE(output.ok()) << output.status();
  double trace = 0, size = 0;
  for (int64_t i = 0; i < n_cols_; ++i) {
    trace += (*output)[static_cast<size_t>(i * (n_cols_ + 1))];
  }
  for (const double square : fisher_.output_squares.at({"output.weight", -1})) {
    size += square;
  }
  std::vector<float> norm(static_cast<size_t>(n_cols_));
  ASSERT_TRUE(
      ReadRows(*model_, *model_->Find("output_norm.weight"), 0, 1, norm.data())
          .ok());
  double least = INFINITY, most = 0;
  for (const float value : norm) {
    least = std::fmin(least, double{value} * double{value});
    most = std::fmax(most, double{value} * double{value});
  }
  EXPECT_GE(trace / size, 0.99 * least * static_cast<double>(n_cols_));
  EXPECT_LE(trace / size, 1.01 * most * static_cast<double>(n_cols_));
}

TEST_P(SolveEmbeddingTest, CommonTokensOfAnUnsureModelWeighMoreAsInputs) {
  const EmbeddingMetric metric = Metric();
  if (!tied_) {
    EXPECT_EQ(metric.ClassOf(0), 0);
    EXPECT_EQ(metric.ClassOf(n_rows_ - 1), 0);
    return;
  }
  std::vector<double> counts(static_cast<size_t>(n_rows_));
  double n = 0;
  for (size_t t = 0; t < samples_.ids.size(); ++t) {
    counts[static_cast<size_t>(samples_.ids[t])] += samples_.counts[t];
    n += samples_.counts[t];
  }
  const std::vector<double>& squares =
      fisher_.output_squares.at({"output.weight", -1});
  bool differ = false;
  for (int64_t v = 0; v < n_rows_; ++v) {
    const size_t at = static_cast<size_t>(v);
    const double c = std::fmin(
        EmbeddingMetric::kMostClass,
        std::fmax(EmbeddingMetric::kLeastClass,
                  std::log2((counts[at] + 1) / (n * squares[at] + 1))));
    EXPECT_NEAR(metric.ClassOf(v), c, 0.501);
    differ = differ || metric.ClassOf(v) != metric.ClassOf(0);
  }
  EXPECT_TRUE(differ);
  // Twice the share of the input, and the same of the output.
  const LayerStats a = metric.StatsOf(0), b = metric.StatsOf(1),
                   c = metric.StatsOf(2);
  for (size_t i = 0; i < a.gram.size(); ++i) {
    EXPECT_NEAR(c.gram[i] - b.gram[i], 2 * (b.gram[i] - a.gram[i]),
                1e-9 * std::fabs(c.gram[i]));
  }
}

TEST_P(SolveEmbeddingTest, LosesLessThanPlainly) {
  const EmbeddingMetric metric = Metric();
  const SolvedTensor solved = Solve(metric, 1);
  EXPECT_EQ(static_cast<int64_t>(solved.bytes.size()), planned_.meta.n_bytes());
  EXPECT_LT(solved.report.relative_error, solved.report.relative_error_plain);
  std::vector<uint8_t> plain(solved.bytes.size());
  const std::vector<float> weights = Weights();
  FindCodec(planned_.meta.type)
      ->EncodeRows(weights.data(), n_rows_, n_cols_, nullptr, plain.data());
  EXPECT_LT(Loss(metric, solved.bytes), 0.9 * Loss(metric, plain));
  EXPECT_EQ(Solve(metric, 3).bytes, solved.bytes);
}

// Tokens that count may be far behind the first of a text.
TEST_P(SolveEmbeddingTest, TokensThatDoNotCountGiveNothing) {
  CalibrationSamples later = samples_;
  later.ids.insert(later.ids.begin(), 4096, 7);
  later.counts.insert(later.counts.begin(), 4096, 0);
  FisherOptions options;
  options.embedding = true;
  const auto fisher = ComputeFisherWeights(model_.get(), later, options, {});
  ASSERT_TRUE(fisher.ok()) << fisher.status();
  const auto metric = EmbeddingMetric::Of(*fisher, later, n_rows_);
  ASSERT_TRUE(metric.ok()) << metric.status();
  EXPECT_EQ(metric->has_output(), tied_);
}

TEST_P(SolveEmbeddingTest, NeedsItsMoments) {
  FisherOptions without;
  auto fisher = ComputeFisherWeights(model_.get(), samples_, without, {});
  ASSERT_TRUE(fisher.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      EmbeddingMetric::Of(*fisher, samples_, n_rows_).status()));
  EXPECT_EQ(absl::IsFailedPrecondition(
                EmbeddingMetric::Of(fisher_, samples_, n_rows_ + 1).status()),
            tied_);
}

INSTANTIATE_TEST_SUITE_P(Families, SolveEmbeddingTest,
                         testing::Values("testdata/arch/qwen2",
                                         "testdata/arch/gemma3_text",
                                         "testdata/arch/mistral"));

}  // namespace
}  // namespace narrow
