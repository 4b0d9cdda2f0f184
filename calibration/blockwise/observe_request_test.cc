// What ObserveRequest asks for, against slow sums over both models and against
// calibrators that see everything at once.

#include "calibration/blockwise/observe_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/blockwise/calibrator_fixture.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

// Every row and residual that a block shows.
class Everything : public Observer {
 public:
  struct Layer {
    int64_t n_cols = 0, residual_cols = 0;
    std::map<int64_t, std::vector<float>> rows, residuals;  // by token
  };

  absl::Status OnInput(const LayerInput& input) override {
    Layer& layer = layers_[{std::string(input.name), input.expert}];
    layer.n_cols = input.n_cols;
    layer.residual_cols = input.residual_cols;
    for (int64_t r = 0; r < input.n_rows; ++r) {
      const float* x = input.rows + r * input.n_cols;
      layer.rows[input.token(r)].assign(x, x + input.n_cols);
      if (input.residual != nullptr) {
        const float* s = input.residual + r * input.residual_cols;
        layer.residuals[input.token(r)].assign(s, s + input.residual_cols);
      }
    }
    return absl::OkStatus();
  }

  std::map<std::pair<std::string, int>, Layer> layers_;
};

ObserveRequest All() {
  ObserveRequest request;
  request.needs.gram = request.needs.cross = request.needs.residual = true;
  return request;
}

BlockStats Observe(BlockCalibrator* calibrator, const ObserveRequest& request) {
  auto stats = calibrator->Observe(request, {});
  EXPECT_TRUE(stats.ok()) << stats.status();
  return stats.ok() ? *std::move(stats) : BlockStats();
}

// Of every layer, in [0.25, 4].
TokenWeights SomeWeights(const BlockCalibrator& calibrator, int64_t block) {
  TokenWeights weights;
  std::mt19937 random(static_cast<uint32_t>(block) + 1);
  std::uniform_real_distribution<float> exponent(-2, 2);
  for (const auto& names : calibrator.SitesOfBlock()) {
    for (const std::string& name : names) {
      auto values = std::make_shared<TokenWeights::Values>();
      for (int64_t i = 0; i < kSamples * kTokens; ++i) {
        values->push_back(std::exp2(exponent(random)));
      }
      weights.layers[name] = values;
    }
  }
  return weights;
}

class ObserveRequestTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    opened_ = OpenParam();
    ASSERT_NE(opened_.model, nullptr);
    samples_ = SomeSamples(*opened_.model);
    CalibrationOptions options = Exact(2);
    options.expert_rows_per_column = 0;
    calibrator_ = Create(opened_, samples_, options);
    ASSERT_NE(calibrator_, nullptr);
  }

  static Opened OpenParam() {
    return Open(absl::StrCat("testdata/arch/", GetParam()));
  }
  bool post_norms() const { return opened_.model->arch()->traits.post_norms; }

  // Runs the present block on hidden states of its own.
  Everything RunBlock(bool original, HiddenStates* hidden) {
    Everything seen;
    opened_.overlay->ShowOriginals(original);
    auto runner = ModelRunner::Create(opened_.model.get(), Exact(1).runner);
    EXPECT_TRUE(runner.ok());
    const int64_t block = calibrator_->next_block();
    if (block == 0) {
      EXPECT_TRUE((*runner)->Embed(samples_.ids, kTokens, hidden).ok());
    }
    EXPECT_TRUE((*runner)->RunBlock(block, &seen, hidden).ok());
    opened_.overlay->ShowOriginals(false);
    return seen;
  }

  // Statistics of the second block, the first being coarser, against what
  // both models show.
  void ExpectSumsOfBothModels(const ObserveRequest& request);

  Opened opened_;
  CalibrationSamples samples_;
  std::unique_ptr<BlockCalibrator> calibrator_;
};

// Sums in double over all tokens that count, and bounds of what float32 in
// blocks of 256 rows may miss: 257 roundings relative to the sum of the
// magnitudes, one more each for weight and difference.
struct Slow {
  double weight = 0;
  std::vector<double> sums, bounds;

  void Add(double w, const std::vector<float>& left,
           const std::vector<float>& right) {
    sums.resize(left.size() * right.size());
    bounds.resize(sums.size());
    for (size_t i = 0; i < left.size(); ++i) {
      for (size_t j = 0; j < right.size(); ++j) {
        const double product = w * left[i] * right[j];
        sums[i * right.size() + j] += product;
        bounds[i * right.size() + j] += 260 * 0x1p-24 * std::fabs(product);
      }
    }
  }
  void ExpectNear(const std::vector<double>& got, const std::string& what) {
    ASSERT_EQ(got.size(), sums.size()) << what;
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], sums[i], bounds[i] + 1e-30) << what << " " << i;
    }
  }
};

