// A trained model against a coarser copy of itself, made here: what is told
// of it, by every way that leads to the same figures.

#include "validate/validation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/json/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/device.h"
#include "validate/perplexity/perplexity.h"
#include "validate/validation/validation_json.h"
#include "validate/validation/validation_table.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kModel[] = "testdata/tiny-llama";
constexpr char kText[] = "testdata/text/wikitext2-sample.txt";

// A folder of this test alone.
std::string Folder(const std::string& name) {
  const std::string path = absl::StrCat(
      ::testing::TempDir(), "/",
      ::testing::UnitTest::GetInstance()->current_test_info()->name(), "_",
      name);
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

// The model with every weight rounded down to `n_bits` of mantissa.
std::string CoarseCopy(const std::string& name, int n_bits) {
  const std::string folder = Folder(name);
  for (const auto& entry : fs::directory_iterator(kModel)) {
    fs::copy(entry.path(), fs::path(folder) / entry.path().filename(),
             fs::copy_options::overwrite_existing);
  }
  const std::string path = folder + "/model.safetensors";
  fs::permissions(path, fs::perms::owner_all);
  std::string bytes = *ReadTextFile(path, 1 << 30);
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  const uint16_t mask = static_cast<uint16_t>(0xffff << (7 - n_bits));
  for (size_t i = 8 + header_bytes; i + 1 < bytes.size(); i += 2) {
    uint16_t weight;
    std::memcpy(&weight, &bytes[i], sizeof(weight));
    weight &= mask;
    std::memcpy(&bytes[i], &weight, sizeof(weight));
  }
  std::ofstream(path, std::ios::binary) << bytes;
  return folder;
}

ValidationOptions Options(const std::vector<std::string>& candidates,
                          int64_t n_windows) {
  ValidationOptions options;
  options.original = kModel;
  options.candidates = candidates;
  options.domains = {{"wiki", {kText}}};
  options.windows.context = 128;
  options.windows.max_windows = n_windows;
  options.checkpoint.intermediate = "exact";
  options.runner.precision = Precision::kExact;
  options.runner.n_threads = 2;
  return options;
}

ValidationReport Judge(const ValidationOptions& options) {
  auto report = Validate(options, nullptr);
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *std::move(report) : ValidationReport();
}

// Everything that two runs that should agree have in common.
std::string FiguresOf(const ValidationReport& report) {
  ValidationReport bare;
  for (const CandidateReport& candidate : report.candidates) {
    CandidateReport same = candidate;
    same.seconds = 0;
    bare.candidates.push_back(same);
  }
  return ValidationJson(bare, {});
}

// The same losses and divergences as the measure that perplexity_test holds
// against transformers.
TEST(Validate, AgreesWithPerplexity) {
  const std::string coarse = CoarseCopy("coarse", 3);
  const ValidationReport report = Judge(Options({coarse}, 6));
  ASSERT_THAT(report.candidates, SizeIs(1));
  const Comparison& c = report.candidates[0].domains[0].figures;

  PerplexityOptions options;
  options.models = {kModel, coarse};
  options.texts = {kText};
  options.windows.context = 128;
  options.windows.max_windows = 6;
  options.checkpoint.intermediate = "exact";
  options.runner.precision = Precision::kExact;
  options.divergence = true;
  const auto other = MeasurePerplexity(options, nullptr);
  ASSERT_TRUE(other.ok()) << other.status();
  const PerplexitySummary& p = other->models[0].summary;
  const PerplexitySummary& q = other->models[1].summary;
  const PairedSummary& paired = *other->models[1].paired;
  EXPECT_EQ(c.n_windows, 6);
  EXPECT_EQ(c.n_tokens, 6 * 63);
  EXPECT_NEAR(c.reference_perplexity.value / p.perplexity.value, 1, 1e-6);
  EXPECT_NEAR(c.perplexity.value / q.perplexity.value, 1, 1e-6);
  EXPECT_NEAR(c.perplexity.error / q.perplexity.error, 1, 1e-5);
  EXPECT_NEAR(c.log_ratio.value, paired.mean_nll_difference.value, 1e-6);
  EXPECT_NEAR(c.divergence.value, paired.divergence->mean.value, 1e-9);
  EXPECT_NEAR(c.divergence_quantiles[kQuantile99], paired.divergence->p99,
              1e-9);
  EXPECT_EQ(c.same_top.value, paired.same_top_share.value);
  // A coarse model is worse, and not by little.
  EXPECT_GT(c.divergence.value, 0.001);
  EXPECT_LT(c.same_top.value, 0.999);
  EXPECT_EQ(report.n_reference_tokens, 6 * 128);
  EXPECT_EQ(report.candidates[0].n_run_tokens, 6 * 128);
}

// The code of a card's threads.
TEST(Validate, ADeviceGivesTheSameFigures) {
  const std::string coarse = CoarseCopy("coarse", 3);
  ValidationOptions options = Options({coarse}, 2);
  options.windows.context = 48;
  options.runner.precision = Precision::kReproducible;
  const ValidationReport wanted = Judge(options);
  EXPECT_EQ(wanted.device, "processor");
  std::vector<std::string> notes;
  options.runner.on_device_note = [&](absl::string_view note) {
    notes.emplace_back(note);
  };
  options.runner.device = Device::Cpu();
  const ValidationReport report = Judge(options);
  EXPECT_EQ(FiguresOf(report), FiguresOf(wanted));
  EXPECT_NE(report.device, wanted.device);
  EXPECT_TRUE(notes.empty());
}

TEST(Validate, CachedStatesGiveTheSameFigures) {
  const std::vector<std::string> candidates = {CoarseCopy("three", 3),
                                               CoarseCopy("two", 2)};
  const ValidationReport plain = Judge(Options(candidates, 6));
  ValidationOptions options = Options({candidates[0]}, 4);
  options.cache_folder = Folder("cache");
  EXPECT_EQ(Judge(options).n_reference_tokens, 4 * 128);
  // Two more windows than there are: two are run.
  const std::string cache = options.cache_folder;
  options = Options(candidates, 6);
  options.cache_folder = cache;
  const ValidationReport first = Judge(options);
  EXPECT_EQ(first.n_reference_tokens, 2 * 128);
  EXPECT_EQ(FiguresOf(first), FiguresOf(plain));
  const ValidationReport second = Judge(options);
  EXPECT_EQ(FiguresOf(second), FiguresOf(plain));
  EXPECT_EQ(second.n_reference_tokens, 0);
  EXPECT_EQ(second.reference_seconds, 0);
  // The file is of the text, not of how much of it is asked for.
  options.windows.max_windows = 8;
  EXPECT_EQ(Judge(options).n_reference_tokens, 2 * 128);
  options.windows.max_windows = 3;
  EXPECT_EQ(Judge(options).n_reference_tokens, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(options.cache_folder), {}), 1);
  // Another protocol or type is another file.
  options.windows.context = 64;
  EXPECT_EQ(Judge(options).n_reference_tokens, 3 * 64);
  options.cache_bfloat16 = true;
  EXPECT_EQ(Judge(options).n_reference_tokens, 3 * 64);
  EXPECT_EQ(std::distance(fs::directory_iterator(options.cache_folder), {}), 3);
}

