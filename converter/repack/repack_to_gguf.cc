#include "converter/repack/repack_to_gguf.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "converter/gguf/output_shards.h"
#include "converter/mix/file_type.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "converter/repack/gguf_blocks.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/packing/packing.h"

namespace narrow {
namespace {

// Weights that are unpacked at once when types are tried.
constexpr int64_t kTrialWeights = int64_t{1} << 20;

const PackedModule* ModuleOf(const RowSegment& segment) {
  return segment.view->rows == nullptr ? nullptr : segment.view->rows->packed();
}

// Rows of a tensor as blocks.
class PackedBlocks : public EncodedRows {
 public:
  PackedBlocks(const CheckpointTensor* tensor, QuantType type,
               std::string folder)
      : tensor_(tensor), type_(type), folder_(std::move(folder)) {}

  absl::Status AppendRows(int64_t first_row, int64_t n_rows,
                          std::vector<uint8_t>* bytes) const override {
    const int64_t length = tensor_->segments[0].n_rows;
    const int64_t end = first_row + n_rows;
    while (first_row < end) {
      const RowSegment& segment =
          tensor_->segments[static_cast<size_t>(first_row / length)];
      const int64_t base = first_row / length * length;
      const int64_t until = std::min(end, base + length);
      RETURN_IF_ERROR(Annotate(
          AppendPart(segment, base, first_row, until, bytes),
          absl::StrCat("repacking ", QuotedName(ModuleOf(segment)->name),
                       " of ", folder_, " as gguf")));
      first_row = until;
    }
    return absl::OkStatus();
  }

 private:
  // Rows [first, end), all of the segment that begins at row `base`. Those of
  // heads that are interleaved come from all over the head.
  absl::Status AppendPart(const RowSegment& segment, int64_t base,
                          int64_t first, int64_t end,
                          std::vector<uint8_t>* bytes) const {
    const PackedModule& module = *ModuleOf(segment);
    const int64_t group = std::max<int64_t>(tensor_->interleave_group, 1);
    const int64_t from = (first - base) / group * group;
    const int64_t to =
        std::min((end - base + group - 1) / group * group, segment.n_rows);
    ASSIGN_OR_RETURN(
        const QuantizedMatrix matrix,
        module.packing->unpack(module, segment.first_row + from, to - from));
    std::vector<int64_t> rows;
    for (int64_t row = first; row < end; ++row) {
      rows.push_back(StoredRow(*tensor_, row - base) - from);
    }
    return AppendBlocks(matrix, rows, type_, segment.first_row + from, bytes);
  }

  const CheckpointTensor* const tensor_;
  const QuantType type_;
  const std::string folder_;
};

class Repacker {
 public:
  Repacker(const Checkpoint& model, const RepackOptions& options)
      : model_(model), options_(options) {}

  absl::Status MakeFilePlan() {
    Recipe recipe;
    recipe.copy = true;
    ASSIGN_OR_RETURN(plan_, MakePlan(model_, recipe, nullptr));
    for (size_t t = 0; t < plan_.tensors.size(); ++t) {
      RETURN_IF_ERROR(PlanTensor(t));
    }
    if (result_.n_layers == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the model has no quantized layers to repack; `narrow convert` "
          "writes it as GGUF; reading ",
          model_.path()));
    }
    RETURN_IF_ERROR(ChooseTypes());
    for (size_t t = 0; t < plan_.tensors.size(); ++t) {
      Finish(t);
    }
    plan_.metadata.Set("general.file_type", FileTypeId());
    const std::vector<TensorMeta> metas = FileTensors(plan_);
    ASSIGN_OR_RETURN(plan_.files, PlanFiles(metas, plan_.metadata, {}));
    AddNotes();
    return absl::OkStatus();
  }

  absl::StatusOr<RepackResult> Write() {
    if (options_.on_size) {
      options_.on_size(result_.tensor_bytes);
    }
    PipelineOptions pipeline;
    pipeline.n_threads = options_.n_threads;
    pipeline.on_progress = options_.on_written;
    pipeline.cancelled = options_.cancelled;
    const std::vector<Output> outputs = {{&plan_, options_.out}};
    RETURN_IF_ERROR(WriteOutputs(model_, outputs, pipeline));
    return result_;
  }

