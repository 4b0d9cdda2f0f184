#include "formats/digest/model_digest.h"

#include <algorithm>
#include <cmath>
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
constexpr size_t kSampleBytes = 4096;

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

absl::StatusOr<std::vector<SideFileDigest>> FilesOf(
    absl::string_view path, const TensorSource& source) {
  std::vector<SideFileDigest> files;
  if (source.format() == "gguf") {
    ASSIGN_OR_RETURN(SideFileDigest metadata,
                     DigestMetadata(source.metadata()));
    files.push_back(std::move(metadata));
  } else if (IsDirectory(path)) {
    for (const std::string& name : ModelSideFiles(path)) {
      ASSIGN_OR_RETURN(const FileDigest file, DigestFile(JoinPath(path, name)));
      files.push_back({name, file.n_bytes, file.sha256});
    }
  }
  return files;
}

void AddMeta(const TensorMeta& meta, Sha256* hash) {
  hash->AddWithLength("tensor");
  hash->AddWithLength(meta.name);
  hash->AddWithLength(TypeName(meta.type));
  hash->AddNumber(static_cast<int64_t>(meta.shape.size()));
  for (const int64_t size : meta.shape) {
    hash->AddNumber(size);
  }
}

void AddFile(const SideFileDigest& file, Sha256* hash) {
  hash->AddWithLength("file");
  hash->AddWithLength(file.name);
  hash->AddNumber(file.n_bytes);
  hash->Add(file.sha256.bytes);
}

// In the order of the source, which is that of its files.
Sha256Digest IdentityOf(absl::Span<const TensorView> views,
                        const std::vector<SideFileDigest>& files) {
  Sha256 hash;
  hash.AddWithLength("narrow model identity 1");
  for (const TensorView& view : views) {
    AddMeta(view.meta, &hash);
    const size_t n = std::min(view.data.size(), kSampleBytes);
    hash.Add(view.data.first(n));
    hash.Add(view.data.last(n));
  }
  for (const SideFileDigest& file : files) {
    AddFile(file, &hash);
  }
  return hash.Finish();
}

// Tensors belong to the share in which their first byte lies.
std::vector<const TensorView*> ViewsOfShare(absl::Span<const TensorView> views,
                                            int64_t index, int64_t count) {
  double total = 0;
  for (const TensorView& view : views) {
    total += static_cast<double>(view.data.size());
  }
  std::vector<const TensorView*> mine;
  double at = 0;
  for (const TensorView& view : views) {
    const double share =
        total == 0 ? 0 : std::floor(at / total * static_cast<double>(count));
    if (std::min(static_cast<int64_t>(share), count - 1) == index) {
      mine.push_back(&view);
    }
    at += static_cast<double>(view.data.size());
  }
  return mine;
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
    AddMeta(tensor.meta, &hash);
    hash.Add(tensor.sha256.bytes);
  }
  for (const SideFileDigest& file : digest->files) {
    AddFile(file, &hash);
  }
  digest->sha256 = hash.Finish();
}

absl::StatusOr<Sha256Digest> IdentifyModel(absl::string_view path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TensorSource> source,
                   OpenTensorSource(path));
  ASSIGN_OR_RETURN(const std::vector<SideFileDigest> files,
                   FilesOf(path, *source));
  return IdentityOf(source->tensors(), files);
}

absl::StatusOr<ModelShare> DigestModelShare(
    absl::string_view path, int64_t index, int64_t count, int n_threads,
    const std::atomic<bool>* cancelled) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TensorSource> source,
                   OpenTensorSource(path));
  ModelShare share;
  ASSIGN_OR_RETURN(share.files, FilesOf(path, *source));
  const absl::Span<const TensorView> views = source->tensors();
  share.identity = IdentityOf(views, share.files);
  const std::vector<const TensorView*> mine = ViewsOfShare(views, index, count);
  for (const TensorView* view : mine) {
    share.tensors.push_back({view->meta, {}});
  }
  std::atomic<bool> stopped{false};
  ThreadPool pool(n_threads);
  pool.ParallelFor(static_cast<int64_t>(mine.size()), [&](int64_t i) {
    const size_t at = static_cast<size_t>(i);
    if (cancelled != nullptr && cancelled->load()) {
      stopped = true;
      return;
    }
    share.tensors[at].sha256 = DigestTensor(*source, *mine[at]);
  });
  if (stopped) {
    return absl::CancelledError("stopped while hashing the model");
  }
  return share;
}

absl::StatusOr<ModelDigest> DigestModel(absl::string_view path, int n_threads) {
  ASSIGN_OR_RETURN(ModelShare all,
                   DigestModelShare(path, 0, 1, n_threads, nullptr));
  ModelDigest digest;
  digest.tensors = std::move(all.tensors);
  digest.files = std::move(all.files);
  CombineDigests(&digest);
  return digest;
}

}  // namespace narrow
