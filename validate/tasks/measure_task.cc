#include "validate/tasks/measure_task.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/chat/jinja/values/text.h"
#include "validate/tasks/task_statistics.h"

namespace narrow {
namespace {

constexpr double kZ95 = 1.959963984540054;

struct Answer {
  double value;
  int64_t chosen;
};

std::vector<int64_t> Contenders(const TaskItem& item) {
  std::vector<int64_t> all = item.contenders;
  if (all.empty()) {
    all.resize(item.choices.size());
    std::iota(all.begin(), all.end(), 0);
  }
  // In the order of the file, so that the first of equals does not depend on
  // which is right.
  std::sort(all.begin(), all.end());
  return all;
}

double Strength(MetricKind kind, const std::string& choice,
                const ChoiceScore& score) {
  switch (kind) {
    case MetricKind::kAccNorm:
      return score.log_prob /
             static_cast<double>(jinja::CodePointCount(choice));
    case MetricKind::kAccToken:
      return score.token_mean;
    case MetricKind::kAcc:
    case MetricKind::kMass:
      break;
  }
  return score.log_prob;
}

Answer Choose(MetricKind kind, const TaskItem& item,
              const std::vector<ChoiceScore>& scores) {
  int64_t chosen = -1;
  double strongest = 0;
  for (int64_t i : Contenders(item)) {
    const double strength = Strength(kind, item.choices[i], scores[i]);
    if (chosen < 0 || strength > strongest) {
      chosen = i;
      strongest = strength;
    }
  }
  return {chosen == item.gold ? 1.0 : 0.0, chosen};
}

Answer TrueShare(const TaskItem& item, const std::vector<ChoiceScore>& scores) {
  double top = scores[item.true_choices[0]].log_prob;
  for (const auto* places : {&item.true_choices, &item.false_choices}) {
    for (int64_t i : *places) {
      top = std::max(top, scores[i].log_prob);
    }
  }
  const auto mass = [&](const std::vector<int64_t>& places) {
    double sum = 0;
    for (int64_t i : places) {
      sum += std::exp(scores[i].log_prob - top);
    }
    return sum;
  };
  const double of_true = mass(item.true_choices);
  return {of_true / (of_true + mass(item.false_choices)), -1};
}

QuestionResult Judge(const TaskLayout& layout, const TaskQuestion& question,
                     const std::vector<ChoiceScore>& scores) {
  const TaskItem& item = question.item;
  QuestionResult result;
  result.id = item.id;
  result.file = question.file;
  result.line = question.line;
  result.gold = item.gold;
  for (const ChoiceScore& score : scores) {
    result.log_probs.push_back(score.log_prob);
  }
  for (const MetricRow& row : layout.metrics) {
    const Answer answer = row.kind == MetricKind::kMass
                              ? TrueShare(item, scores)
                              : Choose(row.kind, item, scores);
    result.values.push_back(answer.value);
    result.chosen.push_back(answer.chosen);
  }
  return result;
}

PairedTaskMetric Pair(const std::vector<QuestionResult>& reference,
                      const std::vector<QuestionResult>& candidate, size_t m) {
  PairedTaskMetric paired;
  std::vector<double> differences;
  for (size_t q = 0; q < reference.size(); ++q) {
    differences.push_back(candidate[q].values[m] - reference[q].values[m]);
    paired.n_lost += differences.back() < 0;
    paired.n_gained += differences.back() > 0;
  }
  paired.difference = MeanOf(differences);
  paired.mcnemar_p = McNemarExact(paired.n_lost, paired.n_gained);
  return paired;
}

TaskMetric Summarize(const MetricRow& row,
                     const std::vector<QuestionResult>& questions, size_t m) {
  TaskMetric metric;
  metric.name = row.name;
  metric.right_or_wrong = row.kind != MetricKind::kMass;
  const int64_t n = static_cast<int64_t>(questions.size());
  std::vector<double> values;
  for (const QuestionResult& question : questions) {
    values.push_back(question.values[m]);
    metric.n_right += question.values[m] == 1;
  }
  const Estimate mean = MeanOf(values);
  metric.value = mean.value;
  metric.error = mean.error;
  if (metric.right_or_wrong) {
    const Interval interval = WilsonInterval(metric.n_right, n, kZ95);
    metric.low = interval.low;
    metric.high = interval.high;
  } else {
    const double half = n < 2 ? 1 : kZ95 * mean.error;
    metric.low = std::max(0.0, mean.value - half);
    metric.high = std::min(1.0, mean.value + half);
    metric.n_right = 0;
  }
  return metric;
}

// In the order in which subjects come.
std::vector<TaskGroup> GroupBySubject(
    const Task& task, const std::vector<QuestionResult>& questions) {
  std::vector<TaskGroup> groups;
  for (size_t q = 0; q < questions.size(); ++q) {
    const std::string& subject = task.questions[q].item.subject;
    auto group =
        std::find_if(groups.begin(), groups.end(),
                     [&](const TaskGroup& one) { return one.name == subject; });
    if (group == groups.end()) {
      groups.push_back({subject, 0, 0});
      group = groups.end() - 1;
    }
    ++group->n_questions;
    group->value += questions[q].values[0];
  }
  for (TaskGroup& group : groups) {
    group.value /= static_cast<double>(group.n_questions);
  }
  if (groups.size() < 2) {
    groups.clear();
  }
  return groups;
}

}  // namespace

TaskReport BeginTaskReport(const Task& task, const TokenizedTask& tokens) {
  TaskReport report;
  report.name = task.name;
  report.layout = task.layout->name;
  report.files = task.files;
  report.n_in_files = task.n_in_files;
  report.n_questions = static_cast<int64_t>(task.questions.size());
  report.n_shots = task.n_shots;
  report.few_shot_path = task.few_shot_path;
  if (tokens.n_truncated > 0) {
    report.warnings.push_back(absl::StrCat(
        tokens.n_truncated, " of ", report.n_questions, " questions of ",
        task.name,
        " are longer than the model's context with what stands before them; "
        "their beginning is left out"));
  }
  return report;
}

void AddTaskModel(const Task& task, const TaskScores& scores,
                  const std::string& path, TaskReport* report) {
  assert(scores.questions.size() == task.questions.size());
  TaskModelReport model;
  model.path = path;
  model.seconds = scores.seconds;
  model.tokens_per_second =
      scores.seconds > 0 ? static_cast<double>(scores.n_run) / scores.seconds
                         : 0;
  for (size_t q = 0; q < task.questions.size(); ++q) {
    model.questions.push_back(
        Judge(*task.layout, task.questions[q], scores.questions[q]));
  }
  const std::vector<MetricRow>& rows = task.layout->metrics;
  for (size_t m = 0; m < rows.size(); ++m) {
    TaskMetric metric = Summarize(rows[m], model.questions, m);
    if (!report->models.empty()) {
      metric.paired = Pair(report->models[0].questions, model.questions, m);
    }
    model.metrics.push_back(std::move(metric));
  }
  model.groups = GroupBySubject(task, model.questions);
  report->models.push_back(std::move(model));
}

}  // namespace narrow