TEST(Validate, ADamagedCacheIsAWarning) {
  ValidationOptions options = Options({CoarseCopy("coarse", 3)}, 4);
  options.cache_folder = Folder("cache");
  const ValidationReport good = Judge(options);
  EXPECT_THAT(good.warnings, IsEmpty());
  const std::string path =
      fs::directory_iterator(options.cache_folder)->path().string();
  std::string bytes = *ReadTextFile(path, 1 << 30);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(path, std::ios::binary) << bytes;
  const ValidationReport report = Judge(options);
  ASSERT_THAT(report.warnings, SizeIs(1));
  EXPECT_THAT(report.warnings[0],
              AllOf(HasSubstr("checksum of window"), HasSubstr(path),
                    HasSubstr("computed again")));
  EXPECT_EQ(FiguresOf(report), FiguresOf(good));
  EXPECT_THAT(Judge(options).warnings, IsEmpty());
  // Where nothing can be kept, everything is measured all the same.
  options.cache_folder = path + "/folder";
  const ValidationReport unkept = Judge(options);
  ASSERT_THAT(unkept.warnings, SizeIs(1));
  EXPECT_THAT(unkept.warnings[0], HasSubstr("are not kept"));
  EXPECT_EQ(FiguresOf(unkept), FiguresOf(good));
}

