// Whole collections: against llama-imatrix's files, and against themselves
// with other threads, groups and interruptions.

#include "calibration/importance/collect_importance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "calibration/importance/importance_state.h"
#include "formats/base/file.h"
#include "formats/safetensors/safetensors_reader.h"
#include "formats/tokenizer/tokenizer.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kTokens = 64;

std::string Temp(const std::string& name) {
  return JoinPath(::testing::TempDir(), name);
}

struct Input {
  std::unique_ptr<Checkpoint> model;
  std::vector<int32_t> ids;
  std::optional<int32_t> bos;
};

Input Open(const std::string& family, int64_t n_windows) {
  Input input;
  input.model = Checkpoint::Open("testdata/arch/" + family, {}).value();
  const auto tokenizer = Tokenizer::FromGguf(input.model->metadata()).value();
  EncodeOptions encode;
  encode.parse_special = false;
  input.ids = tokenizer->Encode(
      ReadTextFile("testdata/text/wikitext2-sample.txt", 1 << 20).value(),
      encode);
  EXPECT_GE(static_cast<int64_t>(input.ids.size()), n_windows * kTokens);
  input.ids.resize(static_cast<size_t>(n_windows * kTokens));
  if (tokenizer->adds_bos()) {
    input.bos = tokenizer->bos_id();
  }
  return input;
}

ImportanceOptions Options() {
  ImportanceOptions options;
  options.window_tokens = kTokens;
  options.output_matrix = true;
  options.runner.precision = Precision::kExact;
  options.runner.n_threads = 2;
  return options;
}

absl::StatusOr<CollectedImportance> Collect(const Input& input,
                                            const ImportanceOptions& options) {
  return CollectImportance(*input.model, input.ids, input.bos, options, {});
}

// The file as written, for comparisons of all bits.
std::string FileOf(const ImportanceCollection& sums) {
  const std::string path = Temp("sums.gguf");
  EXPECT_TRUE(WriteImportanceGguf(sums, path).ok());
  return ReadTextFile(path, 1 << 24).value();
}

class GoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenTest, SumsAreThoseOfLlamaImatrix) {
  const std::string family = GetParam();
  const auto golden =
      ReadImportanceSums("testdata/imatrix/" + family + "-imatrix.gguf");
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto ours = Collect(Open(family, 4), Options());
  ASSERT_TRUE(ours.ok()) << ours.status();
  EXPECT_EQ(ours->sums.n_chunks, golden->n_chunks);
  EXPECT_EQ(ours->sums.chunk_size, golden->chunk_size);
  ASSERT_EQ(ours->sums.entries.size(), golden->entries.size());
  for (const auto& [name, want] : golden->entries) {
    ASSERT_EQ(ours->sums.entries.count(name), 1u) << name;
    const ImportanceSums& got = ours->sums.entries.at(name);
    EXPECT_EQ(got.counts, want.counts) << name;
    ASSERT_EQ(got.sum_sq.size(), want.sum_sq.size()) << name;
    ASSERT_EQ(got.sum.size(), want.sum.size()) << name;
    for (size_t i = 0; i < got.sum.size(); ++i) {
      // Both compute in float32 and add up to 256 squares, they in float32:
      // 256 * 2^-24 = 1.5e-5.
      ASSERT_NEAR(got.sum_sq[i], want.sum_sq[i], 2e-5 * want.sum_sq[i])
          << name << " " << i;
      const double scale = std::sqrt(want.sum_sq[i] * 256);
      ASSERT_NEAR(got.sum[i], want.sum[i], 2e-5 * scale) << name << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest,
                         testing::Values("llama3", "mixtral"));

TEST(CollectImportanceTest, ThreadsAndGroupsDoNotMatter) {
  for (const char* family : {"mixtral", "gemma2"}) {
    const Input input = Open(family, 5);
    ImportanceOptions options = Options();
    options.perplexity = true;
    const auto all = Collect(input, options);
    ASSERT_TRUE(all.ok()) << all.status();
    const std::string want = FileOf(all->sums);
    for (const int n_threads : {1, 3, 7}) {
      for (const int64_t group : {1, 2, 5}) {
        options.runner.n_threads = n_threads;
        options.group_windows = group;
        const auto some = Collect(input, options);
        ASSERT_TRUE(some.ok()) << some.status();
        EXPECT_TRUE(FileOf(some->sums) == want) << n_threads << " " << group;
        EXPECT_EQ(some->perplexity->perplexity, all->perplexity->perplexity);
      }
    }
  }
}

// Bit for bit, since exact products on a device are the processor's
// reproducible ones and sums go on in the order of rows.
TEST(CollectImportanceTest, ADeviceGivesTheSameSums) {
  for (const char* family : {"gemma3_text", "qwen3_moe"}) {
    const Input input = Open(family, 5);
    ImportanceOptions options = Options();
    options.runner.precision = Precision::kReproducible;
    options.perplexity = true;
    const auto wanted = Collect(input, options);
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    options.runner.device = Device::Cpu();
    const auto sums = Collect(input, options);
    ASSERT_TRUE(sums.ok()) << sums.status();
    EXPECT_TRUE(FileOf(sums->sums) == FileOf(wanted->sums)) << family;
    EXPECT_EQ(sums->perplexity->perplexity, wanted->perplexity->perplexity);
    // In bfloat16 they are near.
    options.runner.precision = Precision::kFast;
    const auto fast = Collect(input, options);
    ASSERT_TRUE(fast.ok()) << fast.status();
    EXPECT_FALSE(FileOf(fast->sums) == FileOf(wanted->sums)) << family;
    const ImportanceSums& first =
        wanted->sums.entries.at("blk.0.attn_q.weight");
    const ImportanceSums& near = fast->sums.entries.at("blk.0.attn_q.weight");
    for (size_t i = 0; i < first.sum_sq.size(); ++i) {
      // The first layer's inputs are norms of embeddings, rounded nowhere.
      EXPECT_EQ(near.sum_sq[i], first.sum_sq[i]);
    }
    const ImportanceSums& deep = wanted->sums.entries.at("blk.1.attn_q.weight");
    const ImportanceSums& deep_near =
        fast->sums.entries.at("blk.1.attn_q.weight");
    double total = 0, difference = 0;
    for (size_t i = 0; i < deep.sum_sq.size(); ++i) {
      total += deep.sum_sq[i];
      difference += std::fabs(deep_near.sum_sq[i] - deep.sum_sq[i]);
    }
    // Hidden states differ by some 2^-9 of their size after a block, their
    // squares by twice that, and signs cancel.
    EXPECT_LT(difference, total / 64) << family;
  }
}

TEST(CollectImportanceTest, TheOutputMatrixIsCollectedUnderItsName) {
  const Input tied = Open("gemma2", 2), untied = Open("mixtral", 2);
  ImportanceOptions options = Options();
  EXPECT_EQ(Collect(tied, options)->sums.entries.count("token_embd.weight"),
            1u);
  const auto with = Collect(untied, options);
  ASSERT_EQ(with->sums.entries.count("output.weight"), 1u);
  const ImportanceSums& sums = with->sums.entries.at("output.weight");
  EXPECT_EQ(sums.counts, std::vector<int64_t>{2 * kTokens});
  options.output_matrix = false;
  const auto without = Collect(untied, options);
  EXPECT_EQ(without->sums.entries.count("output.weight"), 0u);
  EXPECT_EQ(without->sums.entries.size() + 1, with->sums.entries.size());
}

// Stops after `n_windows` windows, as a signal would.
absl::Status Interrupt(const Input& input, ImportanceOptions options,
                       double n_windows) {
  std::atomic<bool> cancelled{false};
  options.cancelled = &cancelled;
  return CollectImportance(
             *input.model, input.ids, input.bos, options,
             [&](double done) { cancelled.store(done >= n_windows); })
      .status();
}

TEST(CollectImportanceTest, AStoppedRunGoesOnToTheSameBytes) {
  const Input input = Open("mixtral", 5);
  ImportanceOptions options = Options();
  options.perplexity = true;
  options.group_windows = 1;
  const auto whole = Collect(input, options);
  ASSERT_TRUE(whole.ok()) << whole.status();

  options.state_path = Temp("stopped.state");
  options.save_seconds = 0;
  for (const double stop : {2.0, 3.2}) {
    const absl::Status status = Interrupt(input, options, stop);
    ASSERT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("goes on from window"));
    ASSERT_TRUE(FileExists(options.state_path));
  }
  options.group_windows = 0;
  options.runner.n_threads = 1;
  const auto resumed = Collect(input, options);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->n_resumed, 3);
  EXPECT_THAT(resumed->warnings, IsEmpty());
  EXPECT_TRUE(FileOf(resumed->sums) == FileOf(whole->sums));
  EXPECT_EQ(resumed->perplexity->perplexity, whole->perplexity->perplexity);
  EXPECT_EQ(resumed->perplexity->n_scored, whole->perplexity->n_scored);

  ASSERT_TRUE(RemoveImportanceState(options.state_path).ok());
  EXPECT_FALSE(FileExists(options.state_path));
  EXPECT_TRUE(RemoveImportanceState(options.state_path).ok());
}

