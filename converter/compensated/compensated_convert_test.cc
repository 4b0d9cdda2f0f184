// Files written with a solver that is known: what WriteCompensated promises
// whatever the solver does.

#include "converter/compensated/compensated_convert.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/weights/weights.h"
#include "converter/compensated/matrix/solve_tensor.h"
#include "formats/base/file.h"
#include "formats/overlay_source.h"
#include "gtest/gtest.h"
#include "kernels/device.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

// The codec's encoder without importance, as a conversion without a solver.
absl::StatusOr<CompensatedResult> Plain(const CompensatedProblem& problem) {
  CompensatedResult result;
  const TypeGeometry& geometry = Geometry(problem.codec->type);
  result.bytes.resize(static_cast<size_t>(problem.n_rows * problem.n_cols /
                                          geometry.block_weights *
                                          geometry.block_bytes));
  problem.codec->EncodeRows(problem.weights, problem.n_rows, problem.n_cols,
                            nullptr, result.bytes.data());
  result.plain_bytes = result.bytes;
  result.relative_error = 0.5;
  result.relative_error_plain = 1;
  result.accepted = true;
  return result;
}

struct Seen {
  std::string name;
  int64_t n_rows = 0, n_cols = 0;
  std::vector<double> gram, cross;
};

class CompensatedConvertTest : public testing::Test {
 protected:
  void Open(const std::string& folder) {
    auto opened = Checkpoint::Open(folder, {});
    ASSERT_TRUE(opened.ok()) << opened.status();
    model_ = *std::move(opened);
    samples_.sample_tokens = 16;
    for (int32_t i = 0; i < 8 * 16; ++i) {
      samples_.ids.push_back(i * 29 % 300);
      samples_.counts.push_back(1);
    }
    samples_.hash = HashSamples(samples_);
    folder_ = testing::TempDir() + "/" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }

  // `pure`, of the fixtures' 64 columns whatever divides 32.
  Plan PlanOf(FileType type, bool calibrated) {
    Recipe recipe;
    recipe.file_type = type;
    recipe.pure = true;
    recipe.calibrated = calibrated;
    auto plan = MakePlan(*model_, recipe, nullptr);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *std::move(plan);
  }

