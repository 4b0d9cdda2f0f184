// Tested by: sample_text_test.

#include "calibration/text/sample_text.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/text/conversation.h"
#include "calibration/text/json_lines.h"
#include "calibration/text/model_tokenizer.h"
#include "calibration/text/seeded_choice.h"
#include "calibration/text/text_kind.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/chat/chat_template.h"

namespace narrow {
namespace {

// Far more than calibration needs: plain text is tokenized as a whole.
constexpr int64_t kMaxPlainBytes = int64_t{1} << 30;
constexpr int64_t kMaxSampleTokens = int64_t{1} << 20;
constexpr int64_t kMaxSamples = int64_t{1} << 24;
// Windows that are spread may lie so many apart: a corpus need not be read to
// its end for a few of them.
constexpr int64_t kMostApart = 64;

absl::Status CheckOptions(const SampleOptions& options) {
  if (options.sample_tokens < 1 || options.sample_tokens > kMaxSampleTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("calibration samples of ", options.sample_tokens,
                     " tokens; from 1 to ", kMaxSampleTokens, " are possible"));
  }
  if (options.n_samples > kMaxSamples) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.n_samples, " calibration samples; ", kMaxSamples, " at most"));
  }
  return absl::OkStatus();
}

// Windows of tokens, cut from records as they come.
class Windows {
 public:
  Windows(int64_t width, bool pack) : width_(width), pack_(pack) {}

  // Stands first in every packed window from now on.
  void set_bos(std::optional<int32_t> id) { bos_ = id; }

  int64_t n() const { return static_cast<int64_t>(ids_.size()) / width_; }
  int64_t n_records() const { return n_records_; }
  int64_t n_tokens() const { return n_tokens_; }
  int64_t n_counted() const { return n_counted_; }

  void Add(TokenRecord record) {
    if (record.ids.empty()) {
      return;
    }
    ++n_records_;
    n_tokens_ += static_cast<int64_t>(record.ids.size());
    n_counted_ += std::count(record.counts.begin(), record.counts.end(), 1);
    const size_t width = static_cast<size_t>(width_);
    if (!pack_) {
      // The rest of the window is padding: token 0, which counts nothing.
      record.ids.resize(width);
      record.counts.resize(width);
      Append(record.ids.data(), record.counts.data());
      return;
    }
    pending_.ids.insert(pending_.ids.end(), record.ids.begin(),
                        record.ids.end());
    pending_.counts.insert(pending_.counts.end(), record.counts.begin(),
                           record.counts.end());
    size_t done = 0;
    for (; done + width <= pending_.ids.size(); done += width) {
      Append(pending_.ids.data() + done, pending_.counts.data() + done);
    }
    const auto n_done = static_cast<std::ptrdiff_t>(done);
    pending_.ids.erase(pending_.ids.begin(), pending_.ids.begin() + n_done);
    pending_.counts.erase(pending_.counts.begin(),
                          pending_.counts.begin() + n_done);
  }

  void CopyTo(const std::vector<int64_t>& chosen,
              CalibrationSamples* samples) const {
    samples->sample_tokens = width_;
    for (const int64_t window : chosen) {
      const auto from = window * width_, to = from + width_;
      samples->ids.insert(samples->ids.end(), ids_.begin() + from,
                          ids_.begin() + to);
      samples->counts.insert(samples->counts.end(), counts_.begin() + from,
                             counts_.begin() + to);
    }
  }

 private:
  // Windows where nothing counts are of no use.
  void Append(const int32_t* ids, const uint8_t* counts) {
    if (std::all_of(counts, counts + width_,
                    [](uint8_t count) { return count == 0; })) {
      return;
    }
    ids_.insert(ids_.end(), ids, ids + width_);
    if (pack_ && bos_.has_value()) {
      ids_[ids_.size() - static_cast<size_t>(width_)] = *bos_;
    }
    counts_.insert(counts_.end(), counts, counts + width_);
  }

  const int64_t width_;
  const bool pack_;
  std::optional<int32_t> bos_;
  std::vector<int32_t> ids_;
  std::vector<uint8_t> counts_;
  TokenRecord pending_;
  int64_t n_records_ = 0, n_tokens_ = 0, n_counted_ = 0;
};

class Sampler {
 public:
  Sampler(const Checkpoint& model, const SampleOptions& options)
      : model_(model),
        options_(options),
        windows_(options.sample_tokens, options.pack) {}

  absl::StatusOr<CalibrationSamples> Run(const std::vector<std::string>& paths);