 private:
  // A tensor of the output made of packed layers.
  struct Packed {
    CheckpointTensor* tensor;
    std::vector<QuantType> types;  // that may hold it
    QuantType type;                // that does
  };

  // The plan's tensors borrow copies, in which a type is what is written.
  absl::Status PlanTensor(size_t index) {
    copies_.push_back(*plan_.tensors[index].source);
    CheckpointTensor& tensor = copies_.back();
    plan_.tensors[index].source = &tensor;
    const auto is_packed = [](const RowSegment& segment) {
      return ModuleOf(segment) != nullptr;
    };
    const auto dense = std::find_if_not(tensor.segments.begin(),
                                        tensor.segments.end(), is_packed);
    if (tensor.segments.empty() ||
        std::none_of(tensor.segments.begin(), tensor.segments.end(),
                     is_packed)) {
      // A matrix; vectors and routers are float32 in GGUF.
      if (tensor.meta.type != QuantType::kF32) {
        tensor.meta.type = tensor.stored;
      }
      return absl::OkStatus();
    }
    if (dense != tensor.segments.end()) {
      return absl::UnimplementedError(absl::StrCat(
          "tensor '", dense->view->meta.name,
          "' is dense, others that become "
          "parts of ",
          QuotedName(tensor.meta.name),
          " are packed, and GGUF stores one type for all; reading ",
          dense->view->origin.file));
    }
    Packed packed = {&tensor, {}, QuantType::kF32};
    for (const RowSegment& segment : tensor.segments) {
      RETURN_IF_ERROR(AddModule(segment, &packed));
    }
    packed_.emplace(index, std::move(packed));
    return absl::OkStatus();
  }

  absl::Status AddModule(const RowSegment& segment, Packed* packed) {
    const PackedModule& module = *ModuleOf(segment);
    const std::string layer =
        absl::StrCat("repacking ", QuotedName(module.name), " of ",
                     model_.path(), " as gguf");
    auto types = BlockTypes(module.scheme, module.n_cols);
    RETURN_IF_ERROR(Annotate(types.status(), layer));
    if (options_.gguf_type.has_value()) {
      const QuantType asked = *options_.gguf_type;
      const bool holds = std::count(types->begin(), types->end(), asked) > 0 ||
                         (asked == QuantType::kQ8_0 &&
                          module.scheme.code == CodeKind::kInteger);
      if (!holds) {
        return Annotate(absl::InvalidArgumentError(absl::StrCat(
                            "--type ", TypeName(asked), " does not hold ",
                            SchemeName(module.scheme))),
                        layer);
      }
      *types = {asked};
    }
    if (packed->types.empty()) {
      packed->types = *types;
    } else if (packed->types != *types) {
      return Annotate(absl::UnimplementedError(absl::StrCat(
                          "it is ", SchemeName(module.scheme),
                          ", others that become parts of ",
                          QuotedName(packed->tensor->meta.name),
                          " are not, and GGUF stores one type for all")),
                      layer);
    }
    ++result_.n_layers;
    result_.from = module.packing->name;
    if (module.scheme.activations != ActivationKind::kNone) {
      ++n_activations_;
    }
    const int64_t cols = module.scheme.block_cols == 0
                             ? module.n_cols
                             : module.scheme.block_cols;
    if (cols != 32 || module.scheme.block_rows != 1) {
      ++n_split_;
    }
    return absl::OkStatus();
  }