  std::string Path(const std::string& name) const {
    return folder_ + "/" + name;
  }
  static std::string Bytes(const std::string& path) {
    const auto file = MappedFile::Open(path);
    EXPECT_TRUE(file.ok()) << file.status();
    return std::string(reinterpret_cast<const char*>((*file)->bytes().data()),
                       (*file)->bytes().size());
  }
  // The file that a conversion without a solver gives.
  std::string PlainFile(FileType type) {
    const Plan plan = PlanOf(type, false);
    const std::string path = Path("plain.gguf");
    const Output output = {&plan, path};
    EXPECT_TRUE(WriteOutputs(*model_, {&output, 1}, {}).ok());
    return Bytes(path);
  }
  CompensatedConvertOptions Options(bool one_shot) {
    CompensatedConvertOptions options;
    options.run.settings.one_shot = one_shot;
    options.run.n_threads = 2;
    options.run.solve = Plain;
    return options;
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  std::unique_ptr<Checkpoint> model_;
  CalibrationSamples samples_;
  std::string folder_;
};

TEST_F(CompensatedConvertTest, SolvedRowsLieWherePlainOnesDo) {
  for (const char* folder :
       {"testdata/arch/llama3", "testdata/arch/qwen3_moe", "testdata/arch/phi3",
        "testdata/arch/gemma3_text"}) {
    SCOPED_TRACE(folder);
    samples_ = CalibrationSamples();
    Open(folder);
    const std::string plain = PlainFile(FileType::kQ4_0);
    for (const bool one_shot : {true, false}) {
      const Plan plan = PlanOf(FileType::kQ4_0, true);
      const Output output = {&plan, Path("solved.gguf")};
      const auto outcomes = WriteCompensated(*model_, samples_, {&output, 1},
                                             Options(one_shot), {});
      ASSERT_TRUE(outcomes.ok()) << outcomes.status();
      EXPECT_EQ(Bytes(output.path), plain);
      EXPECT_EQ(Files().size(), 2u);  // no work is left
      ASSERT_EQ(outcomes->size(), 1u);
      const CompensatedOutcome& outcome = outcomes->front();
      EXPECT_GT(outcome.solved.size(), 6u);
      for (const SolvedReport& report : outcome.solved) {
        EXPECT_EQ(report.n_accepted, report.n_matrices) << report.name;
        EXPECT_TRUE(report.plain_why.empty()) << report.name;
        EXPECT_NEAR(report.relative_error, 0.5, 1e-9);
      }
    }
  }
}

// Statistics, baselines, experts side by side: a whole file as the processor
// writes it; with memory for little more than a block's weights, too.
TEST_F(CompensatedConvertTest, ADeviceSolvesTheSameFile) {
  const std::pair<const char*, std::vector<int64_t>> cases[] = {
      {"testdata/arch/llama3", {0, 260000}}, {"testdata/arch/mixtral", {0}}};
  for (const auto& [folder, limits] : cases) {
    SCOPED_TRACE(folder);
    samples_ = CalibrationSamples();
    Open(folder);
    const Plan plan = PlanOf(FileType::kQ4_0, true);
    const Output output = {&plan, Path("solved.gguf")};
    CompensatedConvertOptions options = Options(true);
    options.run.solve = SolveCompensated;
    options.run.settings.solver.rounds = 1;
    ASSERT_TRUE(
        WriteCompensated(*model_, samples_, {&output, 1}, options, {}).ok());
    const std::string want = Bytes(output.path);
    for (const int64_t limit : limits) {
      options.run.device = Device::Cpu(limit);
      const auto outcomes =
          WriteCompensated(*model_, samples_, {&output, 1}, options, {});
      ASSERT_TRUE(outcomes.ok()) << outcomes.status();
      EXPECT_EQ(Bytes(output.path), want) << limit;
      int n_notes = 0;
      for (const SolvedReport& report : outcomes->front().solved) {
        for (const std::string& note : report.notes) {
          n_notes += absl::StrContains(note, "limited to") ? 1 : 0;
        }
      }
      EXPECT_EQ(n_notes > 0, limit > 0);
    }
  }
}

TEST_F(CompensatedConvertTest, ErrorsThatAreNotFiniteAreKeptAsSuch) {
  Open("testdata/arch/llama3");
  const Plan plan = PlanOf(FileType::kQ4_0, true);
  const Output output = {&plan, Path("solved.gguf")};
  CompensatedConvertOptions options = Options(true);
  options.run.solve = [](const CompensatedProblem& problem) {
    auto result = Plain(problem);
    result->relative_error_plain = std::numeric_limits<double>::infinity();
    return result;
  };
  const auto outcomes =
      WriteCompensated(*model_, samples_, {&output, 1}, options, {});
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  ASSERT_FALSE(outcomes->front().solved.empty());
  EXPECT_TRUE(
      std::isinf(outcomes->front().solved.front().relative_error_plain));
}

// Of a tensor in a file.
std::vector<float> RowsOf(const std::string& path, const std::string& name) {
  const auto model = Checkpoint::Open(path, {});
  EXPECT_TRUE(model.ok()) << model.status();
  for (const CheckpointTensor& tensor : (*model)->tensors()) {
    if (tensor.meta.name == name) {
      std::vector<float> rows(static_cast<size_t>(tensor.meta.n_elements()));
      EXPECT_TRUE(
          ReadRows(**model, tensor, 0, tensor.meta.n_rows(), rows.data()).ok());
      return rows;
    }
  }
  ADD_FAILURE() << "no " << name;
  return {};
}

// A solver that stores zeros for whatever it is given.
TEST_F(CompensatedConvertTest, RoutersAreWhatAPlainConversionWrites) {
  for (const char* folder :
       {"testdata/arch/mixtral", "testdata/arch/qwen3_moe"}) {
    SCOPED_TRACE(folder);
    samples_ = CalibrationSamples();
    Open(folder);
    PlainFile(FileType::kQ4_0);
    for (const bool one_shot : {true, false}) {
      const Plan plan = PlanOf(FileType::kQ4_0, true);
      const Output output = {&plan, Path("solved.gguf")};
      CompensatedConvertOptions options = Options(one_shot);
      options.run.solve = [](const CompensatedProblem& problem) {
        CompensatedProblem other = problem;
        const std::vector<float> zeros(
            static_cast<size_t>(problem.n_rows * problem.n_cols), 0.0f);
        other.weights = zeros.data();
        return Plain(other);
      };
      ASSERT_TRUE(
          WriteCompensated(*model_, samples_, {&output, 1}, options, {}).ok());
      int n_routers = 0;
      for (const PlannedTensor& planned : plan.tensors) {
        const std::string& name = planned.meta.name;
        const std::vector<float> rows = RowsOf(output.path, name);
        if (absl::StrContains(name, "ffn_gate_inp.weight")) {
          EXPECT_EQ(rows, RowsOf(Path("plain.gguf"), name)) << name;
          EXPECT_NE(rows, std::vector<float>(rows.size(), 0.0f)) << name;
          ++n_routers;
        } else if (absl::StrContains(name, "_exps.weight")) {
          EXPECT_EQ(rows, std::vector<float>(rows.size(), 0.0f)) << name;
        }
      }
      EXPECT_GE(n_routers, 2);  // not of blocks without experts
    }
  }
}

TEST_F(CompensatedConvertTest, OneShotSharesStatisticsAmongTypes) {
  Open("testdata/arch/llama3");
  const Plan a = PlanOf(FileType::kQ4_0, true);
  const Plan b = PlanOf(FileType::kQ8_0, true);
  const std::vector<Output> outputs = {{&a, Path("a.gguf")},
                                       {&b, Path("b.gguf")}};
  std::vector<std::pair<std::string, const LayerStats*>> seen;
  CompensatedConvertOptions options = Options(true);
  options.run.solve = [&seen](const CompensatedProblem& problem) {
    seen.emplace_back(std::string(problem.name), problem.stats);
    EXPECT_TRUE(problem.stats->cross.empty());
    return Plain(problem);
  };
  ASSERT_TRUE(WriteCompensated(*model_, samples_, outputs, options, {}).ok());
  for (const auto& [name, stats] : seen) {
    EXPECT_EQ(std::count(seen.begin(), seen.end(), std::make_pair(name, stats)),
              2)
        << name;
  }
  EXPECT_EQ(Bytes(Path("b.gguf")), PlainFile(FileType::kQ8_0));
  EXPECT_EQ(Bytes(Path("a.gguf")), PlainFile(FileType::kQ4_0));
}

TEST_F(CompensatedConvertTest, LaterSitesSeeWhatEarlierOnesComputeInTheFile) {
  Open("testdata/arch/llama3");
  const Plan plan = PlanOf(FileType::kQ4_0, true);
  const Output output = {&plan, Path("solved.gguf")};
  // Runs with a solver that stores zeros for `name`, and takes statistics.
  const auto stats_with = [&](const std::string& name, bool one_shot) {
    std::map<std::string, LayerStats> stats;
    CompensatedConvertOptions options = Options(one_shot);
    options.run.solve = [&](const CompensatedProblem& problem) {
      stats[std::string(problem.name)] = *problem.stats;
      CompensatedProblem other = problem;
      const std::vector<float> zeros(
          static_cast<size_t>(problem.n_rows * problem.n_cols), 0.0f);
      if (problem.name == name) {
        other.weights = zeros.data();
      }
      return Plain(other);
    };
    EXPECT_TRUE(
        WriteCompensated(*model_, samples_, {&output, 1}, options, {}).ok());
    return stats;
  };
  const auto before = stats_with("none", false);
  const auto after = stats_with("blk.0.attn_v.weight", false);
  const auto gram = [](const std::map<std::string, LayerStats>& stats,
                       const std::string& name) { return stats.at(name).gram; };
  EXPECT_EQ(gram(after, "blk.0.attn_q.weight"),
            gram(before, "blk.0.attn_q.weight"));
  for (const char* later : {"blk.0.attn_output.weight", "blk.0.ffn_up.weight",
                            "blk.0.ffn_down.weight", "blk.1.attn_q.weight"}) {
    EXPECT_NE(gram(after, later), gram(before, later)) << later;
    EXPECT_FALSE(after.at(later).cross.empty()) << later;
  }
  const auto original = stats_with("none", true);
  const auto one_shot = stats_with("blk.0.attn_v.weight", true);
  for (const auto& [name, stats] : original) {
    EXPECT_EQ(gram(one_shot, name), stats.gram) << name;
  }
}

TEST_F(CompensatedConvertTest, GoesOnAfterTheLastFinishedBlock) {
  Open("testdata/arch/llama3");
  const Plan plan = PlanOf(FileType::kQ4_0, true);
  const Output output = {&plan, Path("solved.gguf")};
  for (const bool one_shot : {true, false}) {
    SCOPED_TRACE(one_shot);
    std::atomic<bool> cancelled = false;
    CompensatedConvertOptions options = Options(one_shot);
    options.run.cancelled = &cancelled;
    options.run.on_block = [&](const SolveProgress&) { cancelled = true; };
    auto outcomes =
        WriteCompensated(*model_, samples_, {&output, 1}, options, {});
    EXPECT_TRUE(absl::IsCancelled(outcomes.status())) << outcomes.status();
    EXPECT_FALSE(FileExists(output.path));
    EXPECT_TRUE(IsDirectory(output.path + ".solved.partial"));

    // Other options are another job.
    options = Options(one_shot);
    options.run.settings.solver.damping = 0.5;
    outcomes = WriteCompensated(*model_, samples_, {&output, 1}, options, {});
    EXPECT_TRUE(absl::IsFailedPrecondition(outcomes.status()))
        << outcomes.status();

    // A device is no other job.
    options = Options(one_shot);
    options.run.device = Device::Cpu();
    outcomes = WriteCompensated(*model_, samples_, {&output, 1}, options, {});
    ASSERT_TRUE(outcomes.ok()) << outcomes.status();
    EXPECT_EQ(outcomes->front().n_blocks_resumed, 1);
    EXPECT_EQ(Bytes(output.path), PlainFile(FileType::kQ4_0));
    fs::remove(output.path);
    fs::remove(Path("plain.gguf"));
    EXPECT_TRUE(Files().empty());
  }
}

TEST_F(CompensatedConvertTest, BlocksThatWereDamagedSinceAreRefused) {
  Open("testdata/arch/llama3");
  const Plan plan = PlanOf(FileType::kQ4_0, true);
  const Output output = {&plan, Path("solved.gguf")};
  std::atomic<bool> cancelled = false;
  CompensatedConvertOptions options = Options(true);
  options.run.cancelled = &cancelled;
  options.run.on_block = [&](const SolveProgress&) { cancelled = true; };
  ASSERT_TRUE(absl::IsCancelled(
      WriteCompensated(*model_, samples_, {&output, 1}, options, {}).status()));
  const std::string block =
      output.path + ".solved.partial/state/block-00000.safetensors";
  std::string bytes = Bytes(block);
  bytes[bytes.size() - 9] ^= 4;
  std::ofstream(block, std::ios::binary) << bytes;
  options = Options(true);
  options.run.on_block = [](const SolveProgress& progress) {
    ADD_FAILURE() << "block " << progress.block << " was solved first";
  };
  const auto outcomes =
      WriteCompensated(*model_, samples_, {&output, 1}, options, {});
  EXPECT_TRUE(absl::IsDataLoss(outcomes.status())) << outcomes.status();
  EXPECT_TRUE(absl::StrContains(outcomes.status().message(), "--restart"))
      << outcomes.status();
  EXPECT_FALSE(FileExists(output.path));
  EXPECT_TRUE(FileExists(block));  // for who knows better than to discard it
}

// The logits of all tokens are, then, which says nothing.
TEST_F(CompensatedConvertTest, AnEmbeddingThatIsNotFiniteIsNamed) {
  Open("testdata/arch/llama3");
  const std::string name = "model.embed_tokens.weight";
  CheckpointOptions damage;
  damage.wrap_source = [&](std::unique_ptr<TensorSource> inner) {
    std::vector<float> rows(320 * 64, 0.25f);
    rows[301 * 64 + 5] = std::numeric_limits<float>::quiet_NaN();
    auto overlay = std::make_unique<OverlaySource>(
        std::move(inner), std::vector<std::string>{name});
    EXPECT_TRUE(overlay->Replace(name, std::move(rows)).ok());
    return overlay;
  };
  auto damaged = Checkpoint::Open("testdata/arch/llama3", damage);
  ASSERT_TRUE(damaged.ok()) << damaged.status();
  model_ = *std::move(damaged);
  const Plan plan = PlanOf(FileType::kQ4_0, true);
  const Output output = {&plan, Path("solved.gguf")};
  for (const bool fisher : {true, false}) {
    CompensatedConvertOptions options = Options(true);
    options.run.settings.fisher = fisher;
    const auto outcomes =
        WriteCompensated(*model_, samples_, {&output, 1}, options, {});
    EXPECT_TRUE(absl::IsDataLoss(outcomes.status())) << outcomes.status();
    EXPECT_TRUE(absl::StrContains(
        outcomes.status().message(),
        "'token_embd.weight': weight is nan at row 301, column 5"))
        << outcomes.status();
    EXPECT_TRUE(Files().empty());
  }
}

TEST_F(CompensatedConvertTest, AnErrorLeavesNothing) {
  Open("testdata/arch/qwen3_moe");
  const Plan plan = PlanOf(FileType::kQ4_0, true);
  const Output output = {&plan, Path("solved.gguf")};
  CompensatedConvertOptions options = Options(false);
  options.run.solve = [](const CompensatedProblem& problem)
      -> absl::StatusOr<CompensatedResult> {
    if (problem.name == "blk.1.ffn_down_exps.weight") {
      return absl::DataLossError("too bad");
    }
    return Plain(problem);
  };
  const auto outcomes =
      WriteCompensated(*model_, samples_, {&output, 1}, options, {});
  EXPECT_EQ(outcomes.status().message(),
            "too bad; solving blk.1.ffn_down_exps.weight, expert 0");
  EXPECT_TRUE(Files().empty());
}

// Zeros in the place of what Plain gives: as solved in even blocks, as plain
// in odd ones.
absl::StatusOr<CompensatedResult> ZerosSomewhere(
    const CompensatedProblem& problem) {
  auto result = Plain(problem);
  CompensatedProblem other = problem;
  const std::vector<float> zeros(
      static_cast<size_t>(problem.n_rows * problem.n_cols), 0.0f);
  other.weights = zeros.data();
  const bool even = problem.name.substr(0, 6) == "blk.0.";
  (even ? result->bytes : result->plain_bytes) = Plain(other)->bytes;
  return result;
}

TEST_F(CompensatedConvertTest, KeepsTheBlocksThatTheModelIsNearerWith) {
  for (const char* folder : {"testdata/arch/llama3", "testdata/arch/mixtral"}) {
    SCOPED_TRACE(folder);
    samples_ = CalibrationSamples();
    Open(folder);
    const std::string plain = PlainFile(FileType::kQ4_0);
    const Plan plan = PlanOf(FileType::kQ4_0, true);
    const Output output = {&plan, Path("solved.gguf")};
    for (const bool one_shot : {true, false}) {
      SCOPED_TRACE(one_shot);
      // Stopped after the first block, it goes on with the same verdicts.
      std::atomic<bool> cancelled = false;
      CompensatedConvertOptions options = Options(one_shot);
      options.run.solve = ZerosSomewhere;
      options.run.verify.n_windows = 2;
      options.run.verify.counts.assign(2 * 16, 1);
      std::fill(samples_.counts.end() - 2 * 16, samples_.counts.end(), 0);
      samples_.hash = HashSamples(samples_);
      options.run.cancelled = &cancelled;
      options.run.on_block = [&](const SolveProgress& now) {
        EXPECT_EQ(now.verdicts.size(), 1u);
        cancelled = true;
      };
      auto outcomes =
          WriteCompensated(*model_, samples_, {&output, 1}, options, {});
      EXPECT_TRUE(absl::IsCancelled(outcomes.status())) << outcomes.status();
      options.run.cancelled = nullptr;
      options.run.on_block = nullptr;
      options.run.device = Device::Cpu();
      outcomes = WriteCompensated(*model_, samples_, {&output, 1}, options, {});
      ASSERT_TRUE(outcomes.ok()) << outcomes.status();
      EXPECT_EQ(Bytes(output.path), plain);
      const CompensatedOutcome& outcome = outcomes->front();
      EXPECT_EQ(outcome.n_blocks_resumed, 1);
      EXPECT_EQ(outcome.n_verify_windows, 2);
      ASSERT_GE(outcome.verdicts.size(), 2u);
      for (const BlockVerdict& verdict : outcome.verdicts) {
        const bool even = verdict.block == 0;
        EXPECT_EQ(verdict.accepted, !even) << verdict.block;
        EXPECT_EQ(verdict.divergence < verdict.divergence_plain, !even);
      }
      for (const SolvedReport& report : outcome.solved) {
        const bool even = report.name.substr(0, 6) == "blk.0.";
        EXPECT_EQ(report.rejected, even) << report.name;
        EXPECT_EQ(report.n_accepted, even ? 0 : report.n_matrices);
        EXPECT_EQ(report.relative_error, even ? 1 : 0.5);
      }
    }
  }
}

// What the judge saw one-shot is one block alone: the order of verdicts and
// other outputs do not matter.
TEST_F(CompensatedConvertTest, OneShotVerdictsAreOfEachBlockAlone) {
  Open("testdata/arch/llama3");
  const Plan a = PlanOf(FileType::kQ4_0, true);
  const Plan b = PlanOf(FileType::kQ8_0, true);
  CompensatedConvertOptions options = Options(true);
  options.run.solve = ZerosSomewhere;
  options.run.verify.n_windows = 2;
  options.run.verify.counts.assign(2 * 16, 1);
  const std::vector<Output> both = {{&a, Path("a.gguf")}, {&b, Path("b.gguf")}};
  const auto together = WriteCompensated(*model_, samples_, both, options, {});
  ASSERT_TRUE(together.ok()) << together.status();
  const auto alone =
      WriteCompensated(*model_, samples_, {&both[1], 1}, options, {});
  ASSERT_TRUE(alone.ok()) << alone.status();
  ASSERT_EQ((*together)[1].verdicts.size(), alone->front().verdicts.size());
  for (size_t i = 0; i < alone->front().verdicts.size(); ++i) {
    EXPECT_EQ((*together)[1].verdicts[i].divergence,
              alone->front().verdicts[i].divergence);
  }
  EXPECT_EQ(Bytes(Path("b.gguf")), PlainFile(FileType::kQ8_0));
}

TEST_F(CompensatedConvertTest, SequentialFilesAppearOneAfterAnother) {
  Open("testdata/arch/llama3");
  const Plan a = PlanOf(FileType::kQ4_0, true);
  const Plan b = PlanOf(FileType::kQ8_0, true);
  const std::vector<Output> outputs = {{&a, Path("a.gguf")},
                                       {&b, Path("b.gguf")}};
  CompensatedConvertOptions options = Options(false);
  std::atomic<bool> cancelled = false;
  options.run.cancelled = &cancelled;
  options.on_run = [&](size_t first, size_t) {
    EXPECT_EQ(FileExists(Path("a.gguf")), first == 1);
    cancelled = first == 1;
  };
  auto outcomes = WriteCompensated(*model_, samples_, outputs, options, {});
  EXPECT_TRUE(absl::IsCancelled(outcomes.status())) << outcomes.status();
  EXPECT_EQ(Bytes(Path("a.gguf")), PlainFile(FileType::kQ4_0));
  EXPECT_FALSE(FileExists(Path("b.gguf")));
  // The first is not solved again.
  int n_runs = 0;
  options.on_run = [&](size_t, size_t) { ++n_runs; };
  options.run.solve = [&](const CompensatedProblem& problem) {
    EXPECT_EQ(n_runs, 2) << problem.name;
    return Plain(problem);
  };
  options.run.cancelled = nullptr;
  outcomes = WriteCompensated(*model_, samples_, outputs, options, {});
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  EXPECT_EQ(Bytes(Path("a.gguf")), PlainFile(FileType::kQ4_0));
  EXPECT_EQ(Bytes(Path("b.gguf")), PlainFile(FileType::kQ8_0));
}

// The scale of NVFP4's matrices: what is solved are the weights over it, as
// the file will multiply by it, and what later blocks see is the product.
TEST_F(CompensatedConvertTest, MatricesWithAScaleAreSolvedOverIt) {
  Open("testdata/arch/llama3");
  const std::string plain = PlainFile(FileType::kNVFP4);
  const Plan plan = PlanOf(FileType::kNVFP4, true);
  const Output output = {&plan, Path("solved.gguf")};
  const auto is_scaled = [&plan](absl::string_view name) {
    for (const PlannedTensor& tensor : plan.tensors) {
      if (tensor.meta.name == name) {
        return tensor.has_scale();
      }
    }
    return false;
  };
  for (const bool one_shot : {true, false}) {
    SCOPED_TRACE(one_shot);
    int n_scaled = 0;
    std::map<std::string, std::vector<double>> grams;
    CompensatedConvertOptions options = Options(one_shot);
    options.run.solve = [&](const CompensatedProblem& problem) {
      float largest = 0;
      for (int64_t i = 0; i < problem.n_rows * problem.n_cols; ++i) {
        largest = std::max(largest, std::fabs(problem.weights[i]));
      }
      if (is_scaled(problem.name)) {
        // 6 x 240, the largest code times the largest scale of a block.
        EXPECT_NEAR(largest, 1440, 0.01) << problem.name;
        ++n_scaled;
      } else {
        EXPECT_LT(largest, 100) << problem.name;
      }
      grams[std::string(problem.name)] = problem.stats->gram;
      return Plain(problem);
    };
    ASSERT_TRUE(
        WriteCompensated(*model_, samples_, {&output, 1}, options, {}).ok());
    EXPECT_GT(n_scaled, 0);
    EXPECT_EQ(Bytes(output.path), plain);
    if (!one_shot) {
      // A file's first matrices in NVFP4 change what comes after by little:
      // shown without their scales they would change it a thousandfold.
      const std::vector<double>& gram = grams.at("blk.1.attn_q.weight");
      options = Options(true);
      options.run.solve = [&](const CompensatedProblem& problem) {
        if (problem.name == "blk.1.attn_q.weight") {
          const size_t step = static_cast<size_t>(problem.n_cols) + 1;
          double seen = 0, original = 0;
          for (size_t i = 0; i < gram.size(); i += step) {
            seen += gram[i];
            original += problem.stats->gram[i];
          }
          EXPECT_NEAR(seen / original, 1, 0.2);
        }
        return Plain(problem);
      };
      ASSERT_TRUE(
          WriteCompensated(*model_, samples_, {&output, 1}, options, {}).ok());
    }
  }
}

TEST_F(CompensatedConvertTest, TensorsWithoutStatisticsAreNamed) {
  Open("testdata/arch/gemma3_text");
  const Plan plan = PlanOf(FileType::kQ4_0, true);
  const SolveTargets targets = FindSolveTargets(plan, *model_, false);
  ASSERT_EQ(targets.plain.size(), 1u);
  EXPECT_EQ(targets.plain[0].name, "token_embd.weight");
  EXPECT_TRUE(FindSolveTargets(plan, *model_, true).plain.empty());
  const Plan wide = PlanOf(FileType::kQ8_0, true);
  ASSERT_EQ(FindSolveTargets(wide, *model_, true).plain.size(), 1u);
}

// First of all, in both orders; a run that goes on has it already, and blocks
// see its rows.
TEST_F(CompensatedConvertTest, EmbeddingsAreSolvedBeforeBlocks) {
  Open("testdata/arch/qwen2");
  const Plan plan = PlanOf(FileType::kQ4_0, true);
  const Output output = {&plan, Path("solved.gguf")};
  for (const bool one_shot : {true, false}) {
    std::vector<std::string> solved;
    bool stop = true;
    CompensatedConvertOptions options = Options(one_shot);
    options.run.settings.fisher = true;
    options.run.n_threads = 1;
    options.run.solve = [&](const CompensatedProblem& problem)
        -> absl::StatusOr<CompensatedResult> {
      if (stop && problem.name == "blk.1.attn_q.weight") {
        return absl::CancelledError("stopped");
      }
      solved.emplace_back(problem.name);
      return Plain(problem);
    };
    EXPECT_FALSE(
        WriteCompensated(*model_, samples_, {&output, 1}, options, {}).ok());
    ASSERT_FALSE(solved.empty());
    EXPECT_EQ(solved.front(), "token_embd.weight");
    solved.clear();
    stop = false;
    const auto outcomes =
        WriteCompensated(*model_, samples_, {&output, 1}, options, {});
    ASSERT_TRUE(outcomes.ok()) << outcomes.status();
    EXPECT_EQ(std::count(solved.begin(), solved.end(), "token_embd.weight"), 0);
    EXPECT_EQ(std::count_if((*outcomes)[0].solved.begin(),
                            (*outcomes)[0].solved.end(),
                            [](const SolvedReport& report) {
                              return report.name == "token_embd.weight";
                            }),
              1);
    EXPECT_EQ(Bytes(output.path), PlainFile(FileType::kQ4_0));
  }
}

}  // namespace
}  // namespace narrow