 private:
  // Without a seed windows are of the beginning, and the rest need not be read.
  bool Enough() const {
    const int64_t n = options_.n_samples * (options_.spread ? kMostApart : 1);
    return options_.seed == 0 && n > 0 && windows_.n() >= n;
  }
  absl::Status AddFile(const std::string& path);
  absl::Status AddPlain(absl::string_view bytes, const std::string& path);
  absl::Status AddLines(TextKind kind, absl::string_view bytes,
                        const std::string& path);
  absl::StatusOr<TokenRecord> RecordOf(TextKind kind, const JsonLines& lines);
  absl::Status OpenTemplate();
  void AddText(absl::string_view text);
  void FlushPlain();
  absl::Status TooShort() const;
  absl::StatusOr<CalibrationSamples> Choose() const;

  const Checkpoint& model_;
  const SampleOptions& options_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<const ChatTemplate> chat_;
  // Plain files that follow one another are one text.
  std::string plain_;
  Windows windows_;
};

absl::StatusOr<CalibrationSamples> Sampler::Run(
    const std::vector<std::string>& paths) {
  RETURN_IF_ERROR(CheckOptions(options_));
  if (paths.empty()) {
    return absl::InvalidArgumentError("no calibration text is given");
  }
  ASSIGN_OR_RETURN(tokenizer_,
                   OpenModelTokenizer(model_, TokenizerReading::kOwn));
  if (options_.window_bos && tokenizer_->adds_bos()) {
    windows_.set_bos(tokenizer_->bos_id());
  }
  for (const std::string& path : paths) {
    if (!Enough()) {
      RETURN_IF_ERROR(AddFile(path));
    }
  }
  FlushPlain();
  ASSIGN_OR_RETURN(CalibrationSamples samples, Choose());
  for (const std::string& path : paths) {
    samples.texts.push_back(path.substr(path.rfind('/') + 1));
  }
  samples.hash = HashSamples(samples);
  return samples;
}

absl::Status Sampler::AddFile(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const absl::string_view bytes(
      reinterpret_cast<const char*>(file->bytes().data()),
      file->bytes().size());
  if (bytes.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text is empty; reading ", path));
  }
  TextKind kind = options_.kind;
  if (kind == TextKind::kAuto) {
    ASSIGN_OR_RETURN(kind, DetectKind(bytes, path, options_.field));
  }
  if (options_.assistant_only && kind != TextKind::kChat) {
    return absl::InvalidArgumentError(absl::StrCat(
        "only an assistant's tokens should count, but the text has no "
        "conversations; reading ",
        path));
  }
  if (kind == TextKind::kPlain) {
    return AddPlain(bytes, path);
  }
  FlushPlain();
  return AddLines(kind, bytes, path);
}

absl::Status Sampler::AddPlain(absl::string_view bytes,
                               const std::string& path) {
  if (!options_.pack) {
    return absl::InvalidArgumentError(absl::StrCat(
        "plain text has no records to be padded: pack it into windows, or give "
        "a JSON object a line; reading ",
        path));
  }
  if (!options_.field.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("plain text has no field ",
                                                   QuotedName(options_.field),
                                                   "; reading ", path));
  }
  if (static_cast<int64_t>(plain_.size() + bytes.size()) > kMaxPlainBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "plain texts of ", plain_.size() + bytes.size(), " bytes, more than ",
        kMaxPlainBytes, "; part of it calibrates as well; reading ", path));
  }
  plain_.append(bytes.data(), bytes.size());
  return absl::OkStatus();
}

void Sampler::AddText(absl::string_view text) {
  TokenRecord record;
  record.ids = tokenizer_->Encode(text);
  record.counts.assign(record.ids.size(), 1);
  windows_.Add(std::move(record));
}

void Sampler::FlushPlain() {
  if (!plain_.empty()) {
    AddText(plain_);
    plain_.clear();
  }
}

absl::Status Sampler::OpenTemplate() {
  if (chat_ != nullptr) {
    return absl::OkStatus();
  }
  auto chat = model_.is_gguf() ? ChatTemplate::FromMetadata(model_.metadata())
                               : ChatTemplate::FromHfDirectory(model_.path());
  if (absl::IsNotFound(chat.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat("conversations need a chat template, and the model has "
                     "none; reading ",
                     model_.path()));
  }
  RETURN_IF_ERROR(
      Annotate(chat.status(),
               absl::StrCat("reading the chat template of ", model_.path())));
  chat_ = *std::move(chat);
  return absl::OkStatus();
}

