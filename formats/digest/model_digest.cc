#include "formats/digest/model_digest.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/containers.h"
#include "formats/gguf/gguf_format.h"
#include "formats/gguf/gguf_layout.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr char kHeading[] = "narrow model 1";
constexpr size_t kStep = size_t{1} << 20;

// What decides how a model runs, by the names that projects publish.
constexpr const char* kSideFiles[] = {"README.md",
                                      "added_tokens.json",
                                      "chat_template.jinja",
                                      "chat_template.json",
                                      "config.json",
                                      "generation_config.json",
                                      "hf_quant_config.json",
                                      "merges.txt",
                                      "modules.json",
                                      "preprocessor_config.json",
                                      "processor_config.json",
                                      "quant_config.json",
                                      "quantization_config.json",
                                      "quantize_config.json",
                                      "sentencepiece.bpe.model",
                                      "special_tokens_map.json",
                                      "spiece.model",
                                      "tekken.json",
                                      "tokenizer.json",
                                      "tokenizer.model",
                                      "tokenizer_config.json",
                                      "vocab.json",
                                      "vocab.txt"};
constexpr char kTemplateFolder[] = "additional_chat_templates";

Sha256Digest DigestTensor(const TensorSource& source, const TensorView& view) {
  Sha256 hash;
  absl::Span<const uint8_t> rest = view.data;
  while (!rest.empty()) {
    const absl::Span<const uint8_t> step = rest.subspan(0, kStep);
    hash.Add(step);
    source.Release(step);
    rest.remove_prefix(step.size());
  }
  return hash.Finish();
}

absl::Status DigestSideFiles(const std::string& folder, ModelDigest* digest) {
  for (const std::string& name : ModelSideFiles(folder)) {
    ASSIGN_OR_RETURN(const FileDigest file, DigestFile(JoinPath(folder, name)));
    digest->files.push_back({name, file.n_bytes, file.sha256});
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> ModelSideFiles(absl::string_view folder) {
  std::vector<std::string> names;
  for (const char* name : kSideFiles) {
    if (FileExists(JoinPath(folder, name))) {
      names.push_back(name);
    }
  }
  std::error_code error;
  const fs::path root(std::string{folder});
  for (fs::directory_iterator it(root, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (absl::EndsWith(name, ".tiktoken")) {
      names.push_back(name);
    }
  }
  for (fs::directory_iterator it(root / kTemplateFolder, error), end;
       !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (absl::EndsWith(name, ".jinja")) {
      names.push_back(absl::StrCat(kTemplateFolder, "/", name));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<SideFileDigest> DigestMetadata(const Metadata& metadata) {
  Metadata keys = metadata;
  for (const char* key :
       {kGgufSplitNoKey, kGgufSplitCountKey, kGgufSplitTensorsKey}) {
    keys.Erase(key);
  }
  ASSIGN_OR_RETURN(const GgufLayout layout, LayOutGguf({}, keys));
  return SideFileDigest{"metadata", static_cast<int64_t>(layout.header.size()),
                        Sha256::Of(layout.header)};
}

void CombineDigests(ModelDigest* digest) {
  std::sort(digest->tensors.begin(), digest->tensors.end(),
            [](const TensorDigest& a, const TensorDigest& b) {
              return a.meta.name < b.meta.name;
            });
  std::sort(digest->files.begin(), digest->files.end(),
            [](const SideFileDigest& a, const SideFileDigest& b) {
              return a.name < b.name;
            });
  Sha256 hash;
  hash.AddWithLength(kHeading);
  for (const TensorDigest& tensor : digest->tensors) {
    hash.AddWithLength("tensor");
    hash.AddWithLength(tensor.meta.name);
    hash.AddWithLength(TypeName(tensor.meta.type));
    hash.AddNumber(static_cast<int64_t>(tensor.meta.shape.size()));
    for (const int64_t size : tensor.meta.shape) {
      hash.AddNumber(size);
    }
    hash.Add(tensor.sha256.bytes);
  }
  for (const SideFileDigest& file : digest->files) {
    hash.AddWithLength("file");
    hash.AddWithLength(file.name);
    hash.AddNumber(file.n_bytes);
    hash.Add(file.sha256.bytes);
  }
  digest->sha256 = hash.Finish();
}

absl::StatusOr<ModelDigest> DigestModel(absl::string_view path, int n_threads) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TensorSource> source,
                   OpenTensorSource(path));
  ModelDigest digest;
  if (source->format() == "gguf") {
    ASSIGN_OR_RETURN(SideFileDigest metadata,
                     DigestMetadata(source->metadata()));
    digest.files.push_back(std::move(metadata));
  } else if (IsDirectory(path)) {
    RETURN_IF_ERROR(DigestSideFiles(std::string(path), &digest));
  }
  const absl::Span<const TensorView> views = source->tensors();
  for (const TensorView& view : views) {
    digest.tensors.push_back({view.meta, {}});
  }
  ThreadPool pool(n_threads);
  pool.ParallelFor(static_cast<int64_t>(views.size()), [&](int64_t i) {
    const size_t at = static_cast<size_t>(i);
    digest.tensors[at].sha256 = DigestTensor(*source, views[at]);
  });
  CombineDigests(&digest);
  return digest;
}

}  // namespace narrow
