#include "converter/batch/saved_report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace narrow {
namespace {

ValidationReport Example() {
  ValidationReport report;
  report.original = {"m", "hash", 100, 50};
  report.windows.context = 128;
  report.domains = {{"wiki", {"a", "b"}, "h", 7, 3, 2, true}};
  CandidateReport candidate;
  candidate.model.path = "m-Q8_0.gguf";
  candidate.domains.resize(1);
  candidate.domains[0].domain = "wiki";
  candidate.domains[0].figures.divergence.value = 0.1;
  candidate.domains[0].figures.divergence.high = INFINITY;
  candidate.criteria.resize(1);
  candidate.criteria[0].n_needed = 12;
  candidate.criteria[0].criterion = Criterion::kTaskDelta;
  candidate.verdict = Verdict::kUndecided;
  candidate.weights.emplace().layers = {{"0", 0, {1, 2, 3.5, 4.5}}};
  candidate.sanity.emplace().findings = {
      {SanitySeverity::kNote, "tensors", "t", "message", "x", "y"}};
  report.candidates = {candidate};
  report.verdict = Verdict::kUndecided;
  report.device = "NVIDIA H200";
  report.tasks.resize(1);
  report.tasks[0].models.resize(2);
  report.tasks[0].models[1].metrics.resize(1);
  report.tasks[0].models[1].metrics[0].paired.emplace().n_lost = 4;
  return report;
}

TEST(SavedReport, ReadsBackAsItWas) {
  SavedReport saved;
  SaveReport(Example(), &saved);
  const auto report = LoadReport(saved);
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->windows.context, 128);
  EXPECT_EQ(report->domains[0].paths[1], "b");
  EXPECT_EQ(report->device, "NVIDIA H200");
  const CandidateReport& candidate = report->candidates[0];
  EXPECT_EQ(candidate.domains[0].figures.divergence.value, 0.1);
  EXPECT_TRUE(std::isinf(candidate.domains[0].figures.divergence.high));
  EXPECT_EQ(candidate.criteria[0].criterion, Criterion::kTaskDelta);
  EXPECT_EQ(candidate.criteria[0].n_needed, 12);
  EXPECT_EQ(candidate.verdict, Verdict::kUndecided);
  EXPECT_EQ(candidate.weights->layers[0].sums.squared_error, 3.5);
  EXPECT_EQ(candidate.sanity->findings[0].severity, SanitySeverity::kNote);
  EXPECT_FALSE(candidate.overall.has_value());
  EXPECT_EQ(report->tasks[0].models[1].metrics[0].paired->n_lost, 4);
  SavedReport again;
  SaveReport(*report, &again);
  EXPECT_EQ(again.SerializeAsString(), saved.SerializeAsString());
}

TEST(SavedReport, WhatIsCutOffIsNone) {
  EXPECT_FALSE(LoadReport(SavedReport()).has_value());
  SavedReport saved;
  SaveReport(Example(), &saved);
  SavedReport shorter = saved;
  shorter.mutable_number()->RemoveLast();
  EXPECT_FALSE(LoadReport(shorter).has_value());
  saved.add_text("more");
  EXPECT_FALSE(LoadReport(saved).has_value());
  // A count that no memory would hold.
  for (int i = 0; i < shorter.integer_size(); ++i) {
    SavedReport hostile = shorter;
    hostile.set_integer(i, std::numeric_limits<int64_t>::max());
    EXPECT_FALSE(LoadReport(hostile).has_value());
  }
}

TEST(SavedReport, CandidatesOfOneOriginalAreJoined) {
  ValidationReport failed = Example();
  failed.verdict = Verdict::kFail;
  const ValidationReport all = JoinReports({Example(), failed});
  EXPECT_EQ(all.candidates.size(), 2u);
  EXPECT_EQ(all.tasks[0].models.size(), 3u);
  EXPECT_EQ(all.verdict, Verdict::kFail);
}

}  // namespace
}  // namespace narrow
