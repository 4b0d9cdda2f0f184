#include "validate/tasks/tokenize_task.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/text/model_tokenizer.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/chat/jinja/values/text.h"

namespace narrow {
namespace {

using Ids = std::vector<int32_t>;

// A choice with what stands before it.
struct EncodedChoice {
  Ids ids;           // of both
  size_t n_context;  // that belong to what stands before
};

bool AsksTokenMean(const TaskLayout& layout) {
  return std::any_of(
      layout.metrics.begin(), layout.metrics.end(),
      [](const MetricRow& row) { return row.kind == MetricKind::kAccToken; });
}

// Tokens that all choices begin with.
size_t CommonTokens(const std::vector<EncodedChoice>& choices) {
  size_t n = choices[0].ids.size();
  for (const EncodedChoice& choice : choices) {
    const size_t most = std::min(n, choice.ids.size());
    n = std::mismatch(choice.ids.begin(), choice.ids.begin() + most,
                      choices[0].ids.begin())
            .first -
        choice.ids.begin();
  }
  return n;
}

// Encodes one question; see the head of the header.
class QuestionEncoder {
 public:
  QuestionEncoder(const Tokenizer& tokenizer, int64_t max_window_tokens,
                  bool token_mean)
      : tokenizer_(tokenizer),
        max_window_tokens_(max_window_tokens),
        token_mean_(token_mean) {}

  // `inputs` gets each choice's tokens but the last. False if its own tokens
  // exceed a window.
  bool Encode(const std::string& prefix, const TaskItem& item,
              std::vector<TokenizedChoice>* choices, std::vector<Ids>* inputs,
              bool* truncated) const {
    const std::vector<EncodedChoice> encoded = EncodeChoices(prefix, item);
    const size_t n_common = CommonTokens(encoded);
    const bool by_tokens = token_mean_ && item.contexts.size() == 1;
    for (const EncodedChoice& choice : encoded) {
      const size_t last = choice.ids.size() - 1;
      const size_t own = std::min(std::max<size_t>(1, choice.n_context), last);
      const size_t different =
          by_tokens ? std::min(std::max<size_t>(1, n_common), last) : own;
      const size_t begin = std::min(own, different);
      TokenizedChoice result;
      result.targets.assign(choice.ids.begin() + begin, choice.ids.end());
      result.first_own = own - begin;
      result.first_different = different - begin;
      Ids input(choice.ids.begin(), choice.ids.end() - 1);
      const size_t n_dropped = Truncate(&input);
      if (n_dropped >= begin) {
        return false;
      }
      *truncated |= n_dropped > 0;
      result.begin = static_cast<int64_t>(begin - n_dropped);
      choices->push_back(std::move(result));
      inputs->push_back(std::move(input));
    }
    return true;
  }

 private:
  std::vector<EncodedChoice> EncodeChoices(const std::string& prefix,
                                           const TaskItem& item) const {
    std::vector<EncodedChoice> encoded;
    size_t n_context = 0;
    for (size_t i = 0; i < item.choices.size(); ++i) {
      std::string before = absl::StrCat(prefix, item.context(i));
      // White space at the end of what stands before belongs to the choice, as
      // tokenizers put it before words.
      const std::string stripped(
          jinja::StripSpace(before, jinja::Sides::kRight));
      if (i == 0 || item.contexts.size() > 1) {
        n_context = EncodeText(stripped).size();
      }
      absl::StrAppend(&before, " ", item.choices[i]);
      EncodedChoice choice = {EncodeText(before), n_context};
      if (choice.n_context == 0 || choice.ids.size() < 2) {
        PrependStart(&choice);
      }
      encoded.push_back(std::move(choice));
    }
    return encoded;
  }

  Ids EncodeText(const std::string& text) const {
    Ids ids = tokenizer_.Encode(text);
    if (tokenizer_.adds_eos() && tokenizer_.eos_id() && !ids.empty() &&
        ids.back() == *tokenizer_.eos_id()) {
      ids.pop_back();
    }
    return ids;
  }

