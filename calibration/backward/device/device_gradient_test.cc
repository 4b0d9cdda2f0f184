// The reverse pass of a device against the processor's, of every family: the
// code of a card's threads on the CPU, and a card where there is one.

#include "calibration/backward/device/device_gradient.h"

#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/backward/gradient_observer.h"
#include "calibration/backward/model_gradient.h"

namespace narrow {
namespace {

std::unique_ptr<Checkpoint> Open(const std::string& path) {
  CheckpointOptions options;
  options.skip_tokenizer = true;
  auto model = Checkpoint::Open(path, options);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*card);
  }
  return devices;
}

std::vector<std::string> Models() {
  std::vector<std::string> models;
  for (const std::string root : {"testdata/arch", "testdata/arch_options"}) {
    if (DIR* open = opendir(root.c_str())) {
      while (const dirent* entry = readdir(open)) {
        if (entry->d_name[0] != '.') {
          models.push_back(absl::StrCat(root, "/", entry->d_name));
        }
      }
      closedir(open);
    }
  }
  std::sort(models.begin(), models.end());
  return models;
}

// Everything that an observer is shown, in order.
class Recorder : public GradientObserver {
 public:
  struct Call {
    std::vector<float> rows, norms;
    std::vector<int64_t> tokens;
    bool operator==(const Call& other) const {
      return rows == other.rows && norms == other.norms &&
             tokens == other.tokens;
    }
  };

  absl::Status OnGradient(const LayerGradient& gradient) override {
    Call call;
    for (int64_t r = 0; r < gradient.n_rows; ++r) {
      const float* row = gradient.rows + r * gradient.stride;
      call.rows.insert(call.rows.end(), row, row + gradient.n_cols);
      call.tokens.push_back(gradient.token(r));
      if (gradient.input_norms != nullptr) {
        call.norms.push_back(gradient.input_norms[r]);
      }
    }
    calls[absl::StrCat(gradient.name, " ", gradient.expert)].push_back(
        std::move(call));
    return absl::OkStatus();
  }

  std::map<std::string, std::vector<Call>> calls;
};

struct Outcome {
  Recorder seen;
  std::vector<int32_t> labels;
  std::vector<float> gradient;
  double loss = 0;
  std::vector<std::string> notes;
};

constexpr int64_t kWindows = 2;

// States at the input of every block and the last one's output.
std::vector<HiddenStates> StatesOf(const Checkpoint& model,
                                   int64_t window_tokens) {
  GradientOptions options;
  options.n_threads = 2;
  auto gradient = ModelGradient::Create(&model, options);
  EXPECT_TRUE(gradient.ok()) << gradient.status();
  ModelRunner* const runner = (*gradient)->runner();
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < kWindows * window_tokens; ++i) {
    ids.push_back(
        static_cast<int32_t>((i * i * 31 + i * 7) % model.config().vocab_size));
  }
  std::vector<HiddenStates> states(1);
  EXPECT_TRUE(runner->Embed(ids, window_tokens, &states[0]).ok());
  for (int64_t b = 0; b < runner->n_blocks(); ++b) {
    HiddenStates next = states.back();
    EXPECT_TRUE(runner->RunBlock(b, nullptr, &next).ok());
    states.push_back(std::move(next));
  }
  return states;
}

// The loss, and the last block and the first, which differ in what slides.
// `given`: labels that are not drawn.
Outcome GoBack(const Checkpoint& model, const std::vector<HiddenStates>& states,
               const std::optional<Device>& device, bool given) {
  Outcome outcome;
  GradientOptions options;
  options.n_threads = 2;
  options.device = device;
  options.n_windows = kWindows;
  options.window_tokens = states[0].window_tokens;
  options.on_device_note = [&](absl::string_view note) {
    outcome.notes.emplace_back(note);
  };
  auto gradient = ModelGradient::Create(&model, options);
  EXPECT_TRUE(gradient.ok()) << gradient.status();
  if (!gradient.ok()) {
    return outcome;
  }
  std::vector<uint8_t> counts;
  for (int64_t i = 0; i < kWindows * options.window_tokens; ++i) {
    counts.push_back(i % 11 != 3 ? 1 : 0);
    outcome.labels.push_back(given ? static_cast<int32_t>(i) : -1);
  }
  outcome.gradient.resize(states[0].values.size());
  absl::Status status =
      (*gradient)->Loss(states.back(), counts.data(), 5, outcome.labels.data(),
                        outcome.gradient.data(), &outcome.loss, &outcome.seen);
  EXPECT_TRUE(status.ok()) << status;
  for (const int64_t b : {(*gradient)->n_blocks() - 1, int64_t{0}}) {
    status = (*gradient)->Block(b, states[static_cast<size_t>(b)],
                                &outcome.seen, outcome.gradient.data());
    EXPECT_TRUE(status.ok()) << status;
  }
  return outcome;
}

std::string Difference(const std::vector<Recorder::Call>& a,
                       const std::vector<Recorder::Call>& b) {
  if (a.size() != b.size()) {
    return absl::StrCat(": ", a.size(), " and ", b.size(), " calls");
  }
  for (size_t i = 0; i < a.size(); ++i) {
    const std::pair<const std::vector<float>*, const std::vector<float>*>
        both[] = {{&a[i].rows, &b[i].rows}, {&a[i].norms, &b[i].norms}};
    for (const auto& [x, y] : both) {
      for (size_t at = 0; at < std::min(x->size(), y->size()); ++at) {
        if ((*x)[at] != (*y)[at]) {
          return absl::StrCat(": call ", i, ", number ", at, " of ", x->size(),
                              ": ", (*x)[at], " and ", (*y)[at]);
        }
      }
    }
  }
  return "";
}

