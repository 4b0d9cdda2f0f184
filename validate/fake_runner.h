// A model whose probabilities are known, for tests: what follows a token
// depends on that token alone, by a table of logits.
//
//   FakeRunner runner(50);
//   runner.set_logit(3, 7, 2.5);  // after token 3, token 7
//
// Hidden states carry the token's id and its position, so that
// tests see which rows reach the output layer.

#ifndef NARROW_VALIDATE_FAKE_RUNNER_H_
#define NARROW_VALIDATE_FAKE_RUNNER_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "calibration/model_runner.h"

namespace narrow {

class FakeRunner : public ModelRunner {
 public:
  // All logits zero: every token has probability 1 / n_vocab.
  explicit FakeRunner(int64_t n_vocab)
      : n_vocab_(n_vocab), logits_(n_vocab * n_vocab, 0.0f) {}

  void set_logit(int64_t after, int64_t token, float logit) {
    logits_[after * n_vocab_ + token] = logit;
  }
  float logit(int64_t after, int64_t token) const {
    return logits_[after * n_vocab_ + token];
  }
  double LogProb(int64_t after, int64_t token) const {
    double sum = 0;
    for (int64_t i = 0; i < n_vocab_; ++i) {
      sum += std::exp(static_cast<double>(logit(after, i)));
    }
    return logit(after, token) - std::log(sum);
  }

  // Windows at once that its memory holds.
  int64_t most_windows = std::numeric_limits<int64_t>::max();
  mutable std::vector<std::string> notes;

  void Note(absl::string_view text) const override { notes.emplace_back(text); }

  // What was asked for.
  std::vector<int64_t> group_windows;             // windows of each Embed
  std::vector<std::pair<int64_t, int64_t>> rows;  // {token, position} scored

  void ForgetWeights() override {}

  int64_t n_blocks() const override { return 3; }
  int64_t hidden_size() const override { return 2; }
  int64_t vocab_size() const override { return n_vocab_; }

  absl::Status Embed(absl::Span<const int32_t> ids, int64_t window_tokens,
                     HiddenStates* hidden) override {
    hidden->n_windows = static_cast<int64_t>(ids.size()) / window_tokens;
    if (hidden->n_windows > most_windows) {
      return absl::ResourceExhaustedError("no memory for hidden states");
    }
    hidden->window_tokens = window_tokens;
    hidden->hidden_size = 2;
    hidden->values.clear();
    for (size_t i = 0; i < ids.size(); ++i) {
      // Each block adds one to the id; see LogProbs.
      hidden->values.push_back(static_cast<float>(ids[i] - n_blocks()));
      hidden->values.push_back(static_cast<float>(i % window_tokens));
    }
    group_windows.push_back(hidden->n_windows);
    return absl::OkStatus();
  }

  absl::Status RunBlock(int64_t, Observer*, HiddenStates* hidden) override {
    for (size_t i = 0; i < hidden->values.size(); i += 2) {
      hidden->values[i] += 1;
    }
    return absl::OkStatus();
  }

  absl::Status RunAttention(int64_t, PartEnd, Observer*,
                            HiddenStates*) override {
    return absl::OkStatus();
  }
  absl::Status RunFeedForward(int64_t block, PartEnd, Observer* observer,
                              HiddenStates* hidden) override {
    return RunBlock(block, observer, hidden);
  }
  absl::Status EndAttention(int64_t, const float*, HiddenStates*) override {
    return absl::OkStatus();
  }
  absl::Status EndFeedForward(int64_t, const float*, HiddenStates*) override {
    return absl::OkStatus();
  }
  InnerCols InnerColsOfBlock(int64_t) const override { return {}; }
  BlockSites SitesOfBlock(int64_t) const override { return {}; }

  // Doubles everything, so that a missing call is seen.
  absl::Status FinalNorm(HiddenStates* hidden) override {
    for (float& value : hidden->values) {
      value *= 2;
    }
    return absl::OkStatus();
  }

  absl::Status Logits(const float* states, int64_t n_rows,
                      float* logits) override {
    for (int64_t row = 0; row < n_rows; ++row) {
      for (int64_t i = 0; i < n_vocab_; ++i) {
        *logits++ = logit(TokenOf(states + 2 * row), i);
      }
    }
    return absl::OkStatus();
  }

  absl::Status LogProbs(const float* states, int64_t n_rows,
                        const int32_t* targets, TokenScore* scores) override {
    for (int64_t row = 0; row < n_rows; ++row) {
      const int64_t token = TokenOf(states + 2 * row);
      rows.push_back({token, static_cast<int64_t>(states[2 * row + 1] / 2)});
      scores[row].log_prob = LogProb(token, targets[row]);
      scores[row].top_token = 0;
      for (int64_t i = 1; i < n_vocab_; ++i) {
        if (logit(token, i) > logit(token, scores[row].top_token)) {
          scores[row].top_token = static_cast<int32_t>(i);
        }
      }
    }
    return absl::OkStatus();
  }

 private:
  static int64_t TokenOf(const float* state) {
    return static_cast<int64_t>(state[0] / 2);
  }

  int64_t n_vocab_;
  std::vector<float> logits_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_FAKE_RUNNER_H_
