// Tested by: measure_task_test.

#include "validate/tasks/task_report.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "validate/text_table.h"

namespace narrow {
namespace {

void AddNumbers(const char* name, const std::vector<double>& values,
                JsonWriter* json) {
  json->Key(name).BeginArray();
  for (double value : values) {
    json->Number(value);
  }
  json->EndArray();
}

void AddMetric(const TaskMetric& metric, JsonWriter* json) {
  json->BeginObject();
  json->Key("name").String(metric.name);
  json->Key("value").Number(metric.value);
  json->Key("error").Number(metric.error);
  json->Key("interval_95").BeginArray();
  json->Number(metric.low).Number(metric.high).EndArray();
  if (metric.right_or_wrong) {
    json->Key("right").Integer(metric.n_right);
  }
  if (metric.paired) {
    const PairedTaskMetric& paired = *metric.paired;
    json->Key("against_first").BeginObject();
    json->Key("difference").Number(paired.difference.value);
    json->Key("error").Number(paired.difference.error);
    if (metric.right_or_wrong) {
      json->Key("lost").Integer(paired.n_lost);
      json->Key("gained").Integer(paired.n_gained);
      json->Key("mcnemar_p").Number(paired.mcnemar_p);
    }
    json->EndObject();
  }
  json->EndObject();
}

void AddQuestion(const TaskModelReport& model, const QuestionResult& question,
                 JsonWriter* json) {
  json->BeginObject();
  if (!question.id.empty()) {
    json->Key("id").String(question.id);
  }
  json->Key("file").String(question.file);
  json->Key("line").Integer(question.line);
  json->Key("gold").Integer(question.gold);
  AddNumbers("log_probs", question.log_probs, json);
  for (size_t m = 0; m < model.metrics.size(); ++m) {
    json->Key(model.metrics[m].name).BeginObject();
    json->Key("value").Number(question.values[m]);
    if (question.chosen[m] >= 0) {
      json->Key("chosen").Integer(question.chosen[m]);
    }
    json->EndObject();
  }
  json->EndObject();
}

void AddModel(const TaskModelReport& model, const TaskJsonOptions& options,
              JsonWriter* json) {
  json->BeginObject();
  json->Key("path").String(model.path);
  json->Key("seconds").Number(model.seconds);
  json->Key("tokens_per_second").Number(model.tokens_per_second);
  json->Key("metrics").BeginArray();
  for (const TaskMetric& metric : model.metrics) {
    AddMetric(metric, json);
  }
  json->EndArray();
  if (!model.groups.empty()) {
    json->Key("subjects").BeginArray();
    for (const TaskGroup& group : model.groups) {
      json->BeginObject();
      json->Key("name").String(group.name);
      json->Key("questions").Integer(group.n_questions);
      json->Key(model.metrics[0].name).Number(group.value);
      json->EndObject();
    }
    json->EndArray();
  }
  if (options.questions) {
    json->Key("questions").BeginArray();
    for (const QuestionResult& question : model.questions) {
      AddQuestion(model, question, json);
    }
    json->EndArray();
  }
  json->EndObject();
}

void AddTask(const TaskReport& task, const TaskJsonOptions& options,
             JsonWriter* json) {
  json->BeginObject();
  json->Key("name").String(task.name);
  json->Key("layout").String(task.layout);
  json->Key("files").BeginArray();
  for (const std::string& file : task.files) {
    json->String(file);
  }
  json->EndArray();
  json->Key("questions_in_files").Integer(task.n_in_files);
  json->Key("questions").Integer(task.n_questions);
  json->Key("shots").Integer(task.n_shots);
  if (!task.few_shot_path.empty()) {
    json->Key("few_shot").String(task.few_shot_path);
  }
  json->Key("warnings").BeginArray();
  for (const std::string& warning : task.warnings) {
    json->String(warning);
  }
  json->EndArray();
  json->Key("models").BeginArray();
  for (const TaskModelReport& model : task.models) {
    AddModel(model, options, json);
  }
  json->EndArray();
  json->EndObject();
}

std::string Percent(double share) {
  return absl::StrFormat("%.2f", 100 * share);
}

std::string Difference(const Estimate& difference) {
  const std::string value = absl::StrFormat("%+.2f", 100 * difference.value);
  return std::isfinite(difference.error)
             ? absl::StrCat(value, " ± ", Percent(difference.error))
             : value;
}

std::string TaskLabel(const TaskReport& task) {
  std::string label = absl::StrCat(task.name, ", ", task.n_questions);
  if (task.n_shots > 0) {
    absl::StrAppend(&label, ", ", task.n_shots, "-shot");
  }
  return label;
}

}  // namespace

void AddTaskReportsJson(const std::vector<TaskReport>& reports,
                        const TaskJsonOptions& options, JsonWriter* json) {
  json->BeginArray();
  for (const TaskReport& task : reports) {
    AddTask(task, options, json);
  }
  json->EndArray();
}

std::string RenderTaskReports(const std::vector<TaskReport>& reports) {
  bool paired = false;
  for (const TaskReport& task : reports) {
    paired |= task.models.size() > 1;
  }
  std::vector<TextTable::Column> columns = {{"task", TextTable::kLeft},
                                            {"metric", TextTable::kLeft},
                                            {"model", TextTable::kLeft},
                                            {"%"},
                                            {"95 %"}};
  if (paired) {
    columns.insert(columns.end(),
                   {{"difference"}, {"lost"}, {"gained"}, {"McNemar p"}});
  }
  TextTable table(columns);
  for (const TaskReport& task : reports) {
    for (size_t m = 0; m < task.models.front().metrics.size(); ++m) {
      for (const TaskModelReport& model : task.models) {
        const TaskMetric& metric = model.metrics[m];
        std::vector<std::string> cells = {
            TaskLabel(task), metric.name, model.path, Percent(metric.value),
            absl::StrCat(Percent(metric.low), " … ", Percent(metric.high))};
        if (metric.paired && metric.right_or_wrong) {
          cells.insert(cells.end(),
                       {Difference(metric.paired->difference),
                        absl::StrCat(metric.paired->n_lost),
                        absl::StrCat(metric.paired->n_gained),
                        absl::StrFormat("%.3g", metric.paired->mcnemar_p)});
        } else if (metric.paired) {
          cells.insert(cells.end(),
                       {Difference(metric.paired->difference), "", "", ""});
        } else if (paired) {
          cells.insert(cells.end(), {"reference", "", "", ""});
        }
        table.AddRow(std::move(cells));
      }
    }
  }
  return table.Render();
}

}  // namespace narrow