void ExpectSame(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.loss, b.loss);
  ASSERT_EQ(a.seen.calls.size(), b.seen.calls.size());
  for (const auto& [name, calls] : a.seen.calls) {
    ASSERT_EQ(b.seen.calls.count(name), 1) << name;
    EXPECT_TRUE(calls == b.seen.calls.at(name))
        << name << Difference(calls, b.seen.calls.at(name));
  }
  EXPECT_TRUE(a.gradient == b.gradient);
}

void ExpectSameOn(const Checkpoint& model, int64_t window_tokens, bool given) {
  const std::vector<HiddenStates> states = StatesOf(model, window_tokens);
  const Outcome wanted = GoBack(model, states, std::nullopt, given);
  for (const Device& device : Devices()) {
    SCOPED_TRACE(device.Description());
    ExpectSame(wanted, GoBack(model, states, device, given));
  }
}

TEST(DeviceGradientTest, HasTheProcessorsBitsForEveryFamily) {
  int n_models = 0;
  for (const std::string& path : Models()) {
    SCOPED_TRACE(path);
    const auto model = Open(path);
    ASSERT_NE(model, nullptr);
    ExpectSameOn(*model, 20, false);
    ++n_models;
  }
  EXPECT_GT(n_models, 10);
}

// Windows of more tokens than one tile of queries, and not a multiple of it;
// more than a sliding window's. With soft caps.
TEST(DeviceGradientTest, HasThemForLongWindowsAndGivenLabels) {
  const auto model = Open("testdata/arch/gemma2");
  ASSERT_NE(model, nullptr);
  ExpectSameOn(*model, 70, true);
}

// One window at a time, chunks of queries.
TEST(DeviceGradientTest, GoesOnWithFewerWindowsWhereMemoryIsShort) {
  const auto model = Open("testdata/arch/mistral");
  ASSERT_NE(model, nullptr);
  constexpr int64_t kTokens = 220;
  GradientOptions options;
  options.n_windows = kWindows;
  options.window_tokens = kTokens;
  int n_notes = 0;
  options.on_device_note = [&](absl::string_view note) {
    n_notes += absl::StrContains(note, "goes on with 1 windows at once");
  };
  for (int64_t limit = int64_t{6} << 20; limit > 0 && n_notes == 0;
       limit -= limit / 128) {
    options.device = Device::Cpu(limit);
    const auto made = ModelGradient::Create(model.get(), options);
    ASSERT_TRUE(made.ok()) << limit << " bytes: " << made.status();
  }
  const std::vector<HiddenStates> states = StatesOf(*model, kTokens);
  const Outcome outcome = GoBack(*model, states, options.device, false);
  EXPECT_THAT(
      outcome.notes,
      testing::Contains(testing::HasSubstr("goes on with 1 windows at once")));
  ExpectSame(GoBack(*model, states, std::nullopt, false), outcome);
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
  ASSERT_EQ(a.moments->layers().size(), b.moments->layers().size());
  for (const auto& [key, layer] : a.moments->layers()) {
    const auto mine = a.moments->Read(key.first, key.second);
    const auto other = b.moments->Read(key.first, key.second);
    ASSERT_TRUE(mine.ok() && other.ok()) << key.first;
    EXPECT_EQ(*mine, *other) << key.first;
    EXPECT_EQ(layer.n_rows, b.moments->layers().at(key).n_rows);
  }
}

// Weights and moments made where the gradients are, in batches of samples,
// and by the processor where the device is too small for anything.
TEST(DeviceGradientTest, MakesTheProcessorsWeightsAndMoments) {
  for (const char* path : {"testdata/arch/gemma3_text",
                           "testdata/arch_options/qwen3_moe_plain_weights"}) {
    SCOPED_TRACE(path);
    const auto model = Open(path);
    ASSERT_NE(model, nullptr);
    const CalibrationSamples samples = Samples(*model, 3, 20);
    FisherOptions options;
    options.n_threads = 2;
    options.per_input = true;
    options.max_moment_outputs = 200;
    const auto wanted = ComputeFisherWeights(model.get(), samples, options, {});
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    std::vector<std::string> notes;
    options.on_device_note = [&](absl::string_view note) {
      notes.emplace_back(note);
    };
    options.device = Device::Cpu();
    const auto there = ComputeFisherWeights(model.get(), samples, options, {});
    ASSERT_TRUE(there.ok()) << there.status();
    ExpectSame(*wanted, *there);
    EXPECT_THAT(notes, testing::IsEmpty());
    options.device = Device::Cpu(/*memory_limit=*/100000);
    const auto back = ComputeFisherWeights(model.get(), samples, options, {});
    ASSERT_TRUE(back.ok()) << back.status();
    ExpectSame(*wanted, *back);
    EXPECT_THAT(notes.back(),
                testing::HasSubstr("tokens are weighed by the processor"));
  }
}

}  // namespace
}  // namespace narrow
