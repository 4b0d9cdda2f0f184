#include "converter/parts/write_part.h"

#include <future>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/parts/part_file.h"
#include "formats/base/status.h"
#include "formats/digest/model_digest.h"
#include "formats/gguf/gguf_layout.h"

namespace narrow {
namespace {

std::string Bytes(const Sha256Digest& digest) {
  return std::string(digest.bytes.begin(), digest.bytes.end());
}

int64_t MatricesOf(const TensorMeta& meta) {
  const size_t n = meta.shape.size();
  return n > 2 ? meta.shape[n - 3] : 1;
}

parts::Rows Entry(const TensorMeta& meta, const std::string& recipe,
                  int64_t first_row, int64_t n_rows) {
  parts::Rows rows = RowsOf(meta);
  rows.set_recipe(recipe);
  rows.set_first_row(first_row);
  rows.set_n_rows(n_rows);
  return rows;
}

// What EncodeRows appends for `ranges`, in order.
std::vector<parts::Rows> EntriesOf(const Plan& plan,
                                   const std::vector<RowRange>& ranges,
                                   const PartRequest& request) {
  std::vector<parts::Rows> entries;
  for (const RowRange& range : ranges) {
    const PlannedTensor& planned = plan.tensors[range.tensor];
    const std::string recipe = Bytes(TensorRecipe(planned, request));
    if (range.first_row == 0 && planned.has_scale()) {
      entries.push_back(
          Entry(planned.scale, recipe, 0, planned.scale.n_rows()));
    }
    entries.push_back(
        Entry(planned.meta, recipe, range.first_row, range.n_rows));
  }
  return entries;
}

void AddInputs(const ModelShare& share, parts::Part* part) {
  part->set_model(Bytes(share.identity));
  for (const TensorDigest& tensor : share.tensors) {
    parts::Input* input = part->add_inputs();
    input->set_name(tensor.meta.name);
    input->set_type(TypeName(tensor.meta.type));
    for (const int64_t size : tensor.meta.shape) {
      input->add_shape(size);
    }
    input->set_n_bytes(tensor.meta.n_bytes());
    input->set_sha256(Bytes(tensor.sha256));
  }
  for (const SideFileDigest& file : share.files) {
    parts::Input* input = part->add_inputs();
    input->set_name(file.name);
    input->set_n_bytes(file.n_bytes);
    input->set_sha256(Bytes(file.sha256));
  }
}

}  // namespace

std::vector<TensorMeta> SourceMetas(const Plan& plan) {
  std::vector<TensorMeta> sources;
  for (const PlannedTensor& tensor : plan.tensors) {
    sources.push_back(tensor.source->meta);
  }
  return sources;
}

Sha256Digest TensorRecipe(const PlannedTensor& planned,
                          const PartRequest& request) {
  const CheckpointTensor& source = *planned.source;
  Sha256 hash;
  hash.AddWithLength("narrow tensor 1");
  hash.AddWithLength(request.version);
  hash.AddWithLength(source.meta.name);
  hash.AddWithLength(TypeName(source.meta.type));
  hash.AddWithLength(TypeName(source.stored));
  hash.AddWithLength(absl::StrFormat("%a", source.offset));
  hash.AddNumber(source.interleave_group);
  hash.AddWithLength(TypeName(planned.meta.type));
  hash.AddWithLength(planned.scale.name);
  hash.AddWithLength(request.solver);
  if (planned.importance != nullptr) {
    const int64_t n = MatricesOf(planned.meta) * planned.meta.n_cols();
    hash.AddNumber(n);
    hash.Add(absl::Span<const uint8_t>(
        reinterpret_cast<const uint8_t*>(planned.importance),
        static_cast<size_t>(n) * sizeof(float)));
  }
  return hash.Finish();
}

std::vector<RowRange> RangesOf(const Plan& plan, const PartRequest& request) {
  if (request.only.empty()) {
    return ShardRows(SourceMetas(plan), request.shard, request.whole_tensors);
  }
  std::vector<RowRange> ranges;
  for (size_t t = 0; t < plan.tensors.size(); ++t) {
    const PlannedTensor& planned = plan.tensors[t];
    for (const std::string& name : request.only) {
      if (name == planned.meta.name || name == planned.scale.name) {
        ranges.push_back({t, 0, planned.meta.n_rows()});
        break;
      }
    }
  }
  return ranges;
}

int64_t PartBytes(const Plan& plan, const PartRequest& request) {
  int64_t n_bytes = 0;
  for (const RowRange& range : RangesOf(plan, request)) {
    const PlannedTensor& planned = plan.tensors[range.tensor];
    n_bytes += range.n_rows * planned.meta.row_bytes();
    if (range.first_row == 0 && planned.has_scale()) {
      n_bytes += planned.scale.n_bytes();
    }
  }
  return n_bytes;
}

absl::StatusOr<parts::Head> HeadOf(const Plan& plan,
                                   const PartRequest& request) {
  parts::Head head;
  ASSIGN_OR_RETURN(const GgufLayout layout, LayOutGguf({}, plan.metadata));
  head.set_metadata(layout.header);
  std::vector<RowRange> all;
  for (size_t t = 0; t < plan.tensors.size(); ++t) {
    all.push_back({t, 0, plan.tensors[t].meta.n_rows()});
  }
  for (parts::Rows& rows : EntriesOf(plan, all, request)) {
    *head.add_tensors() = std::move(rows);
  }
  if (plan.split.has_value()) {
    parts::Split* split = head.mutable_split();
    split->set_max_tensors(plan.split->max_tensors);
    split->set_max_bytes(plan.split->max_bytes);
    split->set_no_tensor_first_split(plan.split->no_tensor_first_split);
    for (const int64_t n : plan.split->shard_tensors) {
      split->add_shard_tensors(n);
    }
  }
  return head;
}

// Field by field, since protobuf does not promise its bytes.
Sha256Digest DigestOfHead(const parts::Head& head) {
  Sha256 hash;
  hash.AddWithLength("narrow plan 1");
  hash.AddWithLength(head.metadata());
  for (const parts::Rows& rows : head.tensors()) {
    hash.AddWithLength(rows.name());
    hash.AddWithLength(rows.type());
    for (const int64_t size : rows.shape()) {
      hash.AddNumber(size);
    }
    hash.AddWithLength(rows.recipe());
  }
  hash.AddNumber(head.has_split() ? 1 : 0);
  hash.AddNumber(head.split().max_tensors());
  hash.AddNumber(head.split().max_bytes());
  hash.AddNumber(head.split().no_tensor_first_split() ? 1 : 0);
  for (const int64_t n : head.split().shard_tensors()) {
    hash.AddNumber(n);
  }
  return hash.Finish();
}

absl::StatusOr<int64_t> WriteRowsAsPart(const Checkpoint& model,
                                        const Plan& plan,
                                        const std::vector<RowRange>& ranges,
                                        const PartRequest& request,
                                        parts::Part description,
                                        const std::string& path,
                                        const PipelineOptions& options) {
  // While rows are encoded, one thread hashes.
  std::future<absl::StatusOr<ModelShare>> hashing =
      std::async(std::launch::async, [&] {
        return DigestModelShare(model.path(), request.shard.index - 1,
                                request.shard.count, 1, options.cancelled);
      });
  ASSIGN_OR_RETURN(const std::unique_ptr<PartWriter> writer,
                   PartWriter::Create(path, EntriesOf(plan, ranges, request)));
  const Output output = {&plan, path};
  RETURN_IF_ERROR(
      EncodeRows(model, {&output, 1}, ranges, options,
                 [&writer](size_t, absl::Span<const uint8_t> bytes) {
                   return writer->Append(bytes);
                 }));
  ASSIGN_OR_RETURN(const ModelShare share, hashing.get());
  AddInputs(share, &description);
  description.set_version(request.version);
  description.set_index(request.shard.index);
  description.set_count(request.shard.count);
  RETURN_IF_ERROR(writer->Finish(std::move(description)));
  return writer->size();
}

absl::StatusOr<int64_t> WritePart(const Checkpoint& model, const Plan& plan,
                                  const PartRequest& request,
                                  const std::string& path,
                                  const PipelineOptions& options) {
  parts::Part part;
  ASSIGN_OR_RETURN(parts::Head head, HeadOf(plan, request));
  part.set_plan(Bytes(DigestOfHead(head)));
  if (request.shard.index == 1) {
    *part.mutable_head() = std::move(head);
    part.set_provenance(request.provenance);
  }
  for (const auto& [name, value] : request.recipe) {
    parts::Setting* setting = part.add_recipe();
    setting->set_name(name);
    setting->set_value(value);
  }
  return WriteRowsAsPart(model, plan, RangesOf(plan, request), request,
                         std::move(part), path, options);
}

}  // namespace narrow