std::vector<float> Minus(const std::vector<float>& a,
                         const std::vector<float>& b) {
  std::vector<float> difference;
  for (size_t i = 0; i < a.size(); ++i) {
    difference.push_back(a[i] - b[i]);
  }
  return difference;
}

void ObserveRequestTest::ExpectSumsOfBothModels(const ObserveRequest& asked) {
  HiddenStates original_hidden, hidden;
  // Keeps both streams from the first block on.
  Observe(calibrator_.get(), All());
  Coarsen(opened_, 0);
  RunBlock(true, &original_hidden);
  RunBlock(false, &hidden);
  Advance(calibrator_.get());
  ObserveRequest request = asked;
  TokenWeights weights;
  if (request.weights != nullptr) {
    weights = *request.weights;
    request.weights = &weights;
    for (auto& [name, values] : SomeWeights(*calibrator_, 1).layers) {
      weights.layers[name] = values;
    }
  }
  const BlockStats stats = Observe(calibrator_.get(), request);
  Everything x = RunBlock(true, &original_hidden);
  Everything z = RunBlock(false, &hidden);
  int n_residuals = 0;
  for (const auto& [key, layer] : z.layers_) {
    const LayerStats* s = stats.Find(key.first, key.second);
    ASSERT_NE(s, nullptr) << key.first;
    const Everything::Layer& original = x.layers_[key];
    Slow gram, cross, residual;
    double weight = 0;
    for (const auto& [token, row] : layer.rows) {
      const size_t t = static_cast<size_t>(token);
      if (samples_.counts[t] == 0) {
        continue;
      }
      const double w =
          request.weights == nullptr ? 1 : (*weights.layers[key.first])[t];
      weight += w;
      gram.Add(w, row, row);
      const auto pair = original.rows.find(token);
      cross.Add(w, Minus(pair == original.rows.end() ? row : pair->second, row),
                row);
      if (!layer.residuals.empty()) {
        residual.Add(
            w, Minus(original.residuals.at(token), layer.residuals.at(token)),
            row);
      }
    }
    EXPECT_NEAR(s->weight, weight, 1e-9 * weight) << key.first;
    if (s->n_rows == 0) {
      continue;
    }
    gram.ExpectNear(s->gram, key.first + " gram");
    cross.ExpectNear(s->cross, key.first + " cross");
    residual.ExpectNear(s->residual, key.first + " residual");
    const bool adds = absl::StrContains(key.first, "attn_output") ||
                      absl::StrContains(key.first, "ffn_down.");
    EXPECT_EQ(s->residual.empty(), !adds || post_norms()) << key.first;
    if (!s->residual.empty()) {
      ++n_residuals;
      EXPECT_EQ(static_cast<int64_t>(s->residual.size()),
                opened_.model->config().hidden_size * s->n_cols);
      EXPECT_NE(*std::max_element(s->residual.begin(), s->residual.end()), 0);
    }
  }
  const bool experts = opened_.model->config().n_experts > 0;
  EXPECT_EQ(n_residuals, post_norms() ? 0 : experts ? 1 : 2);
}

TEST_P(ObserveRequestTest, SumsAreThoseOfBothModels) {
  ExpectSumsOfBothModels(All());
}

TEST_P(ObserveRequestTest, TokenWeightsWeighProducts) {
  ObserveRequest request = All();
  const TokenWeights some;
  request.weights = &some;
  ExpectSumsOfBothModels(request);
}