// By way of llama-perplexity's file: 16 bits a log-probability, within half a
// level of 16 / 65535 nats.
TEST(Validate, ABaseFileGivesTheFiguresRounded) {
  const std::string coarse = CoarseCopy("coarse", 3);
  ValidationOptions options = Options({coarse, CoarseCopy("two", 2)}, 5);
  options.write_base_path = Folder("base") + "/base.kld";
  const ValidationReport exact = Judge(options);
  ValidationOptions with_base;
  with_base.base_path = options.write_base_path;
  with_base.candidates = {coarse};
  with_base.checkpoint = options.checkpoint;
  with_base.runner = options.runner;
  const ValidationReport rounded = Judge(with_base);
  ASSERT_THAT(rounded.candidates, SizeIs(1));
  EXPECT_TRUE(rounded.reference_is_base_file);
  EXPECT_EQ(rounded.windows.context, 128);
  const Comparison& a = exact.candidates[0].domains[0].figures;
  const Comparison& b = rounded.candidates[0].domains[0].figures;
  EXPECT_EQ(b.n_tokens, a.n_tokens);
  EXPECT_NEAR(b.perplexity.value / a.perplexity.value, 1, 1e-6);
  EXPECT_NEAR(b.reference_perplexity.value / a.reference_perplexity.value, 1,
              1e-3);
  EXPECT_NEAR(b.divergence.value, a.divergence.value, 2e-3);
  EXPECT_NEAR(b.rms_delta_p.value, a.rms_delta_p.value, 1e-4);
  EXPECT_NEAR(b.same_top.value, a.same_top.value, 0.01);
  // Two of them against the file are what each is alone.
  with_base.candidates = options.candidates;
  const ValidationReport both = Judge(with_base);
  ASSERT_THAT(both.candidates, SizeIs(2));
  ValidationReport first;
  first.candidates = {both.candidates[0]};
  EXPECT_EQ(FiguresOf(first), FiguresOf(rounded));
  EXPECT_GT(both.candidates[1].domains[0].figures.divergence.value,
            b.divergence.value);
}

TEST(Validate, GatesDecide) {
  const std::string mild = CoarseCopy("mild", 5);
  const std::string bad = CoarseCopy("bad", 1);
  ValidationOptions options = Options({kModel, mild, bad}, 40);
  options.limits.max_divergence = 0.02;
  options.limits.max_perplexity_ratio = 0.02;
  options.limits.min_same_top = 0.8;
  const ValidationReport report = Judge(options);
  ASSERT_THAT(report.candidates, SizeIs(3));
  EXPECT_EQ(report.candidates[0].verdict, Verdict::kPass);
  EXPECT_EQ(report.candidates[1].verdict, Verdict::kPass);
  EXPECT_EQ(report.candidates[2].verdict, Verdict::kFail);
  EXPECT_EQ(report.verdict, Verdict::kFail);
  EXPECT_THAT(report.candidates[2].criteria, SizeIs(3));
  const std::string table = RenderValidation(report);
  EXPECT_THAT(table, AllOf(HasSubstr("--max-kld"), HasSubstr("Mean    KLD"),
                           HasSubstr("99.9%   Δp"), HasSubstr("Same top p")));
  const auto json = JsonDocument::Parse(ValidationJson(report, {}), "report");
  ASSERT_TRUE(json.ok()) << json.status();
}

TEST(Validate, StopsEarlyWhenAllIsDecided) {
  const std::string bad = CoarseCopy("bad", 1);
  ValidationOptions options = Options({bad}, 60);
  options.limits.max_divergence = 0.001;
  options.early_stop = true;
  options.cache_folder = Folder("cache");
  const ValidationReport report = Judge(options);
  ASSERT_THAT(report.candidates, SizeIs(1));
  EXPECT_EQ(report.verdict, Verdict::kFail);
  EXPECT_EQ(report.candidates[0].domains[0].figures.n_windows, 16);
  EXPECT_EQ(report.candidates[0].n_run_tokens, 16 * 128);
  // The reference goes no further either.
  EXPECT_EQ(report.n_reference_tokens, 16 * 128);
  // A limit at the estimate is never decided: all windows are measured.
  options.limits.max_divergence =
      report.candidates[0].domains[0].figures.divergence.value;
  const ValidationReport undecided = Judge(options);
  EXPECT_EQ(undecided.verdict, Verdict::kUndecided);
  EXPECT_EQ(undecided.candidates[0].domains[0].figures.n_windows, 60);
  EXPECT_EQ(undecided.n_reference_tokens, 44 * 128);
}

