#include "converter/compensated/solved_store.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/file.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"
#include "formats/json/json.h"
#include "formats/json/json_writer.h"
#include "formats/safetensors/safetensors_reader.h"
#include "formats/safetensors/safetensors_writer.h"

namespace narrow {
namespace {

constexpr char kReportsKey[] = "reports";
constexpr char kVerdictsKey[] = "verdicts";
constexpr char kChecksumKey[] = "checksum";  // of the two

// "0/blk.0.ffn_up.weight": the output before the name.
std::string StoredName(const SolvedTensor& tensor) {
  return absl::StrCat(tensor.output, "/", tensor.report.name);
}

std::string ChecksumText(absl::Span<const uint8_t> bytes) {
  Checksum sum;
  sum.Add(bytes.data(), bytes.size());
  return absl::StrFormat("%016x", sum.value());
}

std::string TextChecksum(absl::string_view reports,
                         absl::string_view verdicts) {
  Checksum sum;
  sum.Add(reports.data(), reports.size());
  sum.Add(verdicts.data(), verdicts.size());
  return absl::StrFormat("%016x", sum.value());
}

std::string ReportsJson(const std::vector<SolvedTensor>& tensors) {
  JsonWriter json(JsonWriter::kCompact);
  json.BeginArray();
  for (const SolvedTensor& tensor : tensors) {
    const SolvedReport& report = tensor.report;
    json.BeginObject();
    json.Key("output").Integer(tensor.output);
    json.Key("name").String(report.name);
    json.Key("row_bytes").Integer(tensor.row_bytes);
    json.Key("checksum").String(ChecksumText(tensor.bytes));
    json.Key("matrices").Integer(report.n_matrices);
    json.Key("accepted").Integer(report.n_accepted);
    json.Key("error").Number(report.relative_error);
    json.Key("error_plain").Number(report.relative_error_plain);
    json.Key("plain_why").String(report.plain_why);
    json.Key("rejected").Bool(report.rejected);
    json.Key("notes").BeginArray();
    for (const std::string& note : report.notes) {
      json.String(note);
    }
    json.EndArray().EndObject();
  }
  json.EndArray();
  return json.text();
}

std::string VerdictsJson(const std::vector<BlockVerdict>& verdicts) {
  JsonWriter json(JsonWriter::kCompact);
  json.BeginArray();
  for (const BlockVerdict& verdict : verdicts) {
    json.BeginObject();
    json.Key("output").Integer(verdict.output);
    json.Key("block").Integer(verdict.block);
    json.Key("divergence").Number(verdict.divergence);
    json.Key("divergence_plain").Number(verdict.divergence_plain);
    json.Key("accepted").Bool(verdict.accepted);
    json.EndObject();
  }
  json.EndArray();
  return json.text();
}

absl::StatusOr<std::string> Text(const JsonValue& json, absl::string_view key) {
  ASSIGN_OR_RETURN(const JsonValue value, json.Get(key));
  ASSIGN_OR_RETURN(const absl::string_view text, value.GetString());
  return std::string(text);
}

absl::StatusOr<int64_t> Integer(const JsonValue& json, absl::string_view key) {
  ASSIGN_OR_RETURN(const JsonValue value, json.Get(key));
  return value.GetInteger();
}

// An error that is not finite (of rounding weights whose scales no half float
// holds) is written as null.
absl::StatusOr<double> Number(const JsonValue& json, absl::string_view key) {
  ASSIGN_OR_RETURN(const JsonValue value, json.Get(key));
  if (value.is_null()) {
    return std::numeric_limits<double>::infinity();
  }
  return value.GetNumber();
}

absl::StatusOr<bool> Bool(const JsonValue& json, absl::string_view key) {
  ASSIGN_OR_RETURN(const JsonValue value, json.Get(key));
  return value.GetBool();
}

absl::StatusOr<BlockVerdict> ReadVerdict(const JsonValue& json) {
  BlockVerdict verdict;
  ASSIGN_OR_RETURN(const int64_t output, Integer(json, "output"));
  verdict.output = static_cast<int>(output);
  ASSIGN_OR_RETURN(verdict.block, Integer(json, "block"));
  ASSIGN_OR_RETURN(verdict.divergence, Number(json, "divergence"));
  ASSIGN_OR_RETURN(verdict.divergence_plain, Number(json, "divergence_plain"));
  ASSIGN_OR_RETURN(verdict.accepted, Bool(json, "accepted"));
  return verdict;
}

// All of a tensor but its bytes.
absl::Status ReadReport(const JsonValue& json, SolvedTensor* tensor) {
  SolvedReport& report = tensor->report;
  ASSIGN_OR_RETURN(const int64_t output, Integer(json, "output"));
  tensor->output = static_cast<int>(output);
  ASSIGN_OR_RETURN(tensor->row_bytes, Integer(json, "row_bytes"));
  ASSIGN_OR_RETURN(report.name, Text(json, "name"));
  ASSIGN_OR_RETURN(report.n_matrices, Integer(json, "matrices"));
  ASSIGN_OR_RETURN(report.n_accepted, Integer(json, "accepted"));
  ASSIGN_OR_RETURN(report.relative_error, Number(json, "error"));
  ASSIGN_OR_RETURN(report.relative_error_plain, Number(json, "error_plain"));
  ASSIGN_OR_RETURN(report.plain_why, Text(json, "plain_why"));
  ASSIGN_OR_RETURN(report.rejected, Bool(json, "rejected"));
  ASSIGN_OR_RETURN(const JsonValue notes, json.Get("notes"));
  ASSIGN_OR_RETURN(const std::vector<JsonValue> lines, notes.GetElements());
  for (const JsonValue& line : lines) {
    ASSIGN_OR_RETURN(const absl::string_view note, line.GetString());
    report.notes.emplace_back(note);
  }
  return absl::OkStatus();
}

}  // namespace

class SolvedStore::Rows : public EncodedRows {
 public:
  Rows(absl::Span<const uint8_t> bytes, int64_t row_bytes)
      : bytes_(bytes), row_bytes_(row_bytes) {}

