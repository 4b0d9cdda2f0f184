// Token weights: what they are, that labels are drawn from the model, and that
// neither threads nor memory change a bit.

#include "calibration/backward/fisher_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "calibration/backward/layers/loss_gradient.h"
#include "calibration/backward/model_gradient.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

std::unique_ptr<Checkpoint> Open(const std::string& path) {
  CheckpointOptions options;
  options.skip_tokenizer = true;
  auto model = Checkpoint::Open(path, options);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

CalibrationSamples Samples(const Checkpoint& model, int64_t n_samples,
                           int64_t sample_tokens) {
  CalibrationSamples samples;
  samples.sample_tokens = sample_tokens;
  for (int64_t i = 0; i < n_samples * sample_tokens; ++i) {
    samples.ids.push_back(
        static_cast<int32_t>((i * i * 31 + i * 7) % model.config().vocab_size));
    samples.counts.push_back(i % 11 != 3 ? 1 : 0);
  }
  return samples;
}

FisherWeights Compute(const Checkpoint& model,
                      const CalibrationSamples& samples,
                      const FisherOptions& options) {
  auto weights = ComputeFisherWeights(&model, samples, options, {});
  EXPECT_TRUE(weights.ok()) << weights.status();
  return weights.ok() ? *std::move(weights) : FisherWeights();
}

void ExpectSame(const FisherWeights& a, const FisherWeights& b) {
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.mean_loss, b.mean_loss);
  EXPECT_EQ(a.output_squares, b.output_squares);
  ASSERT_EQ(a.tokens.layers.size(), b.tokens.layers.size());
  for (const auto& [name, values] : a.tokens.layers) {
    EXPECT_EQ(*values, *b.tokens.Find(name)) << name;
  }
  ASSERT_EQ(a.tokens.experts.size(), b.tokens.experts.size());
  for (const auto& [key, values] : a.tokens.experts) {
    const auto* other = b.tokens.FindExpert(key.first, key.second);
    ASSERT_NE(other, nullptr) << key.first;
    EXPECT_EQ(values->tokens, other->tokens) << key.first;
    EXPECT_EQ(values->weights, other->weights) << key.first;
  }
}

constexpr char kDense[] = "testdata/arch_options/llama_yarn_biases";
constexpr char kExperts[] = "testdata/arch_options/qwen3_moe_plain_weights";
constexpr char kFused[] = "testdata/arch_options/phi3_longrope";

TEST(FisherWeights, AreOneOnAverageAndZeroWhereMasked) {
  for (const char* path : {kDense, kExperts, kFused}) {
    const auto model = Open(path);
    ASSERT_NE(model, nullptr);
    const auto samples = Samples(*model, 5, 30);
    const FisherWeights fisher = Compute(*model, samples, {});
    // q, k, v, output, gate, up, down; fewer where fused; and the output.
    EXPECT_GE(fisher.tokens.layers.size() + fisher.tokens.experts.size(),
              static_cast<size_t>(4 * model->config().n_layers + 1));
    EXPECT_NE(fisher.tokens.Find("output.weight"), nullptr);
    for (const auto& [name, values] : fisher.tokens.layers) {
      ASSERT_EQ(values->size(), samples.ids.size()) << name;
      double sum = 0;
      int64_t n = 0;
      for (size_t t = 0; t < values->size(); ++t) {
        EXPECT_GE((*values)[t], 0);
        if (samples.counts[t] == 0) {
          EXPECT_EQ((*values)[t], 0) << name;
        } else {
          sum += static_cast<double>((*values)[t]);
          ++n;
        }
      }
      EXPECT_NEAR(sum / static_cast<double>(n), 1, 1e-6) << name;
    }
    for (const auto& [key, values] : fisher.tokens.experts) {
      ASSERT_EQ(values->tokens.size(), values->weights.size());
      double sum = 0;
      for (size_t i = 0; i < values->tokens.size(); ++i) {
        const int64_t token = values->tokens[i];
        EXPECT_TRUE(i == 0 || token > values->tokens[i - 1]);
        EXPECT_EQ(samples.counts[static_cast<size_t>(token)], 1);
        sum += static_cast<double>(values->weights[i]);
      }
      EXPECT_NEAR(sum / static_cast<double>(values->tokens.size()), 1, 1e-6)
          << key.first;
    }
    for (size_t t = 0; t < samples.ids.size(); ++t) {
      EXPECT_EQ(fisher.labels[t] >= 0, samples.counts[t] != 0);
    }
  }
}

