#include "formats/gguf/gguf_writer.h"

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_format.h"
#include "formats/gguf/gguf_layout.h"

namespace narrow {
namespace {

class GgufWriter final : public TensorSink {
 public:
  explicit GgufWriter(absl::string_view path) : path_(path) {}

  absl::Status Begin(absl::Span<const TensorMeta> metas,
                     const Metadata& metadata) override {
    if (file_ != nullptr) {
      return Misuse("Begin called twice");
    }
    absl::StatusOr<GgufLayout> layout = LayOutGguf(metas, metadata);
    if (!layout.ok()) {
      return Annotate(layout.status(), absl::StrCat("writing ", path_));
    }
    layout_ = *std::move(layout);
    for (const TensorMeta& meta : metas) {
      names_.push_back(meta.name);
    }
    ASSIGN_OR_RETURN(file_, OutputFile::Create(path_, layout_.file_bytes));
    RETURN_IF_ERROR(file_->Append(absl::string_view(layout_.header)));
    layout_.header = std::string();  // may be many megabytes
    SkipEmptyTensors();
    return absl::OkStatus();
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
    const int64_t n_missing = layout_.n_bytes[tensor_] - appended_;
    if (n > n_missing) {
      return Misuse(absl::StrCat("a piece of ", n, " bytes for tensor ",
                                 QuotedName(names_[tensor_]), ", which lacks ",
                                 n_missing));
    }
    RETURN_IF_ERROR(file_->Append(bytes));
    appended_ += n;
    if (n == n_missing) {
      RETURN_IF_ERROR(
          file_->AppendZeros(PadTo(appended_, layout_.alignment) - appended_));
      ++tensor_;
      SkipEmptyTensors();
      appended_ = 0;
    }
    return absl::OkStatus();
  }

  // The slow part of Finish: after it, only the name is missing.
  absl::Status Sync() {
    if (file_ == nullptr) {
      return Misuse("Finish before Begin");
    }
    if (tensor_ < names_.size()) {
      return Misuse(absl::StrCat(
          "tensor ", QuotedName(names_[tensor_]), " has ", appended_, " of ",
          layout_.n_bytes[tensor_], " bytes, Finish called"));
    }
    return file_->Sync();
  }

  absl::Status Finish() override {
    RETURN_IF_ERROR(Sync());
    return file_->Finish();
  }

  const std::string& path() const { return path_; }

 private:
  absl::Status Misuse(absl::string_view cause) const {
    return absl::FailedPreconditionError(
        absl::StrCat(cause, "; writing ", path_));
  }

  void SkipEmptyTensors() {
    while (tensor_ < names_.size() && layout_.n_bytes[tensor_] == 0) {
      ++tensor_;
    }
  }

  std::string path_;
  GgufLayout layout_;
  std::vector<std::string> names_;
  std::unique_ptr<OutputFile> file_;  // set: Begin was called
  size_t tensor_ = 0;                 // that the next bytes belong to
  int64_t appended_ = 0;              // bytes of it
};

// What each shard holds, from the whole.
struct SplitPlan {
  std::vector<GgufShard> shards;
  std::vector<Metadata> metadata;
  std::vector<GgufLayout> layouts;
};

absl::StatusOr<SplitPlan> PlanFiles(absl::Span<const TensorMeta> metas,
                                    const Metadata& metadata,
                                    const GgufSplitOptions& options) {
  SplitPlan plan;
  // Also finds names used in two shards, and a bad alignment.
  ASSIGN_OR_RETURN(const GgufLayout whole, LayOutGguf(metas, metadata));
  ASSIGN_OR_RETURN(plan.shards, PlanGgufSplit(metas, whole.alignment, options));
  for (size_t i = 0; i < plan.shards.size(); ++i) {
    plan.metadata.push_back(GgufShardMetadata(
        metadata, i, plan.shards.size(), metas.size(),
        options.shard_tensors.empty() ? GgufSplitStyle::kGgufSplit
                                      : GgufSplitStyle::kQuantize));
    ASSIGN_OR_RETURN(
        GgufLayout layout,
        LayOutGguf(metas.subspan(plan.shards[i].first, plan.shards[i].n),
                   plan.metadata.back()));
    plan.layouts.push_back(std::move(layout));
  }
  return plan;
}

class GgufSplitWriter final : public TensorSink {
 public:
  GgufSplitWriter(absl::string_view prefix, const GgufSplitOptions& options)
      : prefix_(absl::StripSuffix(prefix, ".gguf")), options_(options) {}