  // The first token of a text needs something before it to be predicted from.
  void PrependStart(EncodedChoice* choice) const {
    const auto start =
        tokenizer_.bos_id() ? tokenizer_.bos_id() : tokenizer_.eos_id();
    while (choice->ids.size() < 2 || choice->n_context == 0) {
      choice->ids.insert(choice->ids.begin(), start.value_or(0));
      ++choice->n_context;
    }
  }

  // Drops tokens after BOS, if there is one, until the window fits; returns
  // how many.
  size_t Truncate(Ids* input) const {
    const size_t most = static_cast<size_t>(max_window_tokens_);
    if (max_window_tokens_ < 1 || input->size() <= most) {
      return 0;
    }
    const size_t n = input->size() - most;
    const bool bos = tokenizer_.adds_bos() && tokenizer_.bos_id() &&
                     input->front() == *tokenizer_.bos_id() && most > 1;
    const auto from = input->begin() + (bos ? 1 : 0);
    input->erase(from, from + static_cast<int64_t>(n));
    return n;
  }

  const Tokenizer& tokenizer_;
  const int64_t max_window_tokens_;
  const bool token_mean_;
};

// Gives each input its window: in order of their tokens an input that begins
// another stands right before one of those.
void ShareWindows(std::vector<Ids> inputs, TokenizedTask* task) {
  std::vector<size_t> order(inputs.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return inputs[a] < inputs[b]; });
  std::vector<size_t> owner(inputs.size());  // whose window it is
  for (size_t k = order.size(); k-- > 0;) {
    const size_t i = order[k];
    owner[i] = i;
    if (k + 1 < order.size()) {
      const Ids& next = inputs[order[k + 1]];
      if (inputs[i].size() <= next.size() &&
          std::equal(inputs[i].begin(), inputs[i].end(), next.begin())) {
        owner[i] = owner[order[k + 1]];
      }
    }
  }
  std::vector<size_t> window_of(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (owner[i] == i) {
      window_of[i] = task->windows.size();
      task->n_tokens += static_cast<int64_t>(inputs[i].size());
      task->windows.push_back(std::move(inputs[i]));
    }
  }
  size_t i = 0;
  for (auto& choices : task->questions) {
    for (TokenizedChoice& choice : choices) {
      choice.window = window_of[owner[i++]];
    }
  }
}

}  // namespace

absl::StatusOr<TokenizedTask> TokenizeTask(const Tokenizer& tokenizer,
                                           int64_t max_window_tokens,
                                           const Task& task, int n_threads) {
  const size_t n = task.questions.size();
  const QuestionEncoder encoder(tokenizer, max_window_tokens,
                                AsksTokenMean(*task.layout));
  TokenizedTask result;
  result.questions.resize(n);
  std::vector<std::vector<Ids>> inputs(n);
  std::vector<char> fits(n);
  std::vector<char> truncated(n);
  ThreadPool pool(n_threads);
  pool.ParallelFor(static_cast<int64_t>(n), [&](int64_t i) {
    const TaskQuestion& question = task.questions[i];
    bool cut = false;
    fits[i] = encoder.Encode(task.prefixes[question.prefix], question.item,
                             &result.questions[i], &inputs[i], &cut);
    truncated[i] = cut;
  });
  std::vector<Ids> all;
  for (size_t i = 0; i < n; ++i) {
    if (!fits[i]) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a choice of the question has more tokens than the model's context "
          "of ",
          max_window_tokens, "; line ", task.questions[i].line, "; reading ",
          task.questions[i].file));
    }
    result.n_truncated += truncated[i];
    for (Ids& ids : inputs[i]) {
      all.push_back(std::move(ids));
    }
  }
  ShareWindows(std::move(all), &result);
  return result;
}

absl::StatusOr<TokenizedTask> TokenizeTask(const Checkpoint& model,
                                           const Task& task, int n_threads) {
  ASSIGN_OR_RETURN(const auto tokenizer,
                   OpenModelTokenizer(model, TokenizerReading::kOwn));
  return TokenizeTask(*tokenizer, model.config().context_length, task,
                      n_threads);
}

}  // namespace narrow
