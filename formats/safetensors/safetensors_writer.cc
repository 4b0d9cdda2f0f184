#include "formats/safetensors/safetensors_writer.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/safetensors/safetensors_format.h"
#include "formats/safetensors/safetensors_header.h"
#include "formats/safetensors/safetensors_index.h"

namespace narrow {
namespace {

class SafetensorsWriter final : public TensorSink {
 public:
  explicit SafetensorsWriter(absl::string_view path) : path_(path) {}

  absl::Status Begin(absl::Span<const TensorMeta> metas,
                     const Metadata& metadata) override {
    if (file_ != nullptr) {
      return Misuse("Begin called twice");
    }
    const absl::StatusOr<SafetensorsLayout> layout =
        LayOutSafetensors(metas, metadata);
    if (!layout.ok()) {
      return Annotate(layout.status(), absl::StrCat("writing ", path_));
    }
    n_bytes_ = layout->n_bytes;
    for (const TensorMeta& meta : metas) {
      names_.push_back(meta.name);
    }
    ASSIGN_OR_RETURN(file_, OutputFile::Create(path_, layout->file_bytes));
    SkipFullTensors();
    return file_->Append(absl::string_view(layout->header));
  }

  absl::Status Append(absl::Span<const uint8_t> bytes) override {
    if (bytes.empty()) {
      return absl::OkStatus();
    }
    if (file_ == nullptr || tensor_ == names_.size()) {
      return Misuse(absl::StrCat(
          bytes.size(), " bytes ",
          file_ == nullptr ? "before Begin" : "after the last tensor"));
    }
    const int64_t n = static_cast<int64_t>(bytes.size());
    const int64_t n_missing = n_bytes_[tensor_] - appended_;
    if (n > n_missing) {
      return Misuse(absl::StrCat("a piece of ", n, " bytes for tensor ",
                                 QuotedName(names_[tensor_]), ", which lacks ",
                                 n_missing));
    }
    RETURN_IF_ERROR(file_->Append(bytes));
    appended_ += n;
    SkipFullTensors();
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (file_ == nullptr) {
      return Misuse("Finish before Begin");
    }
    if (tensor_ < names_.size()) {
      return Misuse(absl::StrCat("tensor ", QuotedName(names_[tensor_]),
                                 " has ", appended_, " of ", n_bytes_[tensor_],
                                 " bytes, Finish called"));
    }
    return file_->Finish();
  }

 private:
  absl::Status Misuse(absl::string_view cause) const {
    return absl::FailedPreconditionError(
        absl::StrCat(cause, "; writing ", path_));
  }

  void SkipFullTensors() {
    while (tensor_ < names_.size() && appended_ == n_bytes_[tensor_]) {
      ++tensor_;
      appended_ = 0;
    }
  }

  std::string path_;
  std::vector<std::string> names_;
  std::vector<int64_t> n_bytes_;
  std::unique_ptr<OutputFile> file_;  // set: Begin was called
  size_t tensor_ = 0;                 // that the next bytes belong to
  int64_t appended_ = 0;              // bytes of it
};

class SafetensorsFolderWriter final : public TensorSink {
 public:
  SafetensorsFolderWriter(absl::string_view folder, int64_t max_shard_bytes)
      : folder_(folder), max_shard_bytes_(max_shard_bytes) {}

