#include "converter/commands/verify/rederive.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "converter/commands/verify/manifest_command.h"
#include "converter/parts/part_file.h"
#include "converter/provenance/digest_files.h"
#include "converter/provenance/verify.h"
#include "converter/version.h"
#include "formats/base/file.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/status.h"
#include "formats/containers.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

// A folder that goes with its owner.
class ScratchFolder {
 public:
  static absl::StatusOr<std::unique_ptr<ScratchFolder>> Create() {
    std::error_code error;
    std::string path =
        (fs::temp_directory_path(error) / "narrow-rederive-XXXXXX").string();
    if (error || mkdtemp(path.data()) == nullptr) {
      return absl::ErrnoToStatus(errno,
                                 absl::StrCat("creating a folder like ", path));
    }
    return std::unique_ptr<ScratchFolder>(new ScratchFolder(path));
  }
  ~ScratchFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

bool Has(const provenance::Manifest& manifest, absl::string_view argument) {
  return std::find(manifest.arguments().begin(), manifest.arguments().end(),
                   argument) != manifest.arguments().end();
}

bool HasFlag(const provenance::Manifest& manifest, absl::string_view flag) {
  return std::any_of(
      manifest.arguments().begin(), manifest.arguments().end(),
      [&](const std::string& argument) { return OptionOf(argument) == flag; });
}

// Whether tensors can be made one by one.
bool IsTensorwise(const provenance::Manifest& manifest) {
  if (manifest.command() != "convert" || Has(manifest, "--to=hf")) {
    return false;
  }
  for (const char* flag : {"--target-size", "--target-bpw", "--target-kld"}) {
    if (HasFlag(manifest, flag)) {
      return false;
    }
  }
  return !HasFlag(manifest, "--solver") || Has(manifest, "--solver=plain") ||
         Has(manifest, "--order=one-shot");
}

absl::Status DifferentOriginal(absl::string_view path,
                               const std::vector<std::string>& differences) {
  const size_t n = std::min<size_t>(differences.size(), 5);
  return absl::InvalidArgumentError(absl::StrCat(
      path, " is not the model that the output was made from: ",
      absl::StrJoin(differences.begin(), differences.begin() + n, "; "),
      differences.size() > n
          ? absl::StrCat("; and ", differences.size() - n, " more")
          : ""));
}

// N tensors of the output, by the seed; in the order of their names.
std::vector<const provenance::Tensor*> Choose(const provenance::Model& output,
                                              const RederiveRequest& request) {
  std::vector<const provenance::Tensor*> tensors;
  for (const provenance::Tensor& tensor : output.tensors()) {
    tensors.push_back(&tensor);
  }
  // The same on every machine: of a distribution, C++ fixes no bits.
  std::mt19937_64 random(request.seed);
  const size_t n =
      std::min(tensors.size(), static_cast<size_t>(request.n_tensors));
  for (size_t i = 0; i < n; ++i) {
    std::swap(tensors[i], tensors[i + random() % (tensors.size() - i)]);
  }
  tensors.resize(n);
  std::sort(tensors.begin(), tensors.end(),
            [](const provenance::Tensor* a, const provenance::Tensor* b) {
              return a->name() < b->name();
            });
  return tensors;
}

using Hashes = std::map<std::string, std::string>;  // hexadecimal, by name

provenance::Model InputsOf(const parts::Part& part) {
  ModelDigest digest;
  for (const parts::Input& input : part.inputs()) {
    Sha256Digest sha256;
    std::copy_n(input.sha256().begin(),
                std::min(input.sha256().size(), sha256.bytes.size()),
                sha256.bytes.begin());
    if (input.type().empty()) {
      digest.files.push_back({input.name(), input.n_bytes(), sha256});
      continue;
    }
    TensorMeta meta;
    meta.name = input.name();
    meta.type = TypeFromName(input.type()).value_or(QuantType::kF32);
    meta.shape.assign(input.shape().begin(), input.shape().end());
    digest.tensors.push_back({std::move(meta), sha256});
  }
  CombineDigests(&digest);
  return ModelOf(digest);
}

// Of the chosen tensors alone, as a part of the conversion.
absl::StatusOr<Hashes> MakeTensors(
    const provenance::Manifest& manifest, std::vector<std::string> words,
    const std::string& original,
    const std::vector<const provenance::Tensor*>& chosen,
    const std::string& folder) {
  const std::string path = JoinPath(folder, "tensors");
  words.push_back("--shard=1/1");
  words.push_back(absl::StrCat("--out=", path));
  for (const provenance::Tensor* tensor : chosen) {
    words.push_back(absl::StrCat("--only-tensor=", tensor->name()));
  }
  RETURN_IF_ERROR(RunManifestCommand(words));
  ASSIGN_OR_RETURN(const PartFile part, PartFile::Open(path));
  const std::vector<std::string> differences =
      CompareModels(manifest.inputs(0), InputsOf(part.description()));
  if (!differences.empty()) {
    return DifferentOriginal(original, differences);
  }
  Hashes hashes;
  for (const parts::Rows& rows : part.description().rows()) {
    Sha256Digest digest;
    std::copy_n(rows.sha256().begin(), digest.bytes.size(),
                digest.bytes.begin());
    hashes[rows.name()] = digest.Hex();
  }
  return hashes;
}

// Of the whole output, made again.
absl::StatusOr<Hashes> MakeOutput(const provenance::Manifest& manifest,
                                  std::vector<std::string> words,
                                  const std::string& original,
                                  const RederiveRequest& request,
                                  const std::string& folder) {
  ASSIGN_OR_RETURN(const provenance::Model found,
                   DigestModelFiles("original", original, false,
                                    request.n_threads, nullptr));
  const std::vector<std::string> differences =
      CompareModels(manifest.inputs(0), found);
  if (!differences.empty()) {
    return DifferentOriginal(original, differences);
  }
  const std::string out = JoinPath(folder, "output");
  words.push_back(absl::StrCat("--out=", out));
  words.push_back("--no-manifest");
  RETURN_IF_ERROR(RunManifestCommand(words));
  // A split output is known by its first shard.
  std::string first = out;
  std::error_code error;
  if (!fs::exists(out, error)) {
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string path = entry.path().string();
      if (absl::StrContains(path, "-00001-of-")) {
        first = path;
      }
    }
  }
  ASSIGN_OR_RETURN(const ModelDigest digest,
                   DigestModel(first, request.n_threads));
  Hashes hashes;
  for (const TensorDigest& tensor : digest.tensors) {
    hashes[tensor.meta.name] = tensor.sha256.Hex();
  }
  return hashes;
}

}  // namespace

