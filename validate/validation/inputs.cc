#include "validate/validation/inputs.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/digest/model_digest.h"
#include "validate/perplexity/report.h"
#include "validate/sanity/sanity.h"
#include "validate/text.h"

namespace narrow {
namespace {

constexpr char kTokensKey[] = "tokenizer.ggml.tokens";

absl::Status CheckBaseOptions(const ValidationOptions& options) {
  if (options.candidates.empty()) {
    return absl::InvalidArgumentError("no candidate is named");
  }
  if (!options.domains.empty() || !options.tasks.empty() ||
      !options.write_base_path.empty()) {
    return absl::InvalidArgumentError(
        "a base file has its own text: other texts, tasks and base files "
        "written need the original model");
  }
  return absl::OkStatus();
}

absl::Status CheckOriginalOptions(const ValidationOptions& options) {
  // A model can be asked the questions of a task by itself.
  if (options.candidates.empty() &&
      (!options.domains.empty() || options.tasks.empty())) {
    return absl::InvalidArgumentError("an original and a candidate are needed");
  }
  if (options.domains.empty() && options.tasks.empty()) {
    return absl::InvalidArgumentError("a text or a task is needed");
  }
  if (options.write_base_path.empty()) {
    return absl::OkStatus();
  }
  if (options.domains.size() != 1 ||
      options.windows.protocol != Protocol::kLlamaCpp) {
    return absl::InvalidArgumentError(
        "a base file holds one text in llama.cpp's windows");
  }
  return CheckBasePath(options.write_base_path);
}

absl::Status CheckOptions(const ValidationOptions& options) {
  const bool with_base = !options.base_path.empty();
  if (with_base == !options.original.empty()) {
    return absl::InvalidArgumentError(
        "the reference is either a model or a base file");
  }
  RETURN_IF_ERROR(with_base ? CheckBaseOptions(options)
                            : CheckOriginalOptions(options));
  const double rate = options.limits.error_rate;
  if (!(rate > 0 && rate < 0.5)) {
    return absl::InvalidArgumentError(
        absl::StrCat("error rate ", rate, "; between 0 and 0.5 are possible"));
  }
  std::set<std::string> names;
  for (const ValidationDomain& domain : options.domains) {
    if (!names.insert(domain.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two texts are named '", domain.name, "'"));
    }
  }
  return CheckWindowSettings(options.windows);
}

absl::StatusOr<ValidatedModel> Describe(const Checkpoint& model,
                                        int n_threads) {
  ValidatedModel result;
  result.path = model.path();
  for (const CheckpointTensor& tensor : model.tensors()) {
    result.tensor_bytes += model.StoredBytes(tensor);
    result.n_weights += tensor.meta.n_elements();
  }
  ASSIGN_OR_RETURN(const ModelDigest digest,
                   DigestModel(model.path(), n_threads));
  result.hash = digest.sha256.Hex();
  return result;
}

// A change of what hidden states are, or of the arithmetic that makes them,
// changes the first words.
Sha256Digest CacheKey(const ValidationOptions& options,
                      const ValidatedModel& model,
                      const ValidatedDomain& domain, const TextTokens& tokens) {
  const WindowSettings& windows = options.windows;
  Sha256 hash;
  hash.AddWithLength("narrow hidden states 1");
  hash.AddWithLength(model.hash);
  hash.AddWithLength(domain.text_hash);
  hash.AddNumber(static_cast<int64_t>(tokens.ids.size()));
  hash.Add(absl::string_view(reinterpret_cast<const char*>(tokens.ids.data()),
                             tokens.ids.size() * sizeof(int32_t)));
  hash.AddNumber(tokens.window_bos ? *tokens.window_bos : -1);
  hash.AddWithLength(ProtocolName(windows.protocol));
  hash.AddNumber(windows.context);
  hash.AddNumber(windows.stride);
  hash.AddNumber(static_cast<int64_t>(options.runner.precision));
  hash.AddNumber(options.cache_bfloat16 ? 1 : 0);
  if (options.runner.device.has_value()) {
    hash.AddWithLength("device");  // last digits differ
  }
  return hash.Finish();
}

absl::StatusOr<DomainInput> OpenDomain(const ValidationOptions& options,
                                       const ValidationDomain& domain,
                                       const Checkpoint& original,
                                       ValidationReport* report) {
  ASSIGN_OR_RETURN(const JudgedText text, ReadText(domain.paths));
  report->warnings.insert(report->warnings.end(), text.warnings.begin(),
                          text.warnings.end());
  DomainInput input;
  ASSIGN_OR_RETURN(input.tokens,
                   TokenizeText(original, options.windows.protocol, text.text));
  auto windows = PlanWindows(static_cast<int64_t>(input.tokens.ids.size()),
                             options.windows);
  if (!windows.ok()) {
    return Annotate(windows.status(),
                    absl::StrCat("reading ", domain.paths.front()));
  }
  input.windows = *std::move(windows);

  Sha256 hash;
  hash.Add(text.text);
  ValidatedDomain described;
  described.name = domain.name;
  described.paths = domain.paths;
  described.text_hash = hash.Finish().Hex();
  described.text_bytes = static_cast<int64_t>(text.text.size());
  described.n_tokens = static_cast<int64_t>(input.tokens.ids.size());
  described.n_windows = static_cast<int64_t>(input.windows.size());
  described.windows_begin_with_bos = input.tokens.window_bos.has_value();
  input.cache_key =
      CacheKey(options, report->original, described, input.tokens);
  report->domains.push_back(std::move(described));
  return input;
}

// The windows of a base file, with the BOS token that llama-perplexity puts
// in front of them for this model.
absl::StatusOr<DomainInput> BaseDomain(const BaseFile& base,
                                       const Checkpoint& candidate,
                                       const ValidationOptions& options,
                                       ValidationReport* report) {
  const BaseHeader& header = base.header();
  DomainInput input;
  ASSIGN_OR_RETURN(input.tokens,
                   TokenizeText(candidate, Protocol::kLlamaCpp, ""));
  input.tokens.ids = base.tokens();
  const int64_t most = options.windows.max_windows;
  const int64_t n_windows =
      most < 0 ? header.n_windows : std::min(most, header.n_windows);
  for (int64_t i = 0; i < n_windows; ++i) {
    input.windows.push_back(
        {i * header.context, header.context, header.context / 2 + 1});
  }
  report->windows.protocol = Protocol::kLlamaCpp;
  report->windows.context = header.context;
  report->windows.stride = 0;
  ValidatedDomain described;
  described.name = "base";
  described.paths = {base.path()};
  described.n_tokens = static_cast<int64_t>(input.tokens.ids.size());
  described.n_windows = n_windows;
  described.windows_begin_with_bos = input.tokens.window_bos.has_value();
  report->domains.push_back(std::move(described));
  return input;
}

// A model is measured beyond its context on request, as llama-perplexity
// does, but the figure says little.
void WarnOfContext(const Checkpoint& model, ValidationReport* report) {
  const int64_t trained = model.config().context_length;
  if (trained > 0 && report->windows.context > trained) {
    report->warnings.push_back(
        absl::StrCat("windows have ", report->windows.context,
                     " tokens, the model was made for ", trained,
                     "; measuring ", model.path()));
  }
}

absl::Status OpenOriginal(const ValidationOptions& options,
                          ValidationInputs* inputs, ValidationReport* report) {
  ASSIGN_OR_RETURN(inputs->original, OpenModel(options, options.original));
  ASSIGN_OR_RETURN(report->original,
                   Describe(*inputs->original, options.runner.n_threads));
  WarnOfContext(*inputs->original, report);
  for (const ValidationDomain& domain : options.domains) {
    ASSIGN_OR_RETURN(DomainInput input,
                     OpenDomain(options, domain, *inputs->original, report));
    inputs->domains.push_back(std::move(input));
  }
  for (const TaskRequest& request : options.tasks) {
    TaskInput input;
    ASSIGN_OR_RETURN(input.task, LoadTask(request));
    ASSIGN_OR_RETURN(input.tokens, TokenizeTask(*inputs->original, input.task,
                                                options.runner.n_threads));
    inputs->tasks.push_back(std::move(input));
  }
  return absl::OkStatus();
}

absl::Status CheckBaseVocabulary(const BaseFile& base,
                                 const Checkpoint& candidate) {
  const int64_t n_vocab = VocabularySize(candidate);
  if (base.header().n_vocab == n_vocab) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the base file is of a vocabulary of ",
                   base.header().n_vocab, " tokens, the model has ", n_vocab,
                   "; reading ", base.path(), " and ", candidate.path()));
}

absl::Status CheckCandidate(const ValidationOptions& options,
                            const std::string& path, ValidationInputs* inputs,
                            ValidationReport* report) {
  ASSIGN_OR_RETURN(const auto candidate, OpenModel(options, path));
  if (inputs->base != nullptr) {
    RETURN_IF_ERROR(CheckBaseVocabulary(*inputs->base, *candidate));
    if (inputs->domains.empty()) {
      ASSIGN_OR_RETURN(DomainInput input,
                       BaseDomain(*inputs->base, *candidate, options, report));
      inputs->domains.push_back(std::move(input));
    }
  } else {
    RETURN_IF_ERROR(CheckSameVocabulary(*inputs->original, *candidate));
  }
  WarnOfContext(*candidate, report);
  CandidateReport described;
  ASSIGN_OR_RETURN(described.model,
                   Describe(*candidate, options.runner.n_threads));
  if (inputs->original != nullptr) {
    SanityOptions sanity;
    sanity.n_threads = options.runner.n_threads;
    std::optional<ExpectedTypes> expected;
    if (options.expected_types) {
      expected = options.expected_types(*inputs->original, *candidate);
      sanity.expected = expected.has_value() ? &*expected : nullptr;
    }
    ASSIGN_OR_RETURN(described.sanity,
                     CheckSanity(*inputs->original, *candidate, sanity));
  }
  report->candidates.push_back(std::move(described));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenModel(
    const ValidationOptions& options, const std::string& path) {
  return Checkpoint::Open(path, options.checkpoint);
}

int64_t VocabularySize(const Checkpoint& model) {
  const int64_t n_rows = model.config().vocab_size;
  const MetadataValue* value = model.metadata().Find(kTokensKey);
  const auto* tokens =
      value == nullptr ? nullptr : std::get_if<std::vector<std::string>>(value);
  return tokens == nullptr
             ? n_rows
             : std::min(n_rows, static_cast<int64_t>(tokens->size()));
}

absl::StatusOr<ValidationInputs> OpenValidationInputs(
    const ValidationOptions& options, ValidationReport* report) {
  RETURN_IF_ERROR(CheckOptions(options));
  report->windows = options.windows;
  report->precision = options.runner.precision;
  report->device = DeviceName(options.runner.device);
  report->n_threads =
      options.runner.n_threads < 1 ? NumProcessors() : options.runner.n_threads;
  report->limits = options.limits;
  report->early_stop = options.early_stop;
  report->seed = options.seed;
  ValidationInputs inputs;
  if (options.base_path.empty()) {
    RETURN_IF_ERROR(OpenOriginal(options, &inputs, report));
  } else {
    ASSIGN_OR_RETURN(inputs.base, BaseFile::Open(options.base_path));
    report->original.path = options.base_path;
    report->reference_is_base_file = true;
  }
  for (const std::string& path : options.candidates) {
    RETURN_IF_ERROR(CheckCandidate(options, path, &inputs, report));
  }
  return inputs;
}

}  // namespace narrow