  absl::Status Begin(absl::Span<const TensorMeta> metas,
                     const Metadata& metadata) override {
    if (!writers_.empty()) {
      return Misuse("Begin called twice");
    }
    // Also finds names used in two shards.
    const absl::StatusOr<SafetensorsLayout> whole =
        LayOutSafetensors(metas, metadata);
    if (!whole.ok()) {
      return Annotate(whole.status(), absl::StrCat("writing ", folder_));
    }
    shards_ = PlanSafetensorsShards(whole->n_bytes, max_shard_bytes_);
    for (size_t i = 0; i < shards_.size(); ++i) {
      const std::string name = shards_.size() == 1
                                   ? kSafetensorsFileName
                                   : SafetensorsShardName(i, shards_.size());
      const auto part = metas.subspan(shards_[i].first, shards_[i].n);
      for (const TensorMeta& meta : part) {
        index_.weight_map.emplace_back(meta.name, name);
      }
      index_.total_size += shards_[i].n_bytes;
      writers_.push_back(NewSafetensorsWriter(JoinPath(folder_, name)));
      RETURN_IF_ERROR(writers_.back()->Begin(part, metadata));
    }
    return absl::OkStatus();
  }

  absl::Status Append(absl::Span<const uint8_t> bytes) override {
    if (bytes.empty()) {
      return absl::OkStatus();
    }
    while (shard_ < writers_.size() && appended_ == shards_[shard_].n_bytes) {
      ++shard_;
      appended_ = 0;
    }
    if (shard_ == writers_.size()) {
      return Misuse(absl::StrCat(
          bytes.size(), " bytes ",
          writers_.empty() ? "before Begin" : "after the last tensor"));
    }
    RETURN_IF_ERROR(writers_[shard_]->Append(bytes));
    appended_ += static_cast<int64_t>(bytes.size());
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (writers_.empty()) {
      return Misuse("Finish before Begin");
    }
    // The last shard that has bytes knows whether they are all there; ask it
    // before any file gets its name.
    for (size_t i = shard_; i < shards_.size(); ++i) {
      const int64_t n = i == shard_ ? appended_ : 0;
      if (n < shards_[i].n_bytes) {
        return Misuse(absl::StrCat("shard ", i + 1, " has ", n, " of ",
                                   shards_[i].n_bytes,
                                   " bytes, Finish called"));
      }
    }
    for (const auto& writer : writers_) {
      RETURN_IF_ERROR(writer->Finish());
    }
    if (writers_.size() == 1) {
      return absl::OkStatus();
    }
    return WriteTextFile(JoinPath(folder_, kSafetensorsIndexName),
                         SafetensorsIndexText(index_));
  }

 private:
  absl::Status Misuse(absl::string_view cause) const {
    return absl::FailedPreconditionError(
        absl::StrCat(cause, "; writing ", folder_));
  }

  std::string folder_;
  int64_t max_shard_bytes_;
  std::vector<SafetensorsShard> shards_;
  std::vector<std::unique_ptr<TensorSink>> writers_;
  SafetensorsIndex index_;
  size_t shard_ = 0;      // that the next bytes belong to
  int64_t appended_ = 0;  // bytes of it
};

}  // namespace

std::unique_ptr<TensorSink> NewSafetensorsWriter(absl::string_view path) {
  return std::make_unique<SafetensorsWriter>(path);
}

std::unique_ptr<TensorSink> NewSafetensorsFolderWriter(
    absl::string_view folder, int64_t max_shard_bytes) {
  return std::make_unique<SafetensorsFolderWriter>(folder, max_shard_bytes);
}

std::vector<SafetensorsShard> PlanSafetensorsShards(
    absl::Span<const int64_t> tensor_bytes, int64_t max_shard_bytes) {
  std::vector<SafetensorsShard> shards(1);
  for (size_t i = 0; i < tensor_bytes.size(); ++i) {
    if (shards.back().n > 0 &&
        tensor_bytes[i] > max_shard_bytes - shards.back().n_bytes) {
      shards.push_back({i, 0, 0});
    }
    ++shards.back().n;
    shards.back().n_bytes += tensor_bytes[i];
  }
  return shards;
}

absl::StatusOr<int64_t> SafetensorsFileBytes(absl::Span<const TensorMeta> metas,
                                             const Metadata& metadata) {
  ASSIGN_OR_RETURN(const SafetensorsLayout layout,
                   LayOutSafetensors(metas, metadata));
  return layout.file_bytes;
}

}  // namespace narrow
