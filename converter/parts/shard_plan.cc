#include "converter/parts/shard_plan.h"

#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/parts/part_file.h"
#include "formats/base/file.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/status.h"
#include "formats/digest/model_digest.h"

namespace narrow {
namespace {

std::string Bytes(const Sha256Digest& digest) {
  return std::string(digest.bytes.begin(), digest.bytes.end());
}

// A part file without rows, unless it is there with the same description.
absl::Status WriteDescription(const parts::Part& part,
                              const std::string& path) {
  if (FileExists(path)) {
    const auto old = PartFile::Open(path);
    if (old.ok() &&
        old->description().SerializeAsString() == part.SerializeAsString()) {
      return absl::OkStatus();
    }
  }
  ASSIGN_OR_RETURN(const auto writer, PartWriter::Create(path, {}));
  return writer->Finish(part);
}

parts::PlannedRows PlannedRowsOf(const PlannedTensor& planned,
                                 const RowRange& range,
                                 const PartRequest& request) {
  parts::PlannedRows row;
  *row.mutable_rows() = RowsOf(planned.meta);
  row.mutable_rows()->set_recipe(Bytes(TensorRecipe(planned, request)));
  row.mutable_rows()->set_first_row(range.first_row);
  row.mutable_rows()->set_n_rows(range.n_rows);
  row.set_source(planned.source->meta.name);
  if (planned.has_scale()) {
    *row.mutable_scale() = RowsOf(planned.scale);
  }
  row.set_importance(planned.importance != nullptr);
  return row;
}

absl::Status NotOfPlan(absl::string_view what, const ShardPlan& shard) {
  return absl::InvalidArgumentError(absl::StrCat(
      what,
      "; make the plans again with narrow convert --write-plans; reading ",
      shard.path));
}

absl::StatusOr<PlannedTensor> TensorOf(const Checkpoint& model,
                                       const ShardPlan& shard,
                                       const parts::PlannedRows& row,
                                       const ImportanceMatrix* importance,
                                       const PartRequest& request) {
  PlannedTensor planned = {};
  ASSIGN_OR_RETURN(planned.meta, MetaOf(row.rows()));
  const std::string name = QuotedName(planned.meta.name);
  planned.wanted = planned.meta.type;
  planned.source = model.Find(row.source());
  if (planned.source == nullptr ||
      planned.source->meta.shape != planned.meta.shape) {
    return NotOfPlan(
        absl::StrCat("the model has no tensor ", QuotedName(row.source()),
                     " of shape ", ShapeString(planned.meta.shape)),
        shard);
  }
  if (row.has_scale()) {
    ASSIGN_OR_RETURN(planned.scale, MetaOf(row.scale()));
    const size_t n = planned.meta.shape.size();
    if (planned.scale.type != QuantType::kF32 ||
        planned.scale.n_elements() != (n > 2 ? planned.meta.shape[n - 3] : 1)) {
      return NotOfPlan(absl::StrCat("tensor ", name, " cannot have a scale ",
                                    ShapeString(planned.scale.shape)),
                       shard);
    }
  }
  if (row.importance()) {
    const ImportanceEntry* entry =
        importance == nullptr ? nullptr : importance->Find(row.source());
    const size_t n = planned.meta.shape.size();
    const int64_t n_values =
        (n > 2 ? planned.meta.shape[n - 3] : 1) * planned.meta.n_cols();
    if (entry == nullptr ||
        static_cast<int64_t>(entry->mean_sq.size()) != n_values) {
      return NotOfPlan(
          absl::StrCat("tensor ", name,
                       " was planned with importance, which --imatrix does "
                       "not give"),
          shard);
    }
    planned.importance = entry->mean_sq.data();
  }
  if (Bytes(TensorRecipe(planned, request)) != row.rows().recipe()) {
    return NotOfPlan(absl::StrCat("tensor ", name,
                                  " was planned of another model, importance "
                                  "matrix or version of narrow"),
                     shard);
  }
  return planned;
}

}  // namespace

absl::Status WritePlans(const Checkpoint& model, const Plan& plan,
                        const PartRequest& request,
                        const parts::Opening& opening,
                        const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("creating ", folder));
  }
  // Of no tensor: only what the model is known by.
  ASSIGN_OR_RETURN(const Sha256Digest identity, IdentifyModel(model.path()));
  parts::Part part;
  part.set_version(request.version);
  part.set_model(Bytes(identity));
  part.set_count(request.shard.count);
  parts::Part head = part;
  ASSIGN_OR_RETURN(*head.mutable_head(), HeadOf(plan, request));
  head.set_plan(Bytes(DigestOfHead(head.head())));
  head.set_provenance(request.provenance);
  RETURN_IF_ERROR(WriteDescription(head, JoinPath(folder, "head.plan")));
  *part.mutable_opening() = opening;
  for (int64_t k = 1; k <= request.shard.count; ++k) {
    part.set_index(k);
    part.clear_planned();
    for (const RowRange& range :
         ShardRows(SourceMetas(plan), {k, request.shard.count}, false)) {
      *part.add_planned() =
          PlannedRowsOf(plan.tensors[range.tensor], range, request);
    }
    RETURN_IF_ERROR(WriteDescription(
        part, JoinPath(folder, absl::StrFormat("part-%05d-of-%05d.plan", k,
                                               request.shard.count))));
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardPlan> ReadShardPlan(const std::string& path) {
  ASSIGN_OR_RETURN(const PartFile file, PartFile::Open(path));
  ShardPlan shard;
  shard.path = path;
  shard.description = file.description();
  const parts::Part& part = shard.description;
  if (!part.has_opening() || part.rows_size() > 0 || part.index() < 1 ||
      part.index() > part.count() || part.count() > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat("no plan of a part (part-….plan of narrow convert "
                     "--write-plans); reading ",
                     path));
  }
  for (const parts::PlannedRows& row : part.planned()) {
    shard.needs_importance = shard.needs_importance || row.importance();
  }
  return shard;
}

absl::StatusOr<int64_t> WritePlannedPart(const Checkpoint& model,
                                         const ShardPlan& shard,
                                         const ImportanceMatrix* importance,
                                         const std::string& version,
                                         const std::string& path,
                                         const PipelineOptions& options) {
  const parts::Part& part = shard.description;
  if (part.version() != version) {
    return NotOfPlan(
        absl::StrCat("the plan is of version ", OneLine(part.version()),
                     ", this is ", version),
        shard);
  }
  PartRequest request;
  request.shard = {part.index(), part.count()};
  request.version = version;
  Plan plan;
  std::vector<RowRange> ranges;
  for (const parts::PlannedRows& row : part.planned()) {
    ASSIGN_OR_RETURN(PlannedTensor planned,
                     TensorOf(model, shard, row, importance, request));
    ranges.push_back(
        {plan.tensors.size(), row.rows().first_row(), row.rows().n_rows()});
    plan.tensors.push_back(std::move(planned));
  }
  ASSIGN_OR_RETURN(const Sha256Digest identity, IdentifyModel(model.path()));
  if (Bytes(identity) != part.model()) {
    return NotOfPlan(absl::StrCat(model.path(), " is not the planned model"),
                     shard);
  }
  return WriteRowsAsPart(model, plan, ranges, request, {}, path, options);
}

}  // namespace narrow