// More tokens than a group, with all states in memory, or one group's and
// those in a file.
TEST(FisherWeights, AreTheSameForThreadsAndMemory) {
  for (const char* path : {kDense, kExperts}) {
    const auto model = Open(path);
    ASSERT_NE(model, nullptr);
    const auto samples = Samples(*model, 150, 32);
    FisherOptions options;
    options.n_threads = 1;
    options.max_moment_outputs = 1000;
    const FisherWeights one = Compute(*model, samples, options);
    options.n_threads = 3;
    options.hidden_bytes = 0;
    options.max_cached_bytes = 0;
    const FisherWeights other = Compute(*model, samples, options);
    ExpectSame(one, other);
    const auto a = one.moments->Read("blk.0.attn_q.weight", -1);
    const auto b = other.moments->Read("blk.0.attn_q.weight", -1);
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(*a, *b);
  }
}

// Labels are draws: the loss is the entropy on average, and another seed
// draws others.
TEST(FisherWeights, DrawLabelsFromTheModel) {
  const auto model = Open(kDense);
  ASSERT_NE(model, nullptr);
  auto samples = Samples(*model, 40, 50);
  std::fill(samples.counts.begin(), samples.counts.end(), 1);
  const FisherWeights fisher = Compute(*model, samples, {});
  FisherOptions other;
  other.seed = 2;
  EXPECT_NE(Compute(*model, samples, other).labels, fisher.labels);

  RunnerOptions options;
  options.precision = Precision::kReproducible;
  const auto runner = ModelRunner::Create(model.get(), options);
  ASSERT_TRUE(runner.ok());
  HiddenStates hidden;
  ASSERT_TRUE((*runner)->Embed(samples.ids, 50, &hidden).ok());
  for (int64_t b = 0; b < (*runner)->n_blocks(); ++b) {
    ASSERT_TRUE((*runner)->RunBlock(b, nullptr, &hidden).ok());
  }
  ASSERT_TRUE((*runner)->FinalNorm(&hidden).ok());
  const size_t n = samples.ids.size();
  const size_t n_vocab = static_cast<size_t>((*runner)->vocab_size());
  std::vector<float> logits(n * n_vocab);
  ASSERT_TRUE(
      (*runner)
          ->Logits(hidden.values.data(), static_cast<int64_t>(n), logits.data())
          .ok());
  double entropy = 0, variance = 0, loss = 0, chance = 0, hits = 0, spread = 0;
  for (size_t t = 0; t < n; ++t) {
    const float* row = logits.data() + t * n_vocab;
    const double top = *std::max_element(row, row + n_vocab);
    double total = 0, mean = 0, square = 0;
    for (size_t v = 0; v < n_vocab; ++v) {
      total += std::exp(row[v] - top);
    }
    for (size_t v = 0; v < n_vocab; ++v) {
      const double log_p = row[v] - top - std::log(total);
      mean -= std::exp(log_p) * log_p;
      square += std::exp(log_p) * log_p * log_p;
    }
    entropy += mean;
    variance += square - mean * mean;
    loss -= row[fisher.labels[t]] - top - std::log(total);
    // How often the first half of the vocabulary is drawn.
    double first = 0;
    for (size_t v = 0; v < n_vocab / 2; ++v) {
      first += std::exp(row[v] - top) / total;
    }
    chance += first;
    spread += first * (1 - first);
    hits += fisher.labels[t] < static_cast<int32_t>(n_vocab / 2) ? 1 : 0;
  }
  EXPECT_NEAR(loss / static_cast<double>(n), fisher.mean_loss, 1e-5);
  EXPECT_NEAR(loss, entropy, 4 * std::sqrt(variance));
  EXPECT_NEAR(hits, chance, 4 * std::sqrt(spread));
}