// Site by site, each replaced before the next: the same bits as from a
// calibrator that runs all of the block each time, in memory or not.
TEST_P(ObserveRequestTest, SitesSeeWhatWasReplacedBeforeThem) {
  constexpr const char* kParts[] = {"attn.q", "attn.o", "mlp", "mlp.down"};
  for (const bool spilled : {false, true}) {
    const Opened one = OpenParam(), other = OpenParam();
    CalibrationOptions options = Exact(2);
    options.keep_original = true;
    const auto whole = Create(other, samples_, options);
    if (spilled) {
      options.hidden_bytes = 3 * kTokens * one.model->config().hidden_size * 4;
      options.group_samples = 2;
      options.spill_folder = testing::TempDir();
    }
    const auto parts = Create(one, samples_, options);
    for (int64_t block = 0; block < 2; ++block) {
      ObserveRequest request = All();
      request.held_out_every = 3;
      const TokenWeights weights = SomeWeights(*whole, block);
      request.weights = block == 1 ? &weights : nullptr;
      const BlockSites sites = parts->SitesOfBlock();
      for (size_t site = 0; site < sites.size(); ++site) {
        const BlockStats all = Observe(whole.get(), request);
        ObserveRequest of_site = request;
        of_site.layers = sites[site];
        const BlockStats stats = Observe(parts.get(), of_site);
        for (const std::string& name : sites[site]) {
          const int expert = absl::StrContains(name, "_exps") ? 1 : -1;
          EXPECT_NE(stats.Find(name, expert), nullptr) << name;
        }
        for (const auto& [key, s] : stats.layers) {
          EXPECT_NE(
              std::find(sites[site].begin(), sites[site].end(), key.first),
              sites[site].end())
              << key.first;
        }
        ExpectIn(stats, all);
        Coarsen(one, block, kParts[site]);
        Coarsen(other, block, kParts[site]);
      }
      Advance(parts.get());
      Advance(whole.get());
    }
    // What Advance made of it.
    ExpectSame(Observe(parts.get(), All()), Observe(whole.get(), All()));
  }
}

TEST_P(ObserveRequestTest, AttentionReplacedLateIsRunAgain) {
  ObserveRequest request = All();
  request.layers = calibrator_->SitesOfBlock()[2];
  const BlockStats before = Observe(calibrator_.get(), request);
  Coarsen(opened_, 0, "attn.o");
  const BlockStats after = Observe(calibrator_.get(), request);
  const std::string name = request.layers[0];
  EXPECT_NE(before.Find(name, -1)->gram, after.Find(name, -1)->gram);
  const Opened untouched = OpenParam();
  CalibrationOptions options = Exact(1);
  options.expert_rows_per_column = 0;
  const auto fresh = Create(untouched, samples_, options);
  Coarsen(untouched, 0, "attn.o");
  ExpectIn(after, Observe(fresh.get(), All()));
  Coarsen(opened_, 0, "attn.q");
  Coarsen(untouched, 0, "attn.q");
  Advance(calibrator_.get());
  Advance(fresh.get());
  ExpectSame(Observe(calibrator_.get(), All()), Observe(fresh.get(), All()));
}

// What a site's observation keeps is not used once weights before it change.
TEST_P(ObserveRequestTest, WhatIsKeptIsOfTheWeightsThatMadeIt) {
  constexpr const char* kParts[] = {"attn.q", "attn.o", "mlp"};
  for (size_t site = 1; site < 4; ++site) {
    for (size_t changed = 0; changed < site; ++changed) {
      const Opened one = OpenParam(), other = OpenParam();
      const auto parts = Create(one, samples_, Exact(2));
      const auto whole = Create(other, samples_, Exact(1));
      ObserveRequest request;
      request.needs = Gram();
      for (size_t s = 0; s <= site; ++s) {
        request.layers = parts->SitesOfBlock()[s];
        Observe(parts.get(), request);
      }
      Coarsen(one, 0, kParts[changed]);
      Coarsen(other, 0, kParts[changed]);
      // Seen again, and on the way to the next block.
      ExpectIn(Observe(parts.get(), request), Observe(whole.get(), Gram()));
      Coarsen(one, 0, "attn.v");
      Coarsen(other, 0, "attn.v");
      Advance(parts.get());
      Advance(whole.get());
      ExpectSame(Observe(parts.get(), Gram()), Observe(whole.get(), Gram()));
    }
  }
}