// Each decides for itself, and comes to what it comes to alone.
TEST(Validate, CandidatesSideBySideDecideSeparately) {
  const std::vector<std::string> candidates = {CoarseCopy("bad", 1),
                                               CoarseCopy("mild", 4), kModel};
  std::string alone;
  ValidationOptions options = Options({candidates[1]}, 36);
  // What the second one has, so that it goes on.
  options.limits.max_divergence =
      Judge(options).candidates[0].domains[0].figures.divergence.value;
  options.early_stop = true;
  for (const std::string& candidate : candidates) {
    options.candidates = {candidate};
    alone += FiguresOf(Judge(options));
  }
  options.candidates = candidates;
  for (const char* cache : {"", "cache", "cache"}) {
    options.cache_folder =
        *cache == 0 ? "" : JoinPath(::testing::TempDir(), "side_by_side");
    const ValidationReport report = Judge(options);
    ASSERT_THAT(report.candidates, SizeIs(3));
    std::string beside;
    for (const CandidateReport& candidate : report.candidates) {
      ValidationReport one;
      one.candidates = {candidate};
      beside += FiguresOf(one);
    }
    EXPECT_EQ(beside, alone);
    const auto windows = [&](size_t i) {
      return report.candidates[i].domains[0].figures.n_windows;
    };
    EXPECT_EQ(windows(0), 16);
    EXPECT_GT(windows(1), 16);
    EXPECT_EQ(report.candidates[0].verdict, Verdict::kFail);
    EXPECT_EQ(report.candidates[2].verdict, Verdict::kPass);
    if (*cache == 0) {
      EXPECT_EQ(report.n_reference_tokens,
                std::max(windows(1), windows(2)) * 128);
    }
  }
}

// What cannot be measured says what the checks found, by place.
TEST(Validate, AWeightThatIsNotFiniteIsNamed) {
  const std::string folder = CoarseCopy("broken", 7);
  const std::string path = folder + "/model.safetensors";
  std::string bytes = *ReadTextFile(path, 1 << 30);
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  for (size_t i = 8 + header_bytes; i + 1 < bytes.size(); i += 64) {
    bytes[i] = '\xc0';  // NaN as BF16
    bytes[i + 1] = '\x7f';
  }
  std::ofstream(path, std::ios::binary) << bytes;
  const auto report = Validate(Options({folder}, 4), nullptr);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(report.status().message()),
              AllOf(HasSubstr("is not sane: weights: '"),
                    HasSubstr("not finite, at row 0, column 0")));
}

TEST(Validate, TextsHaveTheirOwnFiguresAndVerdicts) {
  const std::string folder = Folder("text");
  const std::string text = *ReadTextFile(kText, 1 << 20);
  const size_t half = text.find('\n', text.size() / 2) + 1;
  ASSERT_TRUE(WriteTextFile(folder + "/a", text.substr(0, half)).ok());
  ASSERT_TRUE(WriteTextFile(folder + "/b", text.substr(half)).ok());
  ValidationOptions options = Options({CoarseCopy("coarse", 3)}, 10);
  options.domains = {{"a", {folder + "/a"}}, {"b", {folder + "/b"}}};
  options.limits.max_divergence = 0.05;
  const ValidationReport report = Judge(options);
  ASSERT_THAT(report.candidates, SizeIs(1));
  const CandidateReport& candidate = report.candidates[0];
  ASSERT_THAT(candidate.domains, SizeIs(2));
  ASSERT_TRUE(candidate.overall.has_value());
  EXPECT_EQ(candidate.overall->n_windows, 20);
  EXPECT_NEAR(candidate.overall->divergence.value,
              0.5 * (candidate.domains[0].figures.divergence.value +
                     candidate.domains[1].figures.divergence.value),
              1e-12);
  EXPECT_NE(candidate.domains[0].figures.divergence.value,
            candidate.domains[1].figures.divergence.value);
  ASSERT_THAT(candidate.criteria, SizeIs(2));
  EXPECT_EQ(candidate.criteria[1].domain, "b");
  EXPECT_DOUBLE_EQ(candidate.criteria[1].pass_rate, 0.05);
  EXPECT_DOUBLE_EQ(candidate.criteria[1].fail_rate, 0.025);
}

