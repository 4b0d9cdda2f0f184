#include "converter/parts/packed_part.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "converter/parts/open_parts.h"
#include "converter/quantize/direct_solver.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/digest/model_digest.h"

namespace narrow {
namespace {

// So many shares that one of them reads next to nothing: the identity is of
// the settings, the tensors' names, and the ends of their bytes.
constexpr int64_t kShares = int64_t{1} << 40;

std::string Bytes(const Sha256Digest& digest) {
  return std::string(reinterpret_cast<const char*>(digest.bytes.data()),
                     digest.bytes.size());
}

absl::StatusOr<std::string> IdentityOf(const std::string& model) {
  ASSIGN_OR_RETURN(const ModelShare share,
                   DigestModelShare(model, 0, kShares, 1, nullptr));
  return Bytes(share.identity);
}

// Of all that decides what a part has.
std::string PlanDigest(const parts::Packed& packed,
                       const std::string& version) {
  Sha256 hash;
  hash.AddWithLength("narrow packed plan 1");
  hash.AddWithLength(version);
  hash.AddWithLength(packed.recipe());
  hash.AddNumber(packed.max_shard_bytes());
  hash.AddNumber(packed.decode_quantized() ? 1 : 0);
  hash.AddWithLength(packed.command());
  return Bytes(hash.Finish());
}

absl::Status CheckDivisible(const QuantizePlan& plan) {
  if (plan.calibrated) {
    return absl::InvalidArgumentError(
        "--shard: a method that is calibrated sees what the layers before "
        "have become, so parts would depend on each other; without --shard it "
        "goes on where it was stopped. Methods without calibration (rtn, hqq, "
        "nf4, fp4, fp8 with dynamic inputs ...) can be done in parts");
  }
  if (plan.transform != nullptr || plan.packing == nullptr ||
      plan.layers.empty()) {
    return absl::InvalidArgumentError(
        "--shard: there is nothing to quantize layer by layer");
  }
  return absl::OkStatus();
}

void Describe(const LayerReport& report, parts::PackedLayer* layer) {
  layer->set_name(report.name);
  layer->set_relative_error(report.relative_error);
  layer->set_error_rounding(report.error_rounding);
  layer->set_damping(report.damping);
  layer->set_transform_ratio(report.transform_ratio);
  layer->set_transformed(report.transformed);
  layer->set_n_tokens(report.n_tokens);
  layer->set_shrinkage(report.shrinkage);
  for (const std::string& note : report.notes) {
    layer->add_notes(note);
  }
  layer->set_hash(report.hash);
}

LayerReport ReportOf(const parts::PackedLayer& layer) {
  LayerReport report;
  report.name = layer.name();
  report.relative_error = layer.relative_error();
  report.error_rounding = layer.error_rounding();
  report.damping = layer.damping();
  report.transform_ratio = layer.transform_ratio();
  report.transformed = layer.transformed();
  report.n_tokens = layer.n_tokens();
  report.shrinkage = layer.shrinkage();
  report.notes.assign(layer.notes().begin(), layer.notes().end());
  report.hash = layer.hash();
  return report;
}

}  // namespace

std::vector<int> PackedLayersOf(const QuantizePlan& plan, const Shard& shard) {
  std::vector<TensorMeta> sources;
  for (const PlannedLayer& layer : plan.layers) {
    sources.push_back(layer.linear->view->meta);
  }
  std::vector<int> layers;
  for (const RowRange& range :
       ShardRows(sources, shard, /*whole_tensors=*/true)) {
    layers.push_back(static_cast<int>(range.tensor));
  }
  return layers;
}

absl::StatusOr<int64_t> WritePackedPart(const ModelInput& input,
                                        const QuantizePlan& plan,
                                        const PackedPartRequest& request,
                                        const std::string& path) {
  RETURN_IF_ERROR(CheckDivisible(plan));
  parts::Part part;
  part.set_version(request.version);
  ASSIGN_OR_RETURN(*part.mutable_model(), IdentityOf(request.model));
  part.set_index(request.shard.index);
  part.set_count(request.shard.count);
  parts::Packed* packed = part.mutable_packed();
  packed->set_recipe(RecipeText(plan.recipe));
  packed->set_max_shard_bytes(request.max_shard_bytes);
  packed->set_decode_quantized(request.decode_quantized);
  packed->set_model(request.model);
  packed->set_command(request.command);
  part.set_plan(PlanDigest(*packed, request.version));
  if (request.shard.index == 1) {
    part.set_provenance(request.provenance);
  }

  const std::vector<int> layers = PackedLayersOf(plan, request.shard);
  std::vector<parts::Rows> rows;
  for (const int layer : layers) {
    for (const TensorMeta& meta :
         plan.layers[static_cast<size_t>(layer)].planes) {
      rows.push_back(RowsOf(meta));
      rows.back().set_recipe(part.plan());
      rows.back().set_n_rows(meta.n_rows());
    }
  }
  ASSIGN_OR_RETURN(const auto writer, PartWriter::Create(path, rows));
  ThreadPool pool(request.n_threads);
  DirectSolver solver(&input, &plan, request.importance,
                      request.device.has_value() ? &*request.device : nullptr);
  for (const int layer : layers) {
    if (request.cancelled != nullptr && request.cancelled->load()) {
      return absl::CancelledError("stopped by a signal; nothing was written");
    }
    ASSIGN_OR_RETURN(const SolvedLayer solved, solver.Solve(layer, &pool));
    for (const std::vector<uint8_t>& plane : solved.planes) {
      RETURN_IF_ERROR(writer->Append(plane));
      if (request.on_written) {
        request.on_written(static_cast<int64_t>(plane.size()));
      }
    }
    Describe(solved.report, packed->add_layers());
  }
  RETURN_IF_ERROR(writer->Finish(std::move(part)));
  return writer->size();
}

absl::StatusOr<bool> PackedParts::IsOne(const std::string& path) {
  ASSIGN_OR_RETURN(const PartFile file, PartFile::Open(path));
  return file.description().has_packed();
}

absl::StatusOr<PackedParts> PackedParts::Open(
    const std::vector<std::string>& paths) {
  PackedParts all;
  ASSIGN_OR_RETURN(all.files_, OpenPartsInOrder(paths));
  for (const PartFile& file : all.files_) {
    if (!file.description().has_packed() || file.description().has_head()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a part of narrow convert among those of narrow quantize: ",
          file.path()));
    }
  }
  return all;
}

