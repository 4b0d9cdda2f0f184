#include "formats/arch/checkpoint.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/arch/config/read_model_config.h"
#include "formats/arch/general_metadata.h"
#include "formats/arch/tensor_assembly.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/containers.h"
#include "formats/hf/hf_config.h"
#include "formats/json/json.h"
#include "formats/packing/packed_source.h"
#include "formats/tokenizer/vocabulary.h"

namespace narrow {
namespace {

// Weights that another program has quantized are stored under names and in
// layouts of its own.
absl::Status QuantizedError(const HfConfig& hf,
                            const std::optional<JsonValue>& quantization) {
  std::string method = "unnamed";
  for (absl::string_view key : {"quant_method", "quant_algo"}) {
    if (std::optional<JsonValue> value = quantization->FindNonNull(key)) {
      ASSIGN_OR_RETURN(const absl::string_view name, value->GetString());
      method = std::string(name);
      break;
    }
  }
  return absl::UnimplementedError(absl::StrCat(
      "the checkpoint is quantized already (quantization_config, method '",
      method,
      "'); use the original model, or decode this one with "
      "--decode-quantized; reading ",
      hf.file()));
}

// Qwen3's rerankers share a class with its language models but score pairs of
// texts; names and the README tell them.
absl::Status CheckIsLanguageModel(const HfConfig& hf,
                                  absl::string_view folder) {
  if (hf.architecture() != "Qwen3ForCausalLM") {
    return absl::OkStatus();
  }
  std::string hints(absl::StripSuffix(folder, "/"));
  hints = hints.substr(hints.rfind('/') + 1);  // npos + 1 is 0
  std::optional<JsonValue> path = hf.root().FindNonNull("_name_or_path");
  if (path && path->is_string()) {
    absl::StrAppend(&hints, "\n", *path->GetString());
  }
  const std::string readme = JoinPath(folder, "README.md");
  std::string title;
  if (FileExists(readme)) {
    ASSIGN_OR_RETURN(title, ReadTextFile(readme, 64 << 20));
  }
  for (absl::string_view name : {"qwen3-reranker", "qwen3-vl-reranker"}) {
    if (absl::StrContains(absl::AsciiStrToLower(hints), name) ||
        absl::StrContains(absl::AsciiStrToLower(title),
                          absl::StrCat("# ", name))) {
      return absl::UnimplementedError(absl::StrCat(
          "Qwen3 rerankers, which score pairs of texts, are not supported; "
          "reading ",
          folder));
    }
  }
  return absl::OkStatus();
}

// Entries of the vocabulary as the converter counts them to trim Gemma 3's
// embedding: added tokens count again, even where the vocabulary has them.
absl::StatusOr<int64_t> CountGemma3Tokens(absl::string_view folder,
                                          int64_t vocab_size) {
  if (FileExists(JoinPath(folder, "tokenizer.model"))) {
    return vocab_size;
  }
  const std::string path = JoinPath(folder, "tokenizer.json");
  if (!FileExists(path)) {
    return vocab_size;
  }
  ASSIGN_OR_RETURN(const auto document, JsonDocument::ReadFile(path));
  ASSIGN_OR_RETURN(const JsonValue model, document->root().Get("model"));
  ASSIGN_OR_RETURN(const JsonValue vocab, model.Get("vocab"));
  ASSIGN_OR_RETURN(const JsonValue added, document->root().Get("added_tokens"));
  ASSIGN_OR_RETURN(const std::vector<JsonValue> added_tokens,
                   added.GetElements());
  int64_t n = static_cast<int64_t>(added_tokens.size());
  if (vocab.is_array()) {
    ASSIGN_OR_RETURN(const std::vector<JsonValue> tokens, vocab.GetElements());
    n += static_cast<int64_t>(tokens.size());
  } else {
    ASSIGN_OR_RETURN(const std::vector<JsonValue::Member> tokens,
                     vocab.GetMembers());
    n += static_cast<int64_t>(tokens.size());
  }
  return n > 0 ? absl::StatusOr<int64_t>(n) : model.Error("no tokens");
}

// The values of "<name>.scale" for a matrix "<name>.weight", if there is one.
// The table of embeddings is looked up, not multiplied with, and has none.
absl::StatusOr<std::vector<float>> ReadScales(const TensorSource& source,
                                              const TensorView& weight) {
  const std::vector<int64_t>& shape = weight.meta.shape;
  absl::string_view base = weight.meta.name;
  if (shape.size() < 2 || base == "token_embd.weight" ||
      !absl::ConsumeSuffix(&base, ".weight")) {
    return std::vector<float>();
  }
  const TensorView* view = source.Find(absl::StrCat(base, ".scale"));
  if (view == nullptr) {
    return std::vector<float>();
  }
  const int64_t n_matrices = shape.size() > 2 ? shape[shape.size() - 3] : 1;
  if (view->meta.type != QuantType::kF32 ||
      view->meta.n_elements() != n_matrices) {
    return absl::DataLossError(absl::StrCat(
        "tensor '", view->meta.name, "' is ", TypeName(view->meta.type), " ",
        ShapeString(view->meta.shape), ", the scales of '", weight.meta.name,
        "' are f32 [", n_matrices, "]; at offset ", view->origin.offset,
        "; reading ", view->origin.file));
  }
  std::vector<float> scales(static_cast<size_t>(n_matrices));
  std::memcpy(scales.data(), view->data.data(), scales.size() * sizeof(float));
  return scales;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(
    absl::string_view path, const CheckpointOptions& options) {
  auto model = std::unique_ptr<Checkpoint>(new Checkpoint);
  model->path_ = std::string(path);
  if (IsDirectory(path) && FileExists(JoinPath(path, "config.json"))) {
    RETURN_IF_ERROR(model->OpenFolder(options));
  } else {
    ASSIGN_OR_RETURN(model->source_, OpenTensorSource(path));
    if (model->source_->format() != "gguf") {
      return absl::NotFoundError(
          absl::StrCat("weights without config.json beside them; give the "
                       "model's folder; reading ",
                       path));
    }
    RETURN_IF_ERROR(model->OpenGguf());
  }
  for (size_t i = 0; i < model->tensors_.size(); ++i) {
    model->index_.emplace(model->tensors_[i].meta.name, i);
  }
  return model;
}

std::unique_ptr<Checkpoint> Checkpoint::WithRows(
    const Checkpoint& model, std::unique_ptr<TensorSource> source) {
  auto shown = std::unique_ptr<Checkpoint>(new Checkpoint);
  shown->path_ = model.path_;
  shown->is_gguf_ = model.is_gguf_;
  shown->base_ = &model;
  shown->source_ = std::move(source);
  shown->config_ = model.config_;
  shown->arch_ = model.arch_;
  shown->metadata_ = model.metadata_;
  shown->tensors_ = model.tensors_;
  shown->index_ = model.index_;
  for (CheckpointTensor& tensor : shown->tensors_) {
    const TensorView* view = shown->source_->Find(tensor.meta.name);
    if (view == nullptr || view->rows == nullptr) {
      continue;
    }
    assert(view->meta.shape == tensor.meta.shape);
    tensor.meta.type = QuantType::kF32;
    tensor.stored = QuantType::kF32;
    tensor.offset = 0;
    tensor.interleave_group = 0;
    tensor.owned = nullptr;
    tensor.segments = {{view, 0, view->meta.n_rows()}};
  }
  return shown;
}

absl::Status Checkpoint::OpenFolder(const CheckpointOptions& options) {
  ASSIGN_OR_RETURN(const auto hf, HfConfig::Read(path_));
  arch_ = FindArchByHfName(hf->architecture());
  if (arch_ == nullptr) {
    return absl::UnimplementedError(absl::StrCat(
        "model family '", hf->architecture(), "' is not supported; known are ",
        KnownArchNames(), "; reading ", hf->file()));
  }
  const std::optional<JsonValue> quantization =
      hf->root().FindNonNull("quantization_config");
  if (quantization && !options.decode_quantized) {
    return QuantizedError(*hf, quantization);
  }
  RETURN_IF_ERROR(CheckIsLanguageModel(*hf, path_));
  ASSIGN_OR_RETURN(config_, ModelConfigFromHf(*hf, *arch_));
  ASSIGN_OR_RETURN(source_, OpenTensorSource(path_));
  if (quantization) {
    auto unpacked = UnpackSource(std::move(source_), *quantization);
    RETURN_IF_ERROR(
        Annotate(unpacked.status(), absl::StrCat("opening ", path_)));
    source_ = std::move(unpacked->source);
  }
  if (options.wrap_source) {
    source_ = options.wrap_source(std::move(source_));
  }

  int64_t max_vocab = -1;
  if (config_.arch == "gemma3" && options.intermediate != "exact") {
    ASSIGN_OR_RETURN(max_vocab, CountGemma3Tokens(path_, config_.vocab_size));
  }
  ASSIGN_OR_RETURN(Assembly assembly,
                   AssembleTensors({*source_, *arch_, config_, *hf,
                                    options.intermediate, max_vocab}));
  tensors_ = std::move(assembly.tensors);
  config_.tied_embeddings = true;
  for (const CheckpointTensor& tensor : tensors_) {
    if (tensor.meta.name == "token_embd.weight") {
      config_.vocab_size = tensor.meta.shape[0];
    }
    if (tensor.meta.name == "output.weight") {
      config_.tied_embeddings = false;
    }
  }

  const MetadataInputs inputs = {*hf, config_,
                                 FileTypeOf(assembly.matrix_type)};
  metadata_.Set("general.architecture", config_.arch);
  if (arch_->add_leading_metadata != nullptr) {
    RETURN_IF_ERROR(arch_->add_leading_metadata(inputs, &metadata_));
  }
  RETURN_IF_ERROR(AddGeneralMetadata(
      {path_, options.model_name, CountParameters(tensors_)}, &metadata_));
  RETURN_IF_ERROR(arch_->add_metadata(inputs, &metadata_));
  metadata_.Set("general.quantization_version", uint32_t{2});
  if (!options.skip_tokenizer) {
    VocabularyOptions vocabulary_options;
    vocabulary_options.pre = options.pre_tokenizer;
    vocabulary_options.architecture = hf->architecture();
    ASSIGN_OR_RETURN(const Vocabulary vocabulary,
                     VocabularyFromHfDirectory(path_, vocabulary_options));
    AddTokenizerMetadata(vocabulary, &metadata_);
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenGguf() {
  is_gguf_ = true;
  metadata_ = source_->metadata();
  const std::optional<std::string> name =
      metadata_.GetString("general.architecture");
  if (!name) {
    return absl::DataLossError(
        absl::StrCat("no key 'general.architecture'; reading ", path_));
  }
  arch_ = FindArchByGgufName(*name);
  auto config = ModelConfigFromGguf(*source_, arch_);
  RETURN_IF_ERROR(Annotate(config.status(), absl::StrCat("model ", path_)));
  config_ = *std::move(config);
  for (const TensorView& view : source_->tensors()) {
    CheckpointTensor tensor;
    tensor.meta = view.meta;
    tensor.stored = view.meta.type;
    tensor.layer = LayerOf(view.meta.name);
    tensor.segments = {{&view, 0, view.meta.n_rows()}};
    tensor.origin = view.origin;
    if (arch_ != nullptr) {
      ASSIGN_OR_RETURN(tensor.scales, ReadScales(*source_, view));
    }
    tensors_.push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

const CheckpointTensor* Checkpoint::Find(absl::string_view name) const {
  const auto it = index_.find(std::string(name));
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

namespace {

// The segment that holds row `row`, and the row within it. Segments are of
// one length, experts or halves of experts.
const RowSegment& SegmentOf(const CheckpointTensor& tensor, int64_t* row) {
  const int64_t length = tensor.segments[0].n_rows;
  const RowSegment& segment =
      tensor.segments[static_cast<size_t>(*row / length)];
  *row = segment.first_row + *row % length;
  return segment;
}

// Rows [first_row, first_row + n_rows) of a stored matrix, which is packed or
// plain f32 (some experts of a stack may be either).
absl::Status ReadStoredRows(const TensorView& view, int64_t first_row,
                            int64_t n_rows, float* out) {
  if (view.rows != nullptr) {
    return view.rows->ReadRows(first_row, n_rows, out);
  }
  const int64_t row_bytes = view.meta.row_bytes();
  std::memcpy(out, view.data.data() + first_row * row_bytes,
              static_cast<size_t>(n_rows * row_bytes));
  return absl::OkStatus();
}

// Rows of an interleaved matrix: those that a head has in its first half and
// in its second half lie together, so that two reads a head do.
absl::Status ReadInterleavedRows(const CheckpointTensor& tensor,
                                 int64_t first_row, int64_t n_rows,
                                 float* out) {
  const int64_t group = tensor.interleave_group;
  const int64_t n_cols = tensor.meta.n_cols();
  const RowSegment& segment = tensor.segments[0];
  std::vector<float> half;
  const int64_t end = first_row + n_rows;
  for (int64_t head = first_row / group * group; head < end; head += group) {
    const int64_t from = std::max(first_row, head);
    const int64_t to = std::min(end, head + group);
    for (const int64_t parity : {0, 1}) {
      const int64_t begin = from + ((from - head) % 2 != parity ? 1 : 0);
      if (begin >= to) {
        continue;
      }
      const int64_t n = (to - begin + 1) / 2;
      half.resize(static_cast<size_t>(n * n_cols));
      RETURN_IF_ERROR(ReadStoredRows(
          *segment.view, segment.first_row + StoredRow(tensor, begin), n,
          half.data()));
      for (int64_t i = 0; i < n; ++i) {
        std::copy_n(half.data() + i * n_cols, n_cols,
                    out + (begin + 2 * i - first_row) * n_cols);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool Checkpoint::HasBytes(const CheckpointTensor& tensor) const {
  return tensor.owned != nullptr ||
         std::none_of(tensor.segments.begin(), tensor.segments.end(),
                      [](const RowSegment& segment) {
                        return segment.view->rows != nullptr;
                      });
}

absl::Status Checkpoint::DecodeRows(const CheckpointTensor& tensor,
                                    int64_t first_row, int64_t n_rows,
                                    float* out) const {
  assert(first_row >= 0 && first_row + n_rows <= tensor.meta.n_rows());
  assert(!HasBytes(tensor));
  if (tensor.interleave_group > 0) {
    return ReadInterleavedRows(tensor, first_row, n_rows, out);
  }
  while (n_rows > 0) {
    int64_t row = first_row;
    const RowSegment& segment = SegmentOf(tensor, &row);
    const int64_t n =
        std::min(n_rows, segment.first_row + segment.n_rows - row);
    RETURN_IF_ERROR(ReadStoredRows(*segment.view, row, n, out));
    out += n * tensor.meta.n_cols();
    first_row += n;
    n_rows -= n;
  }
  return absl::OkStatus();
}

int64_t Checkpoint::StoredBytes(const CheckpointTensor& tensor) const {
  TensorMeta stored = tensor.meta;
  stored.type = tensor.stored;
  if (HasBytes(tensor)) {
    return stored.n_bytes();
  }
  int64_t n = 0;
  for (const RowSegment& segment : tensor.segments) {
    const TensorMeta& meta = segment.view->meta;
    if (segment.view->rows == nullptr) {
      n += segment.n_rows * meta.row_bytes();
    } else if (segment.n_rows == meta.n_rows()) {
      n += segment.view->rows->n_stored_bytes();
    } else {  // half of a matrix, or without its last rows
      n += static_cast<int64_t>(
          static_cast<double>(segment.view->rows->n_stored_bytes()) *
          static_cast<double>(segment.n_rows) /
          static_cast<double>(meta.n_rows()));
    }
  }
  return n;
}

absl::Span<const uint8_t> Checkpoint::RowBytes(const CheckpointTensor& tensor,
                                               int64_t row) const {
  assert(row >= 0 && row < tensor.meta.n_rows());
  assert(HasBytes(tensor));
  const TypeGeometry& geometry = Geometry(tensor.stored);
  const size_t row_bytes = static_cast<size_t>(
      tensor.meta.n_cols() / geometry.block_weights * geometry.block_bytes);
  if (tensor.owned != nullptr) {
    return {tensor.owned->data() + static_cast<size_t>(row) * row_bytes,
            row_bytes};
  }
  row = StoredRow(tensor, row);
  const RowSegment& segment = SegmentOf(tensor, &row);
  return segment.view->data.subspan(static_cast<size_t>(row) * row_bytes,
                                    row_bytes);
}

void Checkpoint::Release(const CheckpointTensor& tensor, int64_t first_row,
                         int64_t n_rows) const {
  if (base_ != nullptr) {
    // Under the same number there.
    base_->Release(base_->tensors_[index_.at(tensor.meta.name)], first_row,
                   n_rows);
    return;
  }
  if (tensor.owned != nullptr || n_rows <= 0) {
    return;
  }
  int64_t end = first_row + n_rows;
  if (const int64_t group = tensor.interleave_group; group > 0) {
    // Rows of a head come from all over the head.
    first_row = first_row / group * group;
    end = std::min((end + group - 1) / group * group, tensor.meta.n_rows());
  }
  while (first_row < end) {
    int64_t row = first_row;
    const RowSegment& segment = SegmentOf(tensor, &row);
    const int64_t n =
        std::min(end - first_row, segment.first_row + segment.n_rows - row);
    if (segment.view->rows == nullptr) {
      const size_t row_bytes =
          static_cast<size_t>(segment.view->meta.row_bytes());
      source_->Release(
          segment.view->data.subspan(static_cast<size_t>(row) * row_bytes,
                                     static_cast<size_t>(n) * row_bytes));
    }
    first_row += n;
  }
}

}  // namespace narrow