// A copy that lost 5 of 7 bits of mantissa loses up to a quarter of a weight.
TEST(Validate, WeightsAreComparedOnRequest) {
  const std::string coarse = CoarseCopy("coarse", 2);
  ValidationOptions options = Options({coarse, kModel}, 4);
  EXPECT_FALSE(Judge(options).candidates[0].weights.has_value());
  options.compare_weights = true;
  const ValidationReport report = Judge(options);
  ASSERT_TRUE(report.candidates[0].weights.has_value());
  const double error = report.candidates[0].weights->all.relative();
  EXPECT_GT(error, 0.05);
  EXPECT_LT(error, 0.25);
  EXPECT_EQ(report.candidates[1].weights->all.relative(), 0);
  EXPECT_THAT(ValidationJson(report, {}),
              HasSubstr("\"weights_against_original\""));
}

// Questions whose right answer is what the text says: both models by
// themselves and paired.
TEST(Validate, TasksArePaired) {
  const std::string coarse = CoarseCopy("coarse", 1);
  const std::string path = JoinPath(Folder("task"), "questions.csv");
  std::string csv = "question,choice0,choice1,answer\n";
  for (int i = 0; i < 20; ++i) {
    absl::StrAppend(&csv, "What is ", i, "?,a number,a word,", i % 2, "\n");
  }
  ASSERT_TRUE(WriteTextFile(path, csv).ok());
  ValidationOptions options = Options({coarse, kModel}, 4);
  options.domains.clear();
  options.tasks.resize(1);
  options.tasks[0].path = path;
  options.tasks[0].few_shot_path = path;
  options.tasks[0].n_shots = 2;
  const ValidationReport report = Judge(options);
  ASSERT_THAT(report.tasks, SizeIs(1));
  const TaskReport& task = report.tasks[0];
  EXPECT_EQ(task.layout, "mmlu");
  ASSERT_THAT(task.models, SizeIs(3));
  EXPECT_EQ(task.models[0].questions.size(), 20u);
  const TaskMetric& same = task.models[2].metrics[0];
  EXPECT_EQ(same.value, task.models[0].metrics[0].value);
  EXPECT_EQ(same.paired->n_lost + same.paired->n_gained, 0);
  // Not one log-probability is that of the other model.
  EXPECT_NE(task.models[1].questions[0].log_probs,
            task.models[0].questions[0].log_probs);
  EXPECT_EQ(task.models[2].questions[0].log_probs,
            task.models[0].questions[0].log_probs);
  options.candidates.clear();
  EXPECT_THAT(Judge(options).tasks[0].models, SizeIs(1));
}

TEST(Validate, ContradictionsAreErrors) {
  const auto message = [](const ValidationOptions& options) {
    const auto report = Validate(options, nullptr);
    EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(report.status().message());
  };
  EXPECT_THAT(message(Options({}, 4)), HasSubstr("candidate"));
  ValidationOptions options = Options({kModel}, 4);
  options.domains.clear();
  EXPECT_THAT(message(options), HasSubstr("a text or a task"));
  options = Options({kModel}, 4);
  options.base_path = "base.kld";
  EXPECT_THAT(message(options), HasSubstr("either a model or a base file"));
  options.original.clear();
  EXPECT_THAT(message(options), HasSubstr("its own text"));
  options = Options({kModel}, 4);
  options.domains.push_back({"wiki", {kText}});
  EXPECT_THAT(message(options), HasSubstr("two texts are named 'wiki'"));
  options = Options({kModel}, 4);
  options.limits.error_rate = 0.5;
  EXPECT_THAT(message(options), HasSubstr("error rate 0.5"));
}

}  // namespace
}  // namespace narrow