// As a killed run leaves it: saved between groups, never told to stop.
TEST(CollectImportanceTest, SavesBetweenGroups) {
  const Input input = Open("llama3", 4);
  ImportanceOptions options = Options();
  options.group_windows = 1;
  options.save_seconds = 0;
  options.state_path = Temp("saved.state");
  const auto whole = Collect(input, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const auto state = ReadImportanceState(options.state_path);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->n_windows, 3);
  const auto again = Collect(input, options);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->n_resumed, 3);
  EXPECT_TRUE(FileOf(again->sums) == FileOf(whole->sums));
}

TEST(CollectImportanceTest, StatesOfOtherRunsAreNotUsed) {
  const Input input = Open("llama3", 4);
  ImportanceOptions options = Options();
  options.group_windows = 1;
  options.save_seconds = 0;
  options.state_path = Temp("other.state");
  ASSERT_TRUE(Collect(input, options).ok());
  const std::string state = ReadTextFile(options.state_path, 1 << 24).value();

  const auto expect_ignored =
      [&](const Input& now, const ImportanceOptions& with, const char* words) {
        ASSERT_TRUE(WriteTextFile(with.state_path, state).ok());
        ImportanceOptions fresh = with;
        fresh.state_path.clear();
        const auto resumed = Collect(now, with);
        ASSERT_TRUE(resumed.ok()) << resumed.status();
        EXPECT_EQ(resumed->n_resumed, 0) << words;
        ASSERT_THAT(resumed->warnings, SizeIs(1)) << words;
        EXPECT_THAT(resumed->warnings[0], HasSubstr("another model")) << words;
        EXPECT_TRUE(FileOf(resumed->sums) == FileOf(Collect(now, fresh)->sums));
      };
  ImportanceOptions other = options;
  other.output_matrix = false;
  expect_ignored(input, other, "options");
  other = options;
  other.window_tokens = kTokens / 2;
  expect_ignored(input, other, "windows");
  Input text = Open("llama3", 4);
  text.ids[100] = (text.ids[100] + 1) % 300;
  expect_ignored(text, options, "text");
  expect_ignored(Open("llama3", 3), options, "fewer windows");
  expect_ignored(Open("qwen2", 4), options, "model");

  ASSERT_TRUE(WriteTextFile(options.state_path, state.substr(0, 1000)).ok());
  const auto damaged = Collect(input, options);
  ASSERT_TRUE(damaged.ok()) << damaged.status();
  EXPECT_EQ(damaged->n_resumed, 0);
  EXPECT_THAT(damaged->warnings, SizeIs(1));
}

// A copy of the model in which the inner columns of an expert overflow.
TEST(CollectImportanceTest, OverflowInAnExpertNamesTensorWindowAndToken) {
  namespace fs = std::filesystem;
  const std::string folder = Temp("overflow");
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const char* name : {"config.json", "tokenizer.json",
                           "tokenizer_config.json", "model.safetensors"}) {
    const std::string from = JoinPath("testdata/arch/mixtral", name);
    ASSERT_TRUE(WriteTextFile(JoinPath(folder, name),
                              ReadTextFile(from, 1 << 24).value())
                    .ok());
  }
  const std::string weights = JoinPath(folder, "model.safetensors");
  std::string bytes = ReadTextFile(weights, 1 << 24).value();
  {
    const auto source = OpenSafetensors(weights).value();
    for (const TensorView& tensor : source->tensors()) {
      if (tensor.meta.name.find("layers.1.") != std::string::npos &&
          tensor.meta.name.find(".experts.2.w") != std::string::npos) {
        // Finite and near the largest, in bfloat16 as in float32.
        std::memset(&bytes[static_cast<size_t>(tensor.origin.offset)], 0x7f,
                    tensor.data.size());
      }
    }
  }
  ASSERT_TRUE(WriteTextFile(weights, bytes).ok());
  Input input = Open("mixtral", 3);
  input.model = Checkpoint::Open(folder, {}).value();
  ImportanceOptions options = Options();
  options.first_window = 20;
  options.group_windows = 1;
  const absl::Status status = Collect(input, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("first at window 20, token "));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the input of blk.1.ffn_down_exps.weight, expert 2"));
}

TEST(CollectImportanceTest, TokensThatTheModelLacksAreNamed) {
  Input input = Open("llama3", 2);
  input.ids[70] = 1 << 20;
  const absl::Status status = Collect(input, Options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("token 70"));
  input.ids.resize(kTokens + 1);
  EXPECT_EQ(Collect(input, Options()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace narrow