// What goes back is the sum of the gradients of the losses of all draws, with
// changing signs, over the root of their number.
TEST(FisherWeights, GradientsAreOfSeveralDraws) {
  for (const char* path : {kDense, "testdata/arch/gemma2"}) {  // a soft cap
    const auto model = Open(path);
    ASSERT_NE(model, nullptr);
    const auto samples = Samples(*model, 3, 20);
    const size_t n = samples.ids.size();
    const auto gradient_of = [&](uint64_t seed, int64_t cached,
                                 std::vector<int32_t>* labels) {
      GradientOptions options;
      options.seed = seed;
      options.max_cached_bytes = cached;
      const auto gradient = ModelGradient::Create(model.get(), options);
      EXPECT_TRUE(gradient.ok());
      HiddenStates hidden;
      EXPECT_TRUE((*gradient)->runner()->Embed(samples.ids, 20, &hidden).ok());
      // States that make no model sure of its next token.
      for (size_t i = 0; i < hidden.values.size(); ++i) {
        hidden.values[i] = static_cast<float>(std::sin(0.7 * i * i));
      }
      std::vector<float> values(hidden.values.size());
      double loss = 0;
      EXPECT_TRUE((*gradient)
                      ->Loss(hidden, samples.counts.data(), 0, labels->data(),
                             values.data(), &loss, nullptr)
                      .ok());
      return values;
    };
    std::vector<int32_t> labels(n, -1);
    const std::vector<float> sum = gradient_of(7, 1 << 28, &labels);
    std::vector<int32_t> again(n, -1);
    EXPECT_EQ(gradient_of(7, 0, &again), sum);
    EXPECT_EQ(again, labels);
    std::vector<double> want(sum.size(), 0.0);
    for (int d = 0; d < LossGradient::kDraws; ++d) {
      std::vector<int32_t> drawn(n, -1);
      gradient_of(LossGradient::SeedOfDraw(7, d), 1 << 28, &drawn);
      EXPECT_EQ(drawn == labels, d == 0);
      const std::vector<float> one = gradient_of(7, 1 << 28, &drawn);
      for (size_t i = 0; i < sum.size(); ++i) {
        want[i] += (d % 2 == 0 ? 1 : -1) * double{one[i]} /
                   std::sqrt(double{LossGradient::kDraws});
      }
    }
    double error = 0, size = 0;
    for (size_t i = 0; i < sum.size(); ++i) {
      error += (double{sum[i]} - want[i]) * (double{sum[i]} - want[i]);
      size += want[i] * want[i];
    }
    EXPECT_LT(std::sqrt(error / size), 1e-5);
  }
}

using LayerKey = std::pair<std::string, int>;

// Squared norms of what layers see, by token.
class Sizes : public Observer {
 public:
  absl::Status OnInput(const LayerInput& x) override {
    for (int64_t r = 0; r < x.n_rows; ++r) {
      const float* const row = x.rows + r * x.n_cols;
      squares[{std::string(x.name), x.expert}][x.token(r)] =
          std::inner_product(row, row + x.n_cols, row, 0.0);
    }
    return absl::OkStatus();
  }

  std::map<LayerKey, std::map<int64_t, double>> squares;
};

// Sums of outer products of the gradients that an observer sees; and, times
// the squares of inputs, of those whose inputs come out of no norm.
class Outer : public GradientObserver {
 public:
  explicit Outer(const Sizes* sizes) : sizes_(*sizes) {}

  absl::Status OnGradient(const LayerGradient& g) override {
    const LayerKey key(g.name, g.expert);
    const bool weighted = g.name.find("attn_output") != g.name.npos ||
                          g.name.find("ffn_down") != g.name.npos;
    std::vector<double>& sums = layers[key];
    std::vector<double>& all = moments[key];
    sums.resize(static_cast<size_t>(g.n_cols * g.n_cols));
    all.resize(sums.size());
    for (int64_t r = 0; r < g.n_rows; ++r) {
      const float* row = g.rows + r * g.stride;
      const double weight =
          weighted ? sizes_.squares.at(key).at(g.token(r)) : 1;
      for (int64_t i = 0; i < g.n_cols; ++i) {
        for (int64_t j = 0; j < g.n_cols; ++j) {
          const double product =
              static_cast<double>(row[i]) * static_cast<double>(row[j]);
          sums[static_cast<size_t>(i * g.n_cols + j)] += product;
          all[static_cast<size_t>(i * g.n_cols + j)] += weight * product;
        }
      }
    }
    n_rows[{std::string(g.name), g.expert}] += g.n_rows;
    return absl::OkStatus();
  }

  std::map<LayerKey, std::vector<double>> layers, moments;
  std::map<LayerKey, int64_t> n_rows;

 private:
  const Sizes& sizes_;
};