absl::StatusOr<TokenRecord> Sampler::RecordOf(TextKind kind,
                                              const JsonLines& lines) {
  ASSIGN_OR_RETURN(const auto document, lines.Parse());
  const std::string field = FieldOf(kind, options_.field);
  const auto value = document->root().Find(field);
  if (!value) {
    return lines.Error(
        absl::StrCat("the object has no field ", QuotedName(field)));
  }
  if (kind == TextKind::kChat) {
    const auto tools = document->root().FindNonNull("tools");
    auto record =
        TokenizeConversation(*chat_, *tokenizer_, *value,
                             tools && tools->is_array() ? &*tools : nullptr,
                             options_.assistant_only);
    if (!record.ok() && !absl::IsUnimplemented(record.status())) {
      return lines.Error(record.status().message());
    }
    return record;
  }
  if (!value->is_string()) {
    return lines.Error(
        absl::StrCat("the field ", QuotedName(field), " is no text"));
  }
  TokenRecord record;
  ASSIGN_OR_RETURN(const absl::string_view text, value->GetString());
  if (!text.empty()) {
    record.ids = tokenizer_->Encode(text);
    record.counts.assign(record.ids.size(), 1);
  }
  return record;
}

absl::Status Sampler::AddLines(TextKind kind, absl::string_view bytes,
                               const std::string& path) {
  if (kind == TextKind::kChat) {
    RETURN_IF_ERROR(OpenTemplate());
  }
  JsonLines lines(bytes, path);
  while (!Enough() && lines.Next()) {
    ASSIGN_OR_RETURN(TokenRecord record, RecordOf(kind, lines));
    windows_.Add(std::move(record));
  }
  return absl::OkStatus();
}

absl::Status Sampler::TooShort() const {
  const int64_t n_wanted = std::max<int64_t>(1, options_.n_samples);
  if (windows_.n_tokens() > 0 && windows_.n_counted() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("none of the ", windows_.n_tokens(),
                     " tokens of the conversations is an assistant's"));
  }
  if (!options_.pack) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the calibration text is too short: ", n_wanted,
        " samples are asked for, ", windows_.n(), " of ", windows_.n_records(),
        " records have tokens that count; use more text or fewer "
        "samples (--samples)"));
  }
  const int64_t n_tokens = options_.sample_tokens;
  if (options_.fewer || n_wanted == 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the calibration text is too short: it has ", windows_.n_tokens(),
        " tokens, less than one window of ", n_tokens,
        "; use more text or shorter windows (--sample-tokens)"));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "the calibration text is too short: ", n_wanted, " windows of ", n_tokens,
      " tokens need ", n_wanted * n_tokens, ", there are ", windows_.n_tokens(),
      " tokens, ", windows_.n(),
      " windows; use more text, fewer windows (--samples) or shorter ones "
      "(--sample-tokens)"));
}

absl::StatusOr<CalibrationSamples> Sampler::Choose() const {
  const bool all = options_.n_samples < 1 ||
                   (options_.fewer && windows_.n() < options_.n_samples);
  const int64_t n_chosen = all ? windows_.n() : options_.n_samples;
  if (windows_.n() < std::max<int64_t>(1, n_chosen)) {
    return TooShort();
  }
  // Of spread ones: the last record, or a plain text, may give more windows
  // than are asked for.
  const int64_t n = options_.seed == 0
                        ? std::min(windows_.n(), n_chosen * kMostApart)
                        : windows_.n();
  std::vector<int64_t> chosen;
  if (options_.seed != 0) {
    chosen = ChooseSeeded(n, n_chosen, options_.seed);
  } else {
    for (int64_t i = 0; i < n_chosen; ++i) {
      chosen.push_back(options_.spread ? i * n / n_chosen : i);
    }
  }
  CalibrationSamples samples;
  windows_.CopyTo(chosen, &samples);
  const int32_t highest =
      *std::max_element(samples.ids.begin(), samples.ids.end());
  if (highest >= model_.config().vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("the tokenizer gives token ", highest,
                     ", but the model's vocabulary "
                     "has ",
                     model_.config().vocab_size,
                     ": they do not belong together; "
                     "reading ",
                     model_.path()));
  }
  return samples;
}

}  // namespace

absl::StatusOr<CalibrationSamples> SampleTexts(
    const Checkpoint& model, const std::vector<std::string>& paths,
    const SampleOptions& options) {
  return Sampler(model, options).Run(paths);
}

}  // namespace narrow
