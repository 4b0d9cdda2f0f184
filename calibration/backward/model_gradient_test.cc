// The reverse pass of every family: gradients at the outputs of linear layers
// against torch's, and gradients of hidden states against differences of the
// forward pass.
//
// NARROW_BACKWARD_GOLDENS names another folder of goldens, which may hold
// whole gradients (tools/make_backward_goldens.py without --norms), and
// NARROW_BACKWARD_MODELS another folder of models.

#include "calibration/backward/model_gradient.h"

#include <dirent.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "calibration/backward/layers/row_gradients.h"
#include "formats/safetensors/safetensors_reader.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

std::vector<std::string> Entries(const std::string& folder) {
  std::vector<std::string> names;
  if (DIR* open = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(open)) {
      names.push_back(entry->d_name);
    }
    closedir(open);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> Models() {
  std::vector<std::string> models,
      roots = {"testdata/arch", "testdata/arch_options"};
  if (const char* root = std::getenv("NARROW_BACKWARD_MODELS")) {
    roots = {root};
  }
  for (const std::string& root : roots) {
    for (const std::string& name : Entries(root)) {
      const std::string path = absl::StrCat(root, "/", name);
      if (OpenSafetensors(path + "/expected.safetensors").ok()) {
        models.push_back(path);
      }
    }
  }
  return models;
}

std::string GoldenFolder() {
  const char* folder = std::getenv("NARROW_BACKWARD_GOLDENS");
  return folder != nullptr ? folder : "testdata/backward";
}

std::string BaseName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::string TestName(const testing::TestParamInfo<std::string>& info) {
  return absl::StrReplaceAll(BaseName(info.param), {{"-", "_"}});
}

std::unique_ptr<Checkpoint> Open(const std::string& path) {
  CheckpointOptions options;
  options.skip_tokenizer = true;
  auto model = Checkpoint::Open(path, options);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

template <typename T>
std::vector<T> Values(const TensorView& view) {
  std::vector<T> values(view.data.size() / sizeof(T));
  std::memcpy(values.data(), view.data.data(), view.data.size());
  return values;
}

// Gradients of a layer, rows in order of tokens.
struct Seen {
  int64_t n_cols = 0;
  std::vector<int64_t> tokens;
  std::vector<float> rows;
};

class Recorder : public GradientObserver {
 public:
  absl::Status OnGradient(const LayerGradient& gradient) override {
    std::string name(gradient.name);
    if (gradient.expert >= 0) {
      absl::StrAppend(&name, ".", gradient.expert);
    }
    Seen& seen = layers[name];
    seen.n_cols = gradient.n_cols;
    for (int64_t r = 0; r < gradient.n_rows; ++r) {
      const float* row = gradient.rows + r * gradient.stride;
      seen.tokens.push_back(gradient.token(r));
      seen.rows.insert(seen.rows.end(), row, row + gradient.n_cols);
    }
    return absl::OkStatus();
  }

  std::map<std::string, Seen> layers;
};

// The whole of forward and reverse over some windows.
struct Pass {
  std::vector<HiddenStates> inputs;  // of the blocks, and the last's output
  std::vector<int32_t> labels;
  // gradients[b]: at inputs[b].
  std::vector<std::vector<float>> gradients;
  double loss = 0;
  Recorder recorder;
};

void Forward(ModelGradient* model, const std::vector<int32_t>& ids,
             int64_t window_tokens, Pass* pass) {
  HiddenStates hidden;
  absl::Status status = model->runner()->Embed(ids, window_tokens, &hidden);
  ASSERT_TRUE(status.ok()) << status;
  pass->inputs = {hidden};
  for (int64_t b = 0; b < model->n_blocks(); ++b) {
    status = model->runner()->RunBlock(b, nullptr, &hidden);
    ASSERT_TRUE(status.ok()) << status;
    pass->inputs.push_back(hidden);
  }
}

void Reverse(ModelGradient* model, Pass* pass) {
  const size_t n = pass->inputs.size() - 1;
  std::vector<float> gradient(pass->inputs[n].values.size());
  const std::vector<uint8_t> counts(pass->labels.size(), 1);
  absl::Status status =
      model->Loss(pass->inputs[n], counts.data(), 0, pass->labels.data(),
                  gradient.data(), &pass->loss, &pass->recorder);
  ASSERT_TRUE(status.ok()) << status;
  pass->gradients.assign(n + 1, {});
  pass->gradients[n] = gradient;
  for (size_t b = n; b-- > 0;) {
    status = model->Block(static_cast<int64_t>(b), pass->inputs[b],
                          &pass->recorder, gradient.data());
    ASSERT_TRUE(status.ok()) << status;
    pass->gradients[b] = gradient;
  }
}

std::unique_ptr<ModelGradient> NewGradient(const Checkpoint& model,
                                           GradientOptions options = {}) {
  options.n_threads = 2;
  auto gradient = ModelGradient::Create(&model, options);
  EXPECT_TRUE(gradient.ok()) << gradient.status();
  return gradient.ok() ? *std::move(gradient) : nullptr;
}

// |a - b| / |b|.
double Distance(const std::vector<double>& a, const std::vector<double>& b) {
  double error = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    error += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return std::sqrt(error / size);
}

class GoldenTest : public testing::TestWithParam<std::string> {};

// Both sides compute in float32 in another order. The forward pass agrees to
// some 1e-6 of the logits; the fixtures' weights are drawn wide, so that their
// reverse pass amplifies this: the largest error seen is 3e-6.
constexpr double kTolerance = 1e-4;

// Other models' goldens are too large to keep.
constexpr absl::string_view kCommitted[] = {
    "gemma2", "gemma3_linear", "llama_yarn_biases",
    "qwen2",  "phi3_longrope", "qwen3_moe_plain_weights"};

TEST_P(GoldenTest, GradientsAreTorchs) {
  const std::string name = BaseName(GetParam());
  auto golden =
      OpenSafetensors(absl::StrCat(GoldenFolder(), "/", name, ".safetensors"));
  if (!golden.ok()) {
    ASSERT_EQ(std::count(std::begin(kCommitted), std::end(kCommitted), name), 0)
        << golden.status();
    GTEST_SKIP() << "its golden is not committed";
  }
  const auto model = Open(GetParam());
  ASSERT_NE(model, nullptr);
  const auto gradient = NewGradient(*model);
  ASSERT_NE(gradient, nullptr);
  const TensorView* ids = (*golden)->Find("input_ids");
  ASSERT_NE(ids, nullptr);
  const auto wide_ids = Values<int64_t>(*ids);
  const auto wide_labels = Values<int64_t>(*(*golden)->Find("labels"));
  Pass pass;
  pass.labels.assign(wide_labels.begin(), wide_labels.end());
  Forward(gradient.get(), {wide_ids.begin(), wide_ids.end()},
          ids->meta.shape[1], &pass);
  Reverse(gradient.get(), &pass);
  const double loss = Values<double>(*(*golden)->Find("loss"))[0];
  EXPECT_NEAR(pass.loss, loss, 1e-5 * loss);

  size_t n_compared = 0;
  double worst = 0;
  for (const TensorView& want : (*golden)->tensors()) {
    absl::string_view layer = want.meta.name;
    const bool whole = absl::ConsumePrefix(&layer, "gradient.");
    if (!whole && !absl::ConsumePrefix(&layer, "norm.")) {
      continue;
    }
    const auto found = pass.recorder.layers.find(std::string(layer));
    ASSERT_NE(found, pass.recorder.layers.end()) << layer;
    const Seen& seen = found->second;
    if (const TensorView* tokens =
            (*golden)->Find(absl::StrCat("tokens.", layer))) {
      EXPECT_EQ(seen.tokens, Values<int64_t>(*tokens)) << layer;
    }
    const auto values = Values<float>(want);
    std::vector<double> got(seen.rows.begin(), seen.rows.end());
    if (!whole) {
      got.clear();
      for (size_t r = 0; r < seen.tokens.size(); ++r) {
        got.push_back(SquaredNorm(
            seen.rows.data() + static_cast<int64_t>(r) * seen.n_cols,
            seen.n_cols));
      }
    }
    ASSERT_EQ(got.size(), values.size()) << layer;
    const double distance = Distance(got, {values.begin(), values.end()});
    EXPECT_LT(distance, kTolerance) << layer;
    worst = std::max(worst, distance);
    ++n_compared;
  }
  EXPECT_EQ(n_compared, pass.recorder.layers.size());
  std::printf("%s: %zu layers, largest error %.2g\n", name.c_str(), n_compared,
              worst);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest, testing::ValuesIn(Models()),
                         TestName);

class DifferenceTest : public testing::TestWithParam<std::string> {};

double Random(uint64_t* state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>(*state >> 33) / double(1 << 30) - 1;
}

// The loss when block `b` is given `hidden`.
double LossFrom(ModelGradient* model, size_t b, HiddenStates hidden,
                const std::vector<int32_t>& labels) {
  ModelRunner* runner = model->runner();
  absl::Status status;
  for (int64_t i = static_cast<int64_t>(b); i < model->n_blocks(); ++i) {
    status.Update(runner->RunBlock(i, nullptr, &hidden));
  }
  status.Update(runner->FinalNorm(&hidden));
  std::vector<TokenScore> scores(labels.size());
  status.Update(runner->LogProbs(hidden.values.data(),
                                 static_cast<int64_t>(labels.size()),
                                 labels.data(), scores.data()));
  EXPECT_TRUE(status.ok()) << status;
  double loss = 0;
  for (const TokenScore& score : scores) {
    loss -= score.log_prob;
  }
  return loss;
}

// Along a direction that is half the gradient, half random: a wrong gradient
// that is orthogonal to the right one's error would pass otherwise.
TEST_P(DifferenceTest, GradientsAreDifferences) {
  const auto model = Open(GetParam());
  ASSERT_NE(model, nullptr);
  const auto gradient = NewGradient(*model);
  ASSERT_NE(gradient, nullptr);
  constexpr int64_t kTokens = 40;
  const int64_t n_vocab = gradient->runner()->vocab_size();
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < 2 * kTokens; ++i) {
    ids.push_back(static_cast<int32_t>((i * i * 31 + i * 7) % n_vocab));
  }
  Pass pass;
  // Not drawn from the model: some fixtures are sure of what they see, and
  // their loss would be flat.
  for (size_t i = 0; i < ids.size(); ++i) {
    pass.labels.push_back(
        static_cast<int32_t>((i * 37 + 11) % static_cast<size_t>(n_vocab)));
  }
  Forward(gradient.get(), ids, kTokens, &pass);
  Reverse(gradient.get(), &pass);
  EXPECT_NEAR(LossFrom(gradient.get(), pass.inputs.size() - 1,
                       pass.inputs.back(), pass.labels),
              pass.loss, 1e-6 * pass.loss);

  uint64_t state = 5;
  for (size_t b = 0; b < pass.inputs.size(); ++b) {
    const std::vector<float>& g = pass.gradients[b];
    double size = 0;
    for (const float v : g) {
      size += static_cast<double>(v) * static_cast<double>(v);
    }
    size = std::sqrt(size);
    std::vector<double> direction;
    double slope = 0;
    for (const float v : g) {
      direction.push_back(v / size +
                          Random(&state) * std::sqrt(3.0 / g.size()));
      slope += direction.back() * static_cast<double>(v);
    }
    // The step changes the loss by some 1e-4 of itself, of which the forward
    // pass's rounding is 1e-3 and the third derivative's share less.
    const double step = 1e-4 * pass.loss / size;
    double losses[2];
    for (int side = 0; side < 2; ++side) {
      HiddenStates moved = pass.inputs[b];
      for (size_t i = 0; i < g.size(); ++i) {
        moved.values[i] +=
            static_cast<float>((side == 0 ? step : -step) * direction[i]);
      }
      losses[side] = LossFrom(gradient.get(), b, moved, pass.labels);
    }
    const double difference = (losses[0] - losses[1]) / (2 * step);
    EXPECT_NEAR(difference / slope, 1, 0.01) << "block " << b;
    std::printf("%s block %zu: differences / gradient %.5f\n",
                BaseName(GetParam()).c_str(), b, difference / slope);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DifferenceTest, testing::ValuesIn(Models()),
                         TestName);

}  // namespace
}  // namespace narrow
