#include "validate/validation/original.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "validate/llama_base/base_file.h"

namespace narrow {
namespace {

// Names in the cache: enough of the key that two never meet.
constexpr size_t kNameDigits = 32;
constexpr char kSuffix[] = ".hidden";

}  // namespace

absl::StatusOr<std::unique_ptr<OriginalModel>> OriginalModel::Open(
    const ValidationOptions& options, const ValidationInputs* inputs,
    ThreadPool* pool, ValidationReport* report) {
  std::unique_ptr<OriginalModel> model(
      new OriginalModel(options, inputs, pool, report));
  ASSIGN_OR_RETURN(model->runner_,
                   ModelRunner::Create(inputs->original.get(), options.runner));
  for (const DomainInput& input : inputs->domains) {
    RETURN_IF_ERROR(model->OpenDomain(input));
  }
  return model;
}

absl::Status OriginalModel::OpenDomain(const DomainInput& input) {
  Domain domain;
  if (!options_.cache_folder.empty()) {
    domain.path = JoinPath(
        options_.cache_folder,
        absl::StrCat(input.cache_key.Hex().substr(0, kNameDigits), kSuffix));
  }
  ASSIGN_OR_RETURN(domain.rows, OpenRows(input, domain.path));
  domain.reference = std::make_unique<HiddenReference>(
      &input.tokens, input.windows, options_.hidden_bytes, domain.rows.get(),
      runner_.get(), pool_);
  domains_.push_back(std::move(domain));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<HiddenRows>> OriginalModel::OpenRows(
    const DomainInput& input, const std::string& path) {
  const HiddenStorage storage = options_.cache_bfloat16
                                    ? HiddenStorage::kBfloat16
                                    : HiddenStorage::kFloat32;
  const int64_t width = runner_->hidden_size();
  if (!path.empty() && FileExists(path)) {
    auto rows = HiddenRows::Open(path, input.cache_key, width, storage, "");
    if (rows.ok()) {
      return rows;
    }
    report_->warnings.push_back(absl::StrCat(
        rows.status().message(), "; they are computed again and replaced"));
  }
  return HiddenRows::Create(width, storage, "");
}

absl::Status OriginalModel::Prepare(size_t domain, int64_t n_windows,
                                    const ScoreProgressFn& progress) {
  Domain& d = domains_[domain];
  if (n_windows <= d.rows->n_windows()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(d.reference->Prepare(n_windows, progress));
  if (!d.path.empty()) {
    const absl::Status saved =
        d.rows->Save(d.path, inputs_->domains[domain].cache_key);
    if (!saved.ok()) {
      report_->warnings.push_back(absl::StrCat(
          "the original's hidden states are not kept: ", saved.message()));
      d.path.clear();
    }
  }
  return absl::OkStatus();
}

absl::Status OriginalModel::WriteBase(const std::string& path) {
  const DomainInput& input = inputs_->domains.front();
  BaseHeader header;
  header.context = options_.windows.context;
  header.n_windows = static_cast<int64_t>(input.windows.size());
  header.n_vocab = VocabularySize(*inputs_->original);
  ASSIGN_OR_RETURN(
      const auto writer,
      BaseWriter::Create(
          path, header,
          absl::MakeSpan(input.tokens.ids)
              .first(static_cast<size_t>(header.context * header.n_windows))));
  RETURN_IF_ERROR(
      domains_.front().reference->WriteBase(header.n_windows, writer.get()));
  return writer->Finish();
}

void OriginalModel::Report(ValidationReport* report) const {
  for (const Domain& domain : domains_) {
    report->reference_seconds += domain.reference->seconds();
    report->n_reference_tokens += domain.reference->n_run_tokens();
    report->hidden_bytes += domain.rows->n_bytes();
  }
}

}  // namespace narrow