TEST(FisherWeights, MomentsAreMeansOfOuterProductsBySizeOfInputs) {
  for (const char* path : {kDense, kExperts, kFused}) {
    const auto model = Open(path);
    ASSERT_NE(model, nullptr);
    auto samples = Samples(*model, 3, 20);
    std::fill(samples.counts.begin(), samples.counts.end(), 1);
    FisherOptions options;
    options.max_moment_outputs = 64;
    const FisherWeights fisher = Compute(*model, samples, options);
    ASSERT_NE(fisher.moments, nullptr);

    const auto gradient = ModelGradient::Create(model.get(), {});
    ASSERT_TRUE(gradient.ok());
    HiddenStates hidden;
    std::vector<HiddenStates> inputs;
    ASSERT_TRUE((*gradient)->runner()->Embed(samples.ids, 20, &hidden).ok());
    Sizes sizes;
    for (int64_t b = 0; b < (*gradient)->n_blocks(); ++b) {
      inputs.push_back(hidden);
      ASSERT_TRUE((*gradient)->runner()->RunBlock(b, &sizes, &hidden).ok());
    }
    Outer outer(&sizes);
    std::vector<int32_t> labels(fisher.labels.size(), -1);  // the same draws
    std::vector<float> values(hidden.values.size());
    double loss = 0;
    ASSERT_TRUE((*gradient)
                    ->Loss(hidden, samples.counts.data(), 0, labels.data(),
                           values.data(), &loss, nullptr)
                    .ok());
    for (int64_t b = (*gradient)->n_blocks(); b-- > 0;) {
      ASSERT_TRUE(
          (*gradient)
              ->Block(b, inputs[static_cast<size_t>(b)], &outer, values.data())
              .ok());
    }
    // Output by output, and at the stored rows of the embedding.
    const double n_tokens = static_cast<double>(samples.ids.size());
    for (const auto& [key, sums] : outer.layers) {
      const auto squares = fisher.output_squares.find(key);
      ASSERT_NE(squares, fisher.output_squares.end()) << key.first;
      const size_t n = squares->second.size();
      ASSERT_EQ(n * n, sums.size()) << key.first;
      for (size_t i = 0; i < n; ++i) {
        const double want = sums[i * n + i] / n_tokens;
        EXPECT_NEAR(squares->second[i], want, 1e-5 * want) << key.first;
      }
    }
    const auto embedding =
        fisher.output_squares.find({"token_embd.weight", -1});
    ASSERT_NE(embedding, fisher.output_squares.end());
    const size_t n_hidden = static_cast<size_t>(hidden.hidden_size);
    ASSERT_EQ(embedding->second.size(), n_hidden);
    const double scale = static_cast<double>(model->config().embedding_scale);
    for (size_t c = 0; c < n_hidden; ++c) {
      double want = 0;
      for (size_t t = 0; t < samples.ids.size(); ++t) {
        const double g = static_cast<double>(values[t * n_hidden + c]) * scale;
        want += g * g / n_tokens;
      }
      EXPECT_NEAR(embedding->second[c], want, 1e-5 * want) << c;
    }
    size_t n_compared = 0;
    for (const auto& [key, sums] : outer.layers) {
      EXPECT_EQ(fisher.moments->Has(key.first, key.second),
                sums.size() <= 64 * 64);
      if (sums.size() > 64 * 64) {
        continue;
      }
      const auto mean = fisher.moments->Read(key.first, key.second);
      ASSERT_TRUE(mean.ok()) << mean.status();
      double error = 0, size = 0;
      for (size_t i = 0; i < sums.size(); ++i) {
        const double want =
            outer.moments[key][i] / static_cast<double>(outer.n_rows[key]);
        error += (want - (*mean)[i]) * (want - (*mean)[i]);
        size += want * want;
      }
      EXPECT_LT(std::sqrt(error / size), 1e-6) << key.first;
      ++n_compared;
    }
    EXPECT_GT(n_compared, 2u);
    EXPECT_EQ(fisher.moments->Read("blk.9.attn_q.weight", -1).status().code(),
              absl::StatusCode::kNotFound);
  }
}

TEST(FisherWeights, PowerFlattensThem) {
  const auto model = Open(kDense);
  ASSERT_NE(model, nullptr);
  const auto samples = Samples(*model, 2, 30);
  const FisherWeights full = Compute(*model, samples, {});
  FisherOptions options;
  options.power = 0.5;
  const FisherWeights root = Compute(*model, samples, options);
  options.power = 0;
  const FisherWeights flat = Compute(*model, samples, options);
  const char kName[] = "blk.1.ffn_down.weight";
  const auto& a = *full.tokens.Find(kName);
  const auto& b = *root.tokens.Find(kName);
  const auto& c = *flat.tokens.Find(kName);
  for (size_t t = 1; t < a.size(); ++t) {
    if (a[t] > 0 && a[t - 1] > 0) {
      EXPECT_NEAR(std::sqrt(a[t] / a[t - 1]), b[t] / b[t - 1],
                  1e-5 * b[t] / b[t - 1]);
    }
    EXPECT_EQ(c[t], samples.counts[t]);
  }
}