  // Where a scheme allows several types the values decide: all are read once
  // more, before anything is written.
  absl::Status ChooseTypes() {
    std::vector<Packed*> all;
    for (auto& [index, packed] : packed_) {
      all.push_back(&packed);
    }
    std::vector<absl::Status> status(all.size());
    ThreadPool pool(std::max(1, options_.n_threads));
    pool.ParallelFor(static_cast<int64_t>(all.size()), [&](int64_t i) {
      Packed& packed = *all[static_cast<size_t>(i)];
      for (const QuantType type : packed.types) {
        packed.type = type;
        absl::Status& tried = status[static_cast<size_t>(i)];
        tried = packed.types.size() == 1 ? absl::OkStatus()
                                         : Try(*packed.tensor, type);
        if (tried.ok() || absl::IsCancelled(tried)) {
          return;
        }
      }
    });
    for (const absl::Status& row : status) {
      RETURN_IF_ERROR(row);
    }
    return absl::OkStatus();
  }

  absl::Status Try(const CheckpointTensor& tensor, QuantType type) const {
    const PackedBlocks blocks(&tensor, type, model_.path());
    const int64_t n_rows = tensor.meta.n_rows();
    const int64_t step =
        std::max<int64_t>(1, kTrialWeights / tensor.meta.n_cols());
    std::vector<uint8_t> bytes;
    for (int64_t row = 0; row < n_rows; row += step) {
      if (options_.cancelled != nullptr && options_.cancelled->load()) {
        return absl::CancelledError("stopped by a signal; nothing was written");
      }
      bytes.clear();
      RETURN_IF_ERROR(
          blocks.AppendRows(row, std::min(step, n_rows - row), &bytes));
    }
    return absl::OkStatus();
  }

  void Finish(size_t index) {
    PlannedTensor* planned = &plan_.tensors[index];
    const auto it = packed_.find(index);
    if (it != packed_.end()) {
      Packed& packed = it->second;
      packed.tensor->meta.type = packed.type;
      blocks_.emplace_back(packed.tensor, packed.type, model_.path());
      planned->encoded = &blocks_.back();
      result_.packed_bytes += packed.tensor->meta.n_bytes();
      result_.n_weights += packed.tensor->meta.n_elements();
      weights_of_[packed.type] += packed.tensor->meta.n_elements();
    }
    planned->meta.type = planned->source->meta.type;
    planned->wanted = planned->meta.type;
    result_.tensor_bytes += planned->meta.n_bytes();
  }

  // That of the type which most quantized weights have.
  uint32_t FileTypeId() const {
    const auto most = std::max_element(
        weights_of_.begin(), weights_of_.end(),
        [](const auto& a, const auto& b) { return a.second < b.second; });
    const auto type = ParseFileType(TypeName(most->first));
    return static_cast<uint32_t>(
        Info(type.value_or(FileType::kQ8_0)).id);  // all four have a row
  }

  void AddNotes() {
    result_.to = "gguf";
    if (n_split_ > 0) {
      result_.notes.push_back(absl::StrCat(
          n_split_,
          " layers have groups that are not of 32 columns; their "
          "blocks of 32 repeat the scale, so the file is larger, the weights "
          "are the same"));
    }
    if (n_activations_ > 0) {
      result_.notes.push_back(
          absl::StrCat(n_activations_,
                       " layers asked for rounded inputs at run time; GGUF "
                       "has no word for that, only their weights are kept"));
    }
  }

  const Checkpoint& model_;
  const RepackOptions& options_;
  Plan plan_;
  std::deque<CheckpointTensor> copies_;  // their addresses stay
  std::map<size_t, Packed> packed_;      // by index in the plan
  std::deque<PackedBlocks> blocks_;
  std::map<QuantType, int64_t> weights_of_;
  int n_split_ = 0;
  int n_activations_ = 0;
  RepackResult result_;
};

}  // namespace

absl::StatusOr<RepackResult> RepackToGguf(absl::string_view folder,
                                          const RepackOptions& options) {
  if (IsDirectory(options.out)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--out ", options.out,
                     " is a directory; --format gguf writes one file"));
  }
  CheckpointOptions checkpoint;
  checkpoint.decode_quantized = true;
  ASSIGN_OR_RETURN(const auto model, Checkpoint::Open(folder, checkpoint));
  if (model->is_gguf()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " is a GGUF file already"));
  }
  Repacker repacker(*model, options);
  RETURN_IF_ERROR(repacker.MakeFilePlan());
  return repacker.Write();
}

}  // namespace narrow