TEST_P(ObserveRequestTest, WeightsOfOneChangeNoBitAndTwoDouble) {
  TokenWeights ones, twos;
  for (const auto& names : calibrator_->SitesOfBlock()) {
    for (const std::string& name : names) {
      for (auto& [weights, value] :
           {std::pair<TokenWeights*, float>{&ones, 1}, {&twos, 2}}) {
        weights->layers[name] = std::make_shared<TokenWeights::Values>(
            static_cast<size_t>(kSamples * kTokens), value);
      }
    }
  }
  Coarsen(opened_, 0, "attn.q");
  // Experts as they are, and shrunk.
  for (const double rows_per_column : {0, 4}) {
    CalibrationOptions options = Exact(2);
    options.expert_rows_per_column = rows_per_column;
    const auto calibrator = Create(opened_, samples_, options);
    ObserveRequest request = All();
    const BlockStats plain = Observe(calibrator.get(), request);
    request.weights = &ones;
    ExpectSame(Observe(calibrator.get(), request), plain);
    request.weights = &twos;
    const BlockStats doubled = Observe(calibrator.get(), request);
    for (const auto& [key, s] : plain.layers) {
      const LayerStats* d = doubled.Find(key.first, key.second);
      ASSERT_NE(d, nullptr);
      EXPECT_EQ(d->n_rows, s->n_rows);
      EXPECT_EQ(d->shrinkage, s->shrinkage);
      EXPECT_EQ(d->max_abs, s->max_abs);
      if (s->n_rows == 0) {
        continue;
      }
      EXPECT_EQ(d->weight, 2 * s->weight);
      for (size_t i = 0; i < s->gram.size(); ++i) {
        ASSERT_EQ(d->gram[i], 2 * s->gram[i]) << key.first;
        ASSERT_EQ(d->cross[i], 2 * s->cross[i]) << key.first;
      }
      EXPECT_DOUBLE_EQ(d->MeanSquare(1), s->MeanSquare(1));
    }
  }
}

// Sums are those of the other samples; rows those that the models show.
TEST_P(ObserveRequestTest, HeldOutSamplesAreKeptApart) {
  HiddenStates original_hidden, hidden;
  Coarsen(opened_, 0);
  ObserveRequest request = All();
  request.held_out_every = 4;
  request.held_out_rows = 50;
  const BlockStats stats = Observe(calibrator_.get(), request);
  CalibrationSamples others = samples_;
  std::vector<int64_t> held_out;
  for (int64_t i = 0; i < kSamples * kTokens; ++i) {
    if (i / kTokens % 4 == 3) {
      if (others.counts[static_cast<size_t>(i)] != 0) {
        held_out.push_back(i);
      }
      others.counts[static_cast<size_t>(i)] = 0;
    }
  }
  CalibrationOptions options = Exact(1);
  options.expert_rows_per_column = 0;
  const auto apart = Create(opened_, others, options);
  const BlockStats want = Observe(apart.get(), All());
  Everything x = RunBlock(true, &original_hidden);
  Everything z = RunBlock(false, &hidden);
  int64_t n_dense = 0, n_expert_rows = 0;
  for (const auto& [key, s] : stats.layers) {
    EXPECT_EQ(s->gram, want.Find(key.first, key.second)->gram) << key.first;
    EXPECT_EQ(s->cross, want.Find(key.first, key.second)->cross) << key.first;
    if (s->held_out == nullptr) {
      EXPECT_GE(key.second, 0) << key.first;
      continue;
    }
    const HeldOutRows& rows = *s->held_out;
    const Everything::Layer& layer = z.layers_[key];
    const Everything::Layer& original = x.layers_[key];
    const auto same = [](const std::vector<float>& all, int64_t r,
                         const std::vector<float>& row) {
      return std::equal(row.begin(), row.end(),
                        all.begin() + r * static_cast<int64_t>(row.size()));
    };
    int64_t r = 0;
    for (int64_t k = 0; k < 50; ++k) {
      const int64_t token =
          held_out[static_cast<size_t>(k) * held_out.size() / 50];
      const auto row = layer.rows.find(token);
      if (row == layer.rows.end()) {
        continue;
      }
      ASSERT_LT(r, rows.n_rows) << key.first;
      EXPECT_TRUE(same(rows.inputs, r, row->second)) << key.first;
      const auto pair = original.rows.find(token);
      EXPECT_TRUE(
          same(rows.originals, r,
               pair == original.rows.end() ? row->second : pair->second))
          << key.first;
      if (!layer.residuals.empty()) {
        EXPECT_TRUE(same(
            rows.residual, r,
            Minus(original.residuals.at(token), layer.residuals.at(token))))
            << key.first;
      } else {
        EXPECT_TRUE(rows.residual.empty());
      }
      EXPECT_EQ(rows.weights[static_cast<size_t>(r)], 1);
      ++r;
    }
    EXPECT_EQ(r, rows.n_rows) << key.first;
    (key.second < 0 ? n_dense : n_expert_rows) += r;
  }
  EXPECT_EQ(n_dense % 50, 0);
  EXPECT_GT(n_dense, 0);
  // The first block may be dense in a model with experts.
  const bool experts =
      calibrator_->SitesOfBlock()[3][0] == "blk.0.ffn_down_exps.weight";
  EXPECT_EQ(n_expert_rows > 0, experts);
}

