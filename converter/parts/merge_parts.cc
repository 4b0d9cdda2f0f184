#include "converter/parts/merge_parts.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "converter/parts/open_parts.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_header.h"
#include "formats/gguf/gguf_writer.h"

namespace narrow {
namespace {

constexpr size_t kStep = size_t{4} << 20;

absl::Status TakeHead(MergedParts* merged) {
  const PartFile& first = merged->parts[0];
  if (!first.description().has_head()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the parts were made by plans of convert --write-plans; give its "
        "head.plan too; reading ",
        first.path()));
  }
  const parts::Head& head = first.description().head();
  auto header =
      ParseGgufHeader({reinterpret_cast<const uint8_t*>(head.metadata().data()),
                       head.metadata().size()},
                      first.path());
  if (!header.ok()) {
    return header.status();
  }
  merged->metadata = std::move(header->metadata);
  for (const parts::Rows& rows : head.tensors()) {
    auto meta = MetaOf(rows);
    if (!meta.ok()) {
      return DamagedPart(first, meta.status().message());
    }
    merged->tensors.push_back(*std::move(meta));
  }
  if (head.has_split()) {
    GgufSplitOptions split;
    split.max_tensors = head.split().max_tensors();
    split.max_bytes = head.split().max_bytes();
    split.no_tensor_first_split = head.split().no_tensor_first_split();
    split.shard_tensors.assign(head.split().shard_tensors().begin(),
                               head.split().shard_tensors().end());
    merged->split = std::move(split);
  }
  merged->provenance = first.description().provenance();
  return absl::OkStatus();
}

// That the rows of all parts, in order, are those of the head's tensors, made
// by the same recipe.
absl::Status CheckCover(const MergedParts& merged) {
  const auto& tensors = merged.parts[0].description().head().tensors();
  int at = 0;
  int64_t row = 0;
  const auto skip_done = [&] {
    while (at < tensors.size() && row == tensors[at].n_rows()) {
      ++at;
      row = 0;
    }
  };
  skip_done();
  for (const PartFile& part : merged.parts) {
    for (const parts::Rows& rows : part.description().rows()) {
      if (at == tensors.size()) {
        return DamagedPart(
            part, absl::StrCat("rows of tensor ", QuotedName(rows.name()),
                               " follow the last tensor"));
      }
      const parts::Rows& wanted = tensors[at];
      if (rows.name() != wanted.name() || rows.type() != wanted.type() ||
          !std::equal(rows.shape().begin(), rows.shape().end(),
                      wanted.shape().begin(), wanted.shape().end()) ||
          rows.recipe() != wanted.recipe() || rows.first_row() != row) {
        return DamagedPart(
            part, absl::StrCat(
                      "the plan goes on with row ", row, " of ",
                      QuotedName(wanted.name()), " as ", OneLine(wanted.type()),
                      ", the part has row ", rows.first_row(), " of ",
                      QuotedName(rows.name()), " as ", OneLine(rows.type())));
      }
      row += rows.n_rows();
      skip_done();
    }
  }
  if (at < tensors.size()) {
    return DamagedPart(
        merged.parts.back(),
        absl::StrCat("rows of tensor ", QuotedName(tensors[at].name()),
                     " from ", row, " on are in no part"));
  }
  return absl::OkStatus();
}

absl::Status TakeInputs(MergedParts* merged) {
  for (const PartFile& part : merged->parts) {
    for (const parts::Input& input : part.description().inputs()) {
      Sha256Digest digest;
      if (input.sha256().size() != digest.bytes.size()) {
        return DamagedPart(
            part, absl::StrCat("the hash of input ", QuotedName(input.name()),
                               " has ", input.sha256().size(), " bytes"));
      }
      std::copy(input.sha256().begin(), input.sha256().end(),
                digest.bytes.begin());
      if (input.type().empty()) {
        if (part.description().index() == 1) {
          merged->model.files.push_back(
              {input.name(), input.n_bytes(), digest});
        }
        continue;
      }
      parts::Rows rows;
      rows.set_name(input.name());
      rows.set_type(input.type());
      *rows.mutable_shape() = input.shape();
      auto meta = MetaOf(rows);
      if (!meta.ok()) {
        return DamagedPart(part, meta.status().message());
      }
      merged->model.tensors.push_back({*std::move(meta), digest});
    }
  }
  CombineDigests(&merged->model);
  return absl::OkStatus();
}

absl::Status CheckNotCancelled(const MergeOptions& options) {
  return options.cancelled != nullptr && options.cancelled->load()
             ? absl::CancelledError("stopped by a signal; nothing was written")
             : absl::OkStatus();
}

}  // namespace

absl::StatusOr<MergedParts> OpenParts(const std::vector<std::string>& paths) {
  MergedParts merged;
  ASSIGN_OR_RETURN(merged.parts, OpenPartsInOrder(paths));
  merged.version = merged.parts[0].description().version();
  RETURN_IF_ERROR(TakeHead(&merged));
  RETURN_IF_ERROR(CheckCover(merged));
  RETURN_IF_ERROR(TakeInputs(&merged));
  ASSIGN_OR_RETURN(merged.files,
                   PlanFiles(merged.tensors, merged.metadata, merged.split));
  return merged;
}

absl::Status WriteMerged(const MergedParts& merged, const std::string& path,
                         const MergeOptions& options) {
  ThreadPool pool(options.n_threads);
  for (const PartFile& part : merged.parts) {
    RETURN_IF_ERROR(CheckNotCancelled(options));
    RETURN_IF_ERROR(part.CheckRows(&pool));
    for (int i = 0; options.on_progress && i < part.description().rows_size();
         ++i) {
      options.on_progress(
          static_cast<int64_t>(part.BytesOf(static_cast<size_t>(i)).size()));
    }
  }
  const std::unique_ptr<TensorSink> sink =
      merged.split.has_value() ? NewGgufSplitWriter(path, *merged.split)
                               : NewGgufWriter(path);
  RETURN_IF_ERROR(sink->Begin(merged.tensors, merged.metadata));
  for (const PartFile& part : merged.parts) {
    for (int i = 0; i < part.description().rows_size(); ++i) {
      absl::Span<const uint8_t> rest = part.BytesOf(static_cast<size_t>(i));
      while (!rest.empty()) {
        RETURN_IF_ERROR(CheckNotCancelled(options));
        const absl::Span<const uint8_t> step = rest.subspan(0, kStep);
        RETURN_IF_ERROR(sink->Append(step));
        part.Release(step);
        rest.remove_prefix(step.size());
        if (options.on_progress) {
          options.on_progress(static_cast<int64_t>(step.size()));
        }
      }
    }
  }
  return sink->Finish();
}

}  // namespace narrow