  absl::Status AppendRows(int64_t first_row, int64_t n_rows,
                          std::vector<uint8_t>* bytes) const override {
    const auto rows =
        bytes_.subspan(static_cast<size_t>(first_row * row_bytes_),
                       static_cast<size_t>(n_rows * row_bytes_));
    bytes->insert(bytes->end(), rows.begin(), rows.end());
    return absl::OkStatus();
  }
  int64_t n_bytes() const { return static_cast<int64_t>(bytes_.size()); }

 private:
  const absl::Span<const uint8_t> bytes_;
  const int64_t row_bytes_;
};

SolvedStore::SolvedStore(std::string folder) : folder_(std::move(folder)) {}
SolvedStore::~SolvedStore() = default;

std::string SolvedStore::calibrator_path() const {
  return JoinPath(folder_, "calibrator");
}

std::string SolvedStore::BlockPath(int64_t block) const {
  return JoinPath(folder_, absl::StrFormat("block-%05d.safetensors", block));
}

bool SolvedStore::Has(int64_t block) const {
  return FileExists(BlockPath(block));
}

absl::Status SolvedStore::Save(
    int64_t block, const std::vector<SolvedTensor>& tensors,
    const std::vector<BlockVerdict>& verdicts) const {
  std::vector<TensorMeta> metas;
  for (const SolvedTensor& tensor : tensors) {
    metas.push_back({StoredName(tensor),
                     QuantType::kU8,
                     {static_cast<int64_t>(tensor.bytes.size())}});
  }
  Metadata metadata;
  const std::string reports = ReportsJson(tensors);
  const std::string judged = VerdictsJson(verdicts);
  metadata.Set(kReportsKey, reports);
  metadata.Set(kVerdictsKey, judged);
  metadata.Set(kChecksumKey, TextChecksum(reports, judged));
  const std::unique_ptr<TensorSink> sink =
      NewSafetensorsWriter(BlockPath(block));
  RETURN_IF_ERROR(sink->Begin(metas, metadata));
  for (const SolvedTensor& tensor : tensors) {
    RETURN_IF_ERROR(sink->Append(tensor.bytes));
  }
  return sink->Finish();
}

absl::Status SolvedStore::LoadBlock(const std::string& path) {
  ASSIGN_OR_RETURN(auto source, OpenSafetensors(path));
  const auto reports = source->metadata().GetString(kReportsKey);
  const auto verdicts = source->metadata().GetString(kVerdictsKey);
  if (!reports.has_value() || !verdicts.has_value() ||
      source->metadata().GetString(kChecksumKey) !=
          TextChecksum(*reports, *verdicts)) {
    return absl::DataLossError(absl::StrCat(
        "no block of an unfinished run, or a damaged one; reading ", path));
  }
  ASSIGN_OR_RETURN(const auto document, JsonDocument::Parse(*reports, path));
  ASSIGN_OR_RETURN(const std::vector<JsonValue> entries,
                   document->root().GetElements());
  for (const JsonValue& entry : entries) {
    SolvedTensor tensor;
    RETURN_IF_ERROR(ReadReport(entry, &tensor));
    const TensorView* view = source->Find(StoredName(tensor));
    if (view == nullptr || tensor.row_bytes < 1 ||
        view->meta.n_bytes() % tensor.row_bytes != 0) {
      return absl::DataLossError(absl::StrCat("tensor ",
                                              QuotedName(tensor.report.name),
                                              " has no rows; reading ", path));
    }
    ASSIGN_OR_RETURN(const std::string checksum, Text(entry, "checksum"));
    if (ChecksumText(view->data) != checksum) {
      return absl::DataLossError(absl::StrCat(
          "tensor ", QuotedName(tensor.report.name),
          ": its bytes are not those that were written; at offset ",
          view->origin.offset, "; reading ", path));
    }
    rows_[{tensor.output, tensor.report.name}] =
        std::make_unique<Rows>(view->data, tensor.row_bytes);
    reports_[tensor.output].push_back(std::move(tensor.report));
  }
  ASSIGN_OR_RETURN(const auto judged, JsonDocument::Parse(*verdicts, path));
  ASSIGN_OR_RETURN(const std::vector<JsonValue> lines,
                   judged->root().GetElements());
  for (const JsonValue& line : lines) {
    ASSIGN_OR_RETURN(const BlockVerdict verdict, ReadVerdict(line));
    verdicts_[verdict.output].push_back(verdict);
  }
  blocks_.push_back(std::move(source));
  return absl::OkStatus();
}

absl::Status SolvedStore::Load(int64_t first, int64_t end) {
  rows_.clear();
  blocks_.clear();
  reports_.clear();
  verdicts_.clear();
  for (int64_t block = first; block < end; ++block) {
    RETURN_IF_ERROR(
        Annotate(LoadBlock(BlockPath(block)), "begin anew with --restart"));
  }
  return absl::OkStatus();
}

const EncodedRows* SolvedStore::Find(int output, absl::string_view name) const {
  const auto it = rows_.find({output, std::string(name)});
  return it == rows_.end() ? nullptr : it->second.get();
}

int64_t SolvedStore::n_bytes(int output, absl::string_view name) const {
  const auto it = rows_.find({output, std::string(name)});
  return it == rows_.end() ? 0 : it->second->n_bytes();
}

const std::vector<SolvedReport>& SolvedStore::reports(int output) const {
  static const std::vector<SolvedReport>* const kNone =
      new std::vector<SolvedReport>();
  const auto it = reports_.find(output);
  return it == reports_.end() ? *kNone : it->second;
}

const std::vector<BlockVerdict>& SolvedStore::verdicts(int output) const {
  static const std::vector<BlockVerdict>* const kNone =
      new std::vector<BlockVerdict>();
  const auto it = verdicts_.find(output);
  return it == verdicts_.end() ? *kNone : it->second;
}

}  // namespace narrow