absl::StatusOr<RederiveResult> Rederive(const provenance::Manifest& manifest,
                                        const RederiveRequest& request) {
  if (!CanRun(manifest.command()) || manifest.inputs_size() == 0) {
    return absl::DataLossError(absl::StrCat("the manifest's command ",
                                            QuotedName(manifest.command()),
                                            " makes no output of a model"));
  }
  if (manifest.version() != kNarrowVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the output was made by version ", OneLine(manifest.version()),
        ", this is ", kNarrowVersion,
        "; bytes are promised to be the same for one version only"));
  }
  const std::string original =
      request.original.empty() ? manifest.inputs(0).path() : request.original;
  ASSIGN_OR_RETURN(const auto scratch, ScratchFolder::Create());
  ASSIGN_OR_RETURN(std::vector<std::string> words,
                   SafeArguments(manifest, request.files));
  words.insert(words.begin(), {manifest.command(), original});
  words.push_back("--quiet");
  if (request.n_threads > 0) {
    words.push_back(absl::StrCat("--threads=", request.n_threads));
  }
  const std::vector<const provenance::Tensor*> chosen =
      Choose(manifest.output(), request);
  RederiveResult result;
  result.whole_run = !IsTensorwise(manifest);
  Hashes hashes;
  if (result.whole_run) {
    ASSIGN_OR_RETURN(hashes, MakeOutput(manifest, std::move(words), original,
                                        request, scratch->path()));
  } else {
    ASSIGN_OR_RETURN(hashes, MakeTensors(manifest, std::move(words), original,
                                         chosen, scratch->path()));
  }
  for (const provenance::Tensor* tensor : chosen) {
    result.tensors.push_back(tensor->name());
    const auto it = hashes.find(tensor->name());
    if (it == hashes.end()) {
      result.differences.push_back(
          absl::StrCat("tensor ", QuotedName(tensor->name()),
                       " is not made by the manifest's command"));
    } else if (it->second != tensor->sha256()) {
      result.differences.push_back(absl::StrCat(
          "tensor ", QuotedName(tensor->name()), " made again has SHA-256 ",
          it->second, ", the manifest has ", tensor->sha256()));
    }
  }
  return result;
}

}  // namespace narrow