TEST(FisherWeights, ShareOneVectorAnInput) {
  for (const char* path : {kDense, kExperts}) {
    const auto model = Open(path);
    ASSERT_NE(model, nullptr);
    const auto samples = Samples(*model, 3, 30);
    FisherOptions options;
    const FisherWeights own = Compute(*model, samples, options);
    options.per_input = true;
    const FisherWeights shared = Compute(*model, samples, options);
    const auto* q = shared.tokens.Find("blk.1.attn_q.weight");
    ASSERT_NE(q, nullptr);
    EXPECT_EQ(q, shared.tokens.Find("blk.1.attn_k.weight"));
    EXPECT_EQ(q, shared.tokens.Find("blk.1.attn_v.weight"));
    for (size_t t = 0; t < q->size(); ++t) {
      const float sum = (*own.tokens.Find("blk.1.attn_q.weight"))[t] +
                        (*own.tokens.Find("blk.1.attn_k.weight"))[t] +
                        (*own.tokens.Find("blk.1.attn_v.weight"))[t];
      EXPECT_NEAR((*q)[t], sum / 3, 1e-5 * sum);
    }
    EXPECT_EQ(*shared.tokens.Find("blk.1.attn_output.weight"),
              *own.tokens.Find("blk.1.attn_output.weight"));
    size_t n_shared = 0;
    for (const auto& [key, values] : shared.tokens.experts) {
      if (absl::StrContains(key.first, "ffn_gate_exps")) {
        std::string up = key.first;
        up.replace(up.find("gate"), 4, "up");
        EXPECT_EQ(values.get(), shared.tokens.FindExpert(up, key.second));
        ++n_shared;
      }
    }
    EXPECT_EQ(n_shared > 0, path == kExperts);
  }
}

TEST(FisherWeights, RefuseWhatMakesNoSense) {
  const auto model = Open(kDense);
  ASSERT_NE(model, nullptr);
  const auto good = Samples(*model, 2, 20);
  const auto status_of = [&](const CalibrationSamples& samples,
                             const FisherOptions& options) {
    return ComputeFisherWeights(model.get(), samples, options, {}).status();
  };
  const auto expect_invalid = [](const absl::Status& status,
                                 const char* words) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_TRUE(absl::StrContains(std::string(status.message()), words))
        << status;
  };
  expect_invalid(status_of({}, {}), "no calibration sample");
  auto samples = good;
  samples.counts.pop_back();
  expect_invalid(status_of(samples, {}), "40 ids and 39 counts");
  samples = good;
  std::fill(samples.counts.begin(), samples.counts.end(), 0);
  expect_invalid(status_of(samples, {}), "counts: all are padding");
  samples = good;
  samples.ids[25] = 1 << 20;
  expect_invalid(status_of(samples, {}), "token 5 of calibration sample 1");
  FisherOptions options;
  options.power = -1;
  expect_invalid(status_of(good, options), "power of token weights is -1");
  options = {};
  options.labels.assign(7, 1);
  expect_invalid(status_of(good, options), "7 labels for 40");
  options.labels.assign(40, 1 << 20);
  expect_invalid(status_of(good, options), "the label of token 0");
  options = {};
  const std::atomic<bool> cancelled(true);
  options.cancelled = &cancelled;
  EXPECT_EQ(status_of(good, options).code(), absl::StatusCode::kCancelled);
  options = {};
  options.hidden_bytes = 0;
  options.spill_folder = "/nowhere/at/all";
  EXPECT_EQ(status_of(good, options).code(), absl::StatusCode::kNotFound);
}

TEST(FisherWeights, ReportProgress) {
  const auto model = Open(kDense);
  ASSERT_NE(model, nullptr);
  double last = 0;
  const auto fisher = ComputeFisherWeights(
      model.get(), Samples(*model, 150, 32), {}, [&](double done) {
        EXPECT_GE(done, last);
        last = done;
      });
  ASSERT_TRUE(fisher.ok()) << fisher.status();
  EXPECT_NEAR(last, 1, 1e-9);
}

}  // namespace
}  // namespace narrow