TEST_P(ObserveRequestTest, RefusesWhatDoesNotFit) {
  const auto error = [&](const ObserveRequest& request) {
    const absl::Status status = calibrator_->Observe(request, {}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  ObserveRequest request = All();
  request.layers = {"blk.1.attn_output.weight"};
  EXPECT_THAT(error(request), HasSubstr("blk.1.attn_output.weight, which is no "
                                        "linear layer of block 0"));
  request = All();
  request.held_out_every = 1;
  EXPECT_THAT(error(request), HasSubstr("no other has tokens that count"));
  request = All();
  TokenWeights weights;
  request.weights = &weights;
  auto values = std::make_shared<TokenWeights::Values>(5, 1.0f);
  weights.layers["blk.0.attn_output.weight"] = values;
  EXPECT_THAT(error(request), HasSubstr("has 5 token weights, the 25 samples "
                                        "have 600 tokens"));
  values->assign(600, 1.0f);
  (*values)[27] = -1;
  EXPECT_THAT(error(request),
              HasSubstr("token 3 of sample 1 for blk.0.attn_output.weight is"));
  values->assign(600, 0.0f);
  EXPECT_THAT(error(request), HasSubstr("have weight 0"));
  weights.layers.clear();
  auto of_expert = std::make_shared<TokenWeights::ExpertValues>();
  of_expert->tokens = {4, 4};
  of_expert->weights = {1, 1};
  weights.experts[{"blk.0.ffn_up_exps.weight", 1}] = of_expert;
  EXPECT_THAT(error(request), HasSubstr("expert 1 of blk.0.ffn_up_exps"));
}

INSTANTIATE_TEST_SUITE_P(Families, ObserveRequestTest,
                         testing::Values("llama3", "mixtral", "phi3",
                                         "qwen3_moe", "gemma3_text"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

// Experts have weights of their own; a token that is not listed counts 1.
TEST(ExpertWeightsTest, GoBeforeTheLayersOwn) {
  const Opened opened = Open("testdata/arch/mixtral");
  const CalibrationSamples samples = SomeSamples(*opened.model);
  CalibrationOptions options = Exact(2);
  options.expert_rows_per_column = 0;
  const auto calibrator = Create(opened, samples, options);
  const char* const names[] = {"blk.0.ffn_gate_exps.weight",
                               "blk.0.ffn_up_exps.weight"};
  auto three = std::make_shared<TokenWeights::Values>(
      static_cast<size_t>(kSamples * kTokens), 3.0f);
  auto listed = std::make_shared<TokenWeights::ExpertValues>();
  for (int64_t token = 0; token < kSamples * kTokens / 2; ++token) {
    listed->tokens.push_back(token);
    listed->weights.push_back(0);
  }
  TokenWeights weights;
  for (const char* name : names) {
    weights.layers[name] = three;
    weights.experts[{name, 1}] = listed;
  }
  ObserveRequest request = All();
  const BlockStats plain = Observe(calibrator.get(), request);
  request.weights = &weights;
  const BlockStats stats = Observe(calibrator.get(), request);
  // Only the second half counts.
  CalibrationSamples half = samples;
  std::fill_n(half.counts.begin(), kSamples * kTokens / 2, 0);
  const auto of_half = Create(opened, half, options);
  const BlockStats second = Observe(of_half.get(), All());
  const LayerStats* s = stats.Find(names[0], 1);
  EXPECT_EQ(s, stats.Find(names[1], 1));
  EXPECT_EQ(s->n_rows, plain.Find(names[0], 1)->n_rows);
  EXPECT_EQ(s->weight, static_cast<double>(second.Find(names[0], 1)->n_rows));
  EXPECT_DOUBLE_EQ(s->sum_sq[0], second.Find(names[0], 1)->sum_sq[0]);
  const LayerStats* t = stats.Find(names[0], 0);
  EXPECT_EQ(t->weight, 3.0 * static_cast<double>(t->n_rows));
  // One of the two with other weights: two sums.
  weights.experts.erase({names[1], 1});
  const BlockStats apart = Observe(calibrator.get(), request);
  EXPECT_EQ(apart.Find(names[0], 1)->gram, s->gram);
  EXPECT_EQ(apart.Find(names[1], 1)->weight,
            3.0 * static_cast<double>(s->n_rows));
}

}  // namespace
}  // namespace narrow