  absl::Status Begin(absl::Span<const TensorMeta> metas,
                     const Metadata& metadata) override {
    if (!writers_.empty()) {
      return Misuse("Begin called twice");
    }
    absl::StatusOr<SplitPlan> plan = PlanFiles(metas, metadata, options_);
    if (!plan.ok()) {
      return Annotate(plan.status(),
                      absl::StrCat("writing shards of ", prefix_));
    }
    const size_t n_shards = plan->shards.size();
    for (size_t i = 0; i < n_shards; ++i) {
      writers_.push_back(
          std::make_unique<GgufWriter>(SplitGgufName(prefix_, i, n_shards)));
      const GgufShard& shard = plan->shards[i];
      RETURN_IF_ERROR(writers_.back()->Begin(
          metas.subspan(shard.first, shard.n), plan->metadata[i]));
      int64_t n_bytes = 0;
      for (const int64_t n : plan->layouts[i].n_bytes) {
        n_bytes += n;
      }
      n_missing_.push_back(n_bytes);
    }
    return absl::OkStatus();
  }

  absl::Status Append(absl::Span<const uint8_t> bytes) override {
    if (bytes.empty()) {
      return absl::OkStatus();
    }
    while (shard_ < writers_.size() && n_missing_[shard_] == 0) {
      ++shard_;
    }
    if (shard_ == writers_.size()) {
      return Misuse(absl::StrCat(
          bytes.size(), " bytes ",
          writers_.empty() ? "before Begin" : "after the last tensor"));
    }
    RETURN_IF_ERROR(writers_[shard_]->Append(bytes));
    n_missing_[shard_] -= static_cast<int64_t>(bytes.size());
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (writers_.empty()) {
      return Misuse("Finish before Begin");
    }
    for (size_t i = 0; i < writers_.size(); ++i) {
      if (n_missing_[i] > 0) {
        return Misuse(absl::StrCat("shard ", i + 1, " lacks ", n_missing_[i],
                                   " bytes, Finish called"));
      }
    }
    for (const std::unique_ptr<GgufWriter>& writer : writers_) {
      RETURN_IF_ERROR(writer->Sync());
    }
    // What is left takes no time: names. Programs open the first shard, so it
    // appears last, and an old one goes first: whatever happens in between,
    // nobody reads shards of two models as one.
    std::error_code error;
    std::filesystem::remove(writers_[0]->path(), error);
    for (size_t i = writers_.size(); i-- > 0;) {
      const absl::Status status = writers_[i]->Finish();
      if (!status.ok()) {
        for (size_t j = i + 1; j < writers_.size(); ++j) {
          std::filesystem::remove(writers_[j]->path(), error);
        }
        return status;
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Misuse(absl::string_view cause) const {
    return absl::FailedPreconditionError(
        absl::StrCat(cause, "; writing shards of ", prefix_));
  }

  std::string prefix_;
  GgufSplitOptions options_;
  std::vector<std::unique_ptr<GgufWriter>> writers_;
  std::vector<int64_t> n_missing_;  // bytes each shard still lacks
  size_t shard_ = 0;
};

}  // namespace

std::unique_ptr<TensorSink> NewGgufWriter(absl::string_view path) {
  return std::make_unique<GgufWriter>(path);
}

std::unique_ptr<TensorSink> NewGgufSplitWriter(
    absl::string_view prefix, const GgufSplitOptions& options) {
  return std::make_unique<GgufSplitWriter>(prefix, options);
}

absl::StatusOr<int64_t> GgufFileBytes(absl::Span<const TensorMeta> metas,
                                      const Metadata& metadata) {
  ASSIGN_OR_RETURN(const GgufLayout layout, LayOutGguf(metas, metadata));
  return layout.file_bytes;
}

absl::StatusOr<std::vector<int64_t>> GgufSplitFileBytes(
    absl::Span<const TensorMeta> metas, const Metadata& metadata,
    const GgufSplitOptions& options) {
  ASSIGN_OR_RETURN(const SplitPlan plan, PlanFiles(metas, metadata, options));
  std::vector<int64_t> sizes;
  for (const GgufLayout& layout : plan.layouts) {
    sizes.push_back(layout.file_bytes);
  }
  return sizes;
}

}  // namespace narrow