absl::Status PackedParts::Cover(const std::string& model,
                                const QuantizePlan& plan, int n_threads) {
  ASSIGN_OR_RETURN(const std::string identity, IdentityOf(model));
  if (identity != first().model()) {
    return absl::InvalidArgumentError(
        absl::StrCat(model, " is not the model that the parts were made of: ",
                     packed().model(), "; give that one with --model"));
  }
  ThreadPool pool(n_threads);
  for (const PartFile& file : files_) {
    RETURN_IF_ERROR(file.CheckRows(&pool));
  }
  places_.assign(plan.layers.size(), {});
  for (size_t f = 0; f < files_.size(); ++f) {
    const PartFile& file = files_[f];
    const parts::Part& part = file.description();
    const std::vector<int> layers =
        PackedLayersOf(plan, {part.index(), part.count()});
    size_t row = 0;
    if (part.packed().layers_size() != static_cast<int>(layers.size())) {
      return DamagedPart(
          file, absl::StrCat("the part has ", part.packed().layers_size(),
                             " layers, the plan has ", layers.size()));
    }
    for (size_t i = 0; i < layers.size(); ++i) {
      const PlannedLayer& layer = plan.layers[static_cast<size_t>(layers[i])];
      places_[static_cast<size_t>(layers[i])] = {
          f, row, &part.packed().layers(static_cast<int>(i))};
      for (const TensorMeta& meta : layer.planes) {
        const auto found = row < static_cast<size_t>(part.rows_size())
                               ? MetaOf(part.rows(static_cast<int>(row)))
                               : absl::StatusOr<TensorMeta>(TensorMeta());
        RETURN_IF_ERROR(found.status());
        if (found->name != meta.name || found->type != meta.type ||
            found->shape != meta.shape ||
            part.packed().layers(static_cast<int>(i)).name() != layer.name()) {
          return DamagedPart(
              file,
              absl::StrCat("the plan goes on with ", QuotedName(meta.name),
                           ", the part has ", QuotedName(found->name)));
        }
        ++row;
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SolvedLayer> PackedParts::Layer(const QuantizePlan& plan,
                                               int layer) const {
  const Place& place = places_[static_cast<size_t>(layer)];
  const size_t n = plan.layers[static_cast<size_t>(layer)].planes.size();
  SolvedLayer solved;
  for (size_t i = 0; i < n; ++i) {
    const absl::Span<const uint8_t> bytes =
        files_[place.file].BytesOf(place.first_row + i);
    solved.planes.emplace_back(bytes.begin(), bytes.end());
    files_[place.file].Release(bytes);
  }
  solved.report = ReportOf(*place.layer);
  return solved;
}

}  // namespace narrow
