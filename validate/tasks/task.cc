#include "validate/tasks/task.h"

#include <algorithm>
#include <cassert>
#include <filesystem>
#include <map>
#include <numeric>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "validate/tasks/records.h"

namespace narrow {
namespace {

// An integer in 0 … n - 1, as libstdc++'s uniform_int_distribution makes it of
// a 32-bit generator (D. Lemire, "Fast Random Integer Generation in an
// Interval", 2019, algorithm 5); written out, since the standard leaves it to
// the library.
uint32_t Below(uint32_t n, std::mt19937* random) {
  uint64_t product = uint64_t{(*random)()} * n;
  if (static_cast<uint32_t>(product) < n) {
    const uint32_t threshold = (0u - n) % n;
    while (static_cast<uint32_t>(product) < threshold) {
      product = uint64_t{(*random)()} * n;
    }
  }
  return static_cast<uint32_t>(product >> 32);
}

bool IsQuestionFile(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".csv" || extension == ".json" || extension == ".jsonl" ||
         extension == ".txt";
}

absl::StatusOr<std::vector<std::string>> FilesOf(const std::string& path) {
  if (!IsDirectory(path)) {
    return std::vector<std::string>{path};
  }
  std::vector<std::string> files;
  std::error_code error;
  for (std::filesystem::directory_iterator it(path, error), end;
       !error && it != end; it.increment(error)) {
    if (IsQuestionFile(it->path()) && !IsDirectory(it->path().string())) {
      files.push_back(it->path().string());
    }
  }
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cannot list the folder: ", error.message(), "; reading ", path));
  }
  if (files.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is no .csv, .json, .jsonl or .txt file in it; reading ", path));
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::Status CheckItem(const Record& record, const TaskItem& item) {
  const size_t n_contenders =
      item.contenders.empty() ? item.choices.size() : item.contenders.size();
  if (n_contenders < 2) {
    return record.Error(absl::StrCat("the question has ", n_contenders,
                                     " choice, two at least are expected"));
  }
  for (const std::string& choice : item.choices) {
    if (choice.empty()) {
      return record.Error("a choice of the question is empty");
    }
  }
  return absl::OkStatus();
}

// All questions of a file or folder. `layout` is found out where it is null.
absl::StatusOr<std::vector<TaskQuestion>> ReadQuestions(
    const std::vector<std::string>& files, const TaskLayout** layout) {
  std::vector<TaskQuestion> questions;
  for (const std::string& path : files) {
    ASSIGN_OR_RETURN(const RecordFile file, ReadRecords(path));
    if (*layout == nullptr) {
      ASSIGN_OR_RETURN(*layout, DetectTaskLayout(file));
    }
    for (const Record& record : file.records) {
      auto item = (*layout)->read(record);
      if (!item.ok()) {
        return Annotate(item.status(),
                        absl::StrCat("as a question of ", (*layout)->title));
      }
      RETURN_IF_ERROR(CheckItem(record, *item));
      questions.push_back({*std::move(item), record.file(), record.line()});
    }
  }
  return questions;
}

bool SameQuestion(const TaskItem& a, const TaskItem& b) {
  return a.contexts == b.contexts && a.choices == b.choices;
}

// Puts worked examples before questions.
class PrefixWriter {
 public:
  PrefixWriter(const TaskRequest& request, std::vector<TaskQuestion> examples,
               Task* task)
      : request_(request), examples_(std::move(examples)), task_(task) {}

  absl::Status Write(TaskQuestion* question) {
    const std::string& subject = question->item.subject;
    std::string prefix;
    if (task_->layout->description != nullptr) {
      prefix = task_->layout->description(subject);
    }
    int64_t n = 0;
    for (const TaskQuestion& example : examples_) {
      if (n == request_.n_shots) {
        break;
      }
      if (example.item.subject != subject ||
          SameQuestion(example.item, question->item)) {
        continue;
      }
      const TaskItem& item = example.item;
      absl::StrAppend(&prefix, item.context(item.gold), " ",
                      item.choices[item.gold], "\n\n");
      ++n;
    }
    if (n < request_.n_shots) {
      return absl::InvalidArgumentError(absl::StrCat(
          request_.n_shots, " worked examples are wanted before a question",
          subject.empty() ? "" : absl::StrCat(" of ", QuotedName(subject)),
          ", there are ", n, "; reading ", request_.few_shot_path));
    }
    const auto [it, is_new] = places_.emplace(prefix, task_->prefixes.size());
    if (is_new) {
      task_->prefixes.push_back(std::move(prefix));
    }
    question->prefix = it->second;
    return absl::OkStatus();
  }

 private:
  const TaskRequest& request_;
  const std::vector<TaskQuestion> examples_;
  Task* const task_;
  std::map<std::string, size_t> places_;
};

absl::StatusOr<std::vector<TaskQuestion>> ReadExamples(
    const TaskRequest& request, const Task& task) {
  if (request.few_shot_path.empty() != (request.n_shots == 0)) {
    return absl::InvalidArgumentError(
        request.n_shots == 0
            ? "a file of worked examples is given, but not how many (--shots)"
            : "worked examples are wanted, but no file is given (--few-shot)");
  }
  if (request.n_shots == 0) {
    return std::vector<TaskQuestion>();
  }
  if (!task.layout->takes_examples) {
    return absl::InvalidArgumentError(
        absl::StrCat(task.layout->title,
                     " has worked examples of its own in its prompt; it takes "
                     "no others (--few-shot)"));
  }
  ASSIGN_OR_RETURN(const auto files, FilesOf(request.few_shot_path));
  const TaskLayout* layout = task.layout;
  return ReadQuestions(files, &layout);
}

}  // namespace

absl::StatusOr<TaskRequest> ParseTaskFlag(absl::string_view text) {
  TaskRequest request;
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos) {
    request.path = std::string(text);
  } else {
    request.name = std::string(text.substr(0, equals));
    request.path = std::string(text.substr(equals + 1));
    if (request.name.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--task ", QuotedName(text), " has no name before '='"));
    }
    if (FindTaskLayout(request.name) != nullptr) {
      request.layout = request.name;
    }
  }
  if (request.path.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--task ", QuotedName(text), " names no file"));
  }
  return request;
}

std::vector<int64_t> ChooseQuestions(int64_t n, int64_t n_chosen) {
  assert(n_chosen >= 0 && n_chosen <= n);
  std::vector<int64_t> left(static_cast<size_t>(n));
  std::iota(left.begin(), left.end(), 0);
  std::mt19937 random(1);
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < n_chosen; ++i) {
    const uint32_t place = Below(static_cast<uint32_t>(left.size()), &random);
    chosen.push_back(left[place]);
    left.erase(left.begin() + place);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

absl::StatusOr<Task> LoadTask(const TaskRequest& request) {
  Task task;
  if (!request.layout.empty()) {
    task.layout = FindTaskLayout(request.layout);
    if (task.layout == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "there is no layout ", QuotedName(request.layout), " of tasks"));
    }
  }
  ASSIGN_OR_RETURN(task.files, FilesOf(request.path));
  ASSIGN_OR_RETURN(auto questions, ReadQuestions(task.files, &task.layout));
  task.name = request.name.empty() ? task.layout->name : request.name;
  task.n_in_files = static_cast<int64_t>(questions.size());
  task.n_shots = request.n_shots;
  task.few_shot_path = request.few_shot_path;
  ASSIGN_OR_RETURN(auto examples, ReadExamples(request, task));

  const int64_t n_asked =
      request.max_questions < 0
          ? task.n_in_files
          : std::min(request.max_questions, task.n_in_files);
  if (n_asked == 0) {
    return absl::InvalidArgumentError("no question would be asked");
  }
  PrefixWriter writer(request, std::move(examples), &task);
  for (int64_t i : ChooseQuestions(task.n_in_files, n_asked)) {
    RETURN_IF_ERROR(writer.Write(&questions[i]));
    task.questions.push_back(std::move(questions[i]));
  }
  return task;
}

}  // namespace narrow
