#include "converter/hf/hf_export.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "calibration/weights/weights.h"
#include "converter/pieces.h"
#include "formats/base/file.h"
#include "formats/base/float16.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "formats/hf_export/hf_config_writer.h"
#include "formats/safetensors/safetensors_writer.h"
#include "formats/tokenizer/hf_export/hf_tokenizer_writer.h"
#include "formats/tokenizer/vocabulary.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxPieceWeights = int64_t{1} << 20;

struct Dtype {
  const char* flag;
  const char* torch;
  QuantType type;
};
constexpr Dtype kDtypes[] = {
    {"bf16", "bfloat16", QuantType::kBF16},
    {"f16", "float16", QuantType::kF16},
    {"f32", "float32", QuantType::kF32},
};

bool IsPlain(QuantType type) {
  return std::any_of(std::begin(kDtypes), std::end(kDtypes),
                     [&](const Dtype& row) { return row.type == type; });
}

bool HoldsExactly(QuantType type, float value) {
  return type == QuantType::kBF16 ? FloatFromBf16(Bf16FromFloat(value)) == value
                                  : FloatFromF16(F16FromFloat(value)) == value;
}

// The type of a file whose matrices are all quantized: its vectors, which are
// not, show what they were before they became float32.
absl::StatusOr<QuantType> TypeOfVectors(
    const Checkpoint& model, const std::vector<DisassembledTensor>& tensors) {
  for (const QuantType type : {QuantType::kBF16, QuantType::kF16}) {
    bool holds_all = true;
    std::vector<float> values;
    for (const DisassembledTensor& tensor : tensors) {
      if (tensor.meta.shape.size() != 1 || !holds_all) {
        continue;
      }
      values.resize(static_cast<size_t>(tensor.meta.n_cols()));
      RETURN_IF_ERROR(ReadExportedRows(model, tensor, 0, 1, values.data()));
      for (const float value : values) {
        holds_all = holds_all && HoldsExactly(type, value);
      }
    }
    if (holds_all) {
      return type;
    }
  }
  return QuantType::kBF16;
}

absl::StatusOr<QuantType> ChooseDtype(
    const Checkpoint& model, const std::vector<DisassembledTensor>& tensors,
    absl::string_view name) {
  for (const Dtype& row : kDtypes) {
    if (name == row.flag) {
      return row.type;
    }
  }
  if (name != "auto") {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype '", name, "' is none of auto, bf16, f16 and f32"));
  }
  for (const DisassembledTensor& tensor : tensors) {
    // Converters keep routers in float32, whatever the model's type.
    if (tensor.meta.shape.size() >= 2 && IsPlain(tensor.source->meta.type) &&
        !absl::StrContains(tensor.source->meta.name, "ffn_gate_inp")) {
      return tensor.source->meta.type;
    }
  }
  return TypeOfVectors(model, tensors);
}

// Decodes and encodes pieces; one of its slots is one piece in flight.
class Exporter {
 public:
  Exporter(const Checkpoint& model, const HfExport& plan,
           std::vector<Piece> pieces, int n_slots)
      : model_(model),
        plan_(plan),
        codec_(*FindCodec(plan.dtype)),
        pieces_(std::move(pieces)),
        slots_(static_cast<size_t>(n_slots)) {}

  int64_t n_pieces() const { return static_cast<int64_t>(pieces_.size()); }
  const std::vector<uint8_t>& bytes(int slot) const {
    return slots_[static_cast<size_t>(slot)].bytes;
  }

  absl::Status Compute(int64_t i, int slot_number) {
    const Piece& piece = pieces_[static_cast<size_t>(i)];
    Slot& slot = slots_[static_cast<size_t>(slot_number)];
    const DisassembledTensor& tensor = plan_.tensors[piece.tensor];
    const int64_t n_cols = tensor.meta.n_cols();
    slot.weights.resize(static_cast<size_t>(piece.n_rows * n_cols));
    RETURN_IF_ERROR(ReadExportedRows(model_, tensor, piece.first_row,
                                     piece.n_rows, slot.weights.data()));
    slot.bytes.resize(
        static_cast<size_t>(piece.n_rows * tensor.meta.row_bytes()));
    codec_.EncodeRows(slot.weights.data(), piece.n_rows, n_cols, nullptr,
                      slot.bytes.data());
    const int64_t bad =
        codec_.FirstBadBlock(slot.bytes.data(), piece.n_rows * n_cols);
    if (bad >= 0) {
      return absl::DataLossError(absl::StrCat(
          "tensor '", tensor.meta.name, "': weight ",
          slot.weights[static_cast<size_t>(bad)], " at row ",
          piece.first_row + bad / n_cols, ", column ", bad % n_cols,
          " is not finite as ", TypeName(plan_.dtype), "; reading ",
          tensor.source->origin.file));
    }
    model_.Release(*tensor.source, tensor.first_row + piece.first_row,
                   piece.n_rows);
    return absl::OkStatus();
  }

 private:
  struct Slot {
    std::vector<float> weights;
    std::vector<uint8_t> bytes;
  };

  const Checkpoint& model_;
  const HfExport& plan_;
  const BlockCodec& codec_;
  const std::vector<Piece> pieces_;
  std::vector<Slot> slots_;
};

absl::Status WriteTensors(const Checkpoint& model, const HfExport& plan,
                          const std::string& folder,
                          const PipelineOptions& options) {
  const int n_threads =
      options.n_threads < 1 ? NumProcessors() : options.n_threads;
  const int n_slots = 2 * n_threads + 1;
  std::vector<TensorMeta> metas;
  for (const DisassembledTensor& tensor : plan.tensors) {
    metas.push_back(tensor.meta);
  }
  Metadata metadata;
  metadata.Set("format", std::string("pt"));  // transformers asks for it
  const std::unique_ptr<TensorSink> sink =
      NewSafetensorsFolderWriter(folder, plan.max_shard_bytes);
  RETURN_IF_ERROR(sink->Begin(metas, metadata));
  // Eight bytes a weight: as float32, and encoded.
  const int64_t piece_weights = std::clamp<int64_t>(
      options.memory_bytes / n_slots / 8, 1, kMaxPieceWeights);
  Exporter exporter(model, plan, CutIntoPieces(metas, piece_weights), n_slots);
  const auto compute = [&](int64_t i, int slot) {
    return exporter.Compute(i, slot);
  };
  const auto consume = [&](int64_t, int slot) -> absl::Status {
    if (options.cancelled != nullptr && options.cancelled->load()) {
      return absl::CancelledError("stopped by a signal; nothing was written");
    }
    RETURN_IF_ERROR(sink->Append(exporter.bytes(slot)));
    if (options.on_progress) {
      options.on_progress(static_cast<int64_t>(exporter.bytes(slot).size()));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(
      RunInOrder(exporter.n_pieces(), n_threads, n_slots, compute, consume));
  return sink->Finish();
}

// Whether an export, finished or not, leaves files of this name.
bool IsOurs(absl::string_view name) {
  absl::ConsumeSuffix(&name, ".partial");
  return absl::EndsWith(name, ".json") ||
         absl::EndsWith(name, ".safetensors") || name == "tokenizer.model" ||
         absl::StartsWith(name, "narrow-manifest");
}

// Makes `partial` an empty folder. One that a killed run left is emptied; one
// with files of another kind is somebody else's.
absl::Status PreparePartial(const fs::path& partial) {
  std::error_code error;
  const auto failed = [&] {
    return absl::PermissionDeniedError(
        absl::StrCat(error.message(), "; preparing ", partial.string()));
  };
  fs::create_directories(partial, error);
  if (error) {
    return failed();
  }
  std::vector<fs::path> files;
  for (fs::directory_iterator it(partial, error), end; !error && it != end;
       it.increment(error)) {
    if (!it->is_regular_file(error) ||
        !IsOurs(it->path().filename().string())) {
      return absl::InvalidArgumentError(
          absl::StrCat(it->path().string(),
                       " is in the way: this folder is needed until the "
                       "output is complete"));
    }
    files.push_back(it->path());
  }
  for (const fs::path& file : files) {
    if (!error) {
      fs::remove(file, error);
    }
  }
  return error ? failed() : absl::OkStatus();
}

void RemovePartial(const fs::path& partial) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(partial, error), end; !error && it != end;
       it.increment(error)) {
    if (IsOurs(it->path().filename().string())) {
      files.push_back(it->path());
    }
  }
  for (const fs::path& file : files) {
    fs::remove(file, error);
  }
  fs::remove(partial, error);  // fails if anything else is in it
}

absl::Status WriteAll(const Checkpoint& model, const HfExport& plan,
                      const std::string& partial,
                      const PipelineOptions& options) {
  RETURN_IF_ERROR(WriteTensors(model, plan, partial, options));
  for (const auto& [name, contents] : plan.files) {
    RETURN_IF_ERROR(WriteTextFile(JoinPath(partial, name), contents));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadExportedRows(const Checkpoint& model,
                              const DisassembledTensor& tensor,
                              int64_t first_row, int64_t n_rows, float* out) {
  const int64_t n_cols = tensor.meta.n_cols();
  if (tensor.group == 0 || tensor.groups_columns) {
    RETURN_IF_ERROR(ReadScaledRows(model, *tensor.source,
                                   SourceRow(tensor, first_row), n_rows, out));
  } else {
    for (int64_t r = 0; r < n_rows; ++r) {
      RETURN_IF_ERROR(ReadScaledRows(model, *tensor.source,
                                     SourceRow(tensor, first_row + r), 1,
                                     out + r * n_cols));
    }
  }
  if (tensor.groups_columns) {
    std::vector<float> grouped(out, out + n_rows * n_cols);
    for (int64_t i = 0; i < n_rows * n_cols; ++i) {
      out[i] = grouped[static_cast<size_t>(GroupedIndex(i, tensor.group))];
    }
  }
  if (tensor.offset != 0) {
    for (int64_t i = 0; i < n_rows * n_cols; ++i) {
      out[i] += tensor.offset;
    }
  }
  return absl::OkStatus();
}

absl::string_view TorchName(QuantType dtype) {
  for (const Dtype& row : kDtypes) {
    if (row.type == dtype) {
      return row.torch;
    }
  }
  return "";
}

absl::StatusOr<HfExport> PlanHfExport(const Checkpoint& model,
                                      const HfExportOptions& options) {
  if (!model.is_gguf()) {
    return absl::InvalidArgumentError(
        absl::StrCat(model.path(), " is a Hugging Face directory already"));
  }
  ASSIGN_OR_RETURN(Disassembly disassembly, DisassembleTensors(model));
  HfExport plan;
  plan.max_shard_bytes = options.max_shard_bytes;
  ASSIGN_OR_RETURN(plan.dtype,
                   ChooseDtype(model, disassembly.tensors, options.dtype));
  ASSIGN_OR_RETURN(HfConfigFiles config,
                   WriteHfConfig({model, disassembly, TorchName(plan.dtype)}));
  plan.files.emplace_back("config.json", std::move(config.config));
  plan.files.emplace_back("generation_config.json",
                          std::move(config.generation_config));
  plan.warnings = std::move(config.warnings);

  auto vocabulary = VocabularyFromGguf(model.metadata());
  RETURN_IF_ERROR(
      Annotate(vocabulary.status(), absl::StrCat("reading ", model.path())));
  auto tokenizer =
      WriteHfTokenizer(*vocabulary, {model.config().context_length});
  RETURN_IF_ERROR(
      Annotate(tokenizer.status(), absl::StrCat("reading ", model.path())));
  plan.files.emplace_back("tokenizer.json", std::move(tokenizer->tokenizer));
  plan.files.emplace_back("tokenizer_config.json",
                          std::move(tokenizer->tokenizer_config));
  if (!tokenizer->sentencepiece.empty()) {
    plan.files.emplace_back("tokenizer.model",
                            std::move(tokenizer->sentencepiece));
  }
  plan.warnings.insert(plan.warnings.end(), tokenizer->warnings.begin(),
                       tokenizer->warnings.end());

  plan.tensors = std::move(disassembly.tensors);
  for (DisassembledTensor& tensor : plan.tensors) {
    if (FindCodec(tensor.source->stored) == nullptr) {
      return absl::UnimplementedError(absl::StrCat(
          "tensor '", tensor.source->meta.name, "' is stored as ",
          TypeName(tensor.source->stored),
          ", which cannot be decoded; reading ", tensor.source->origin.file));
    }
    tensor.meta.type = plan.dtype;
    plan.n_bytes += tensor.meta.n_bytes();
    plan.n_weights += tensor.meta.n_elements();
  }
  return plan;
}

absl::Status WriteHfExport(
    const Checkpoint& model, const HfExport& plan, absl::string_view folder,
    const PipelineOptions& options,
    const std::function<absl::Status(const std::string& folder)>&
        before_finish) {
  fs::path target = fs::path(std::string(folder)).lexically_normal();
  if (!target.has_filename()) {
    target = target.parent_path();  // "out/"
  }
  std::error_code error;
  const bool exists = fs::exists(fs::symlink_status(target, error));
  if (target.filename() == "." || target.filename() == ".." ||
      (exists &&
       (!fs::is_directory(target, error) || !fs::is_empty(target, error)))) {
    return absl::InvalidArgumentError(
        absl::StrCat("output ", target.string(),
                     " is there and is no empty directory; choose another"));
  }
  const fs::path partial = target.string() + ".partial";
  RETURN_IF_ERROR(PreparePartial(partial));
  absl::Status status = WriteAll(model, plan, partial.string(), options);
  if (status.ok() && before_finish) {
    status = before_finish(partial.string());
  }
  if (status.ok()) {
    // Also replaces an empty directory.
    if (std::rename(partial.c_str(), target.c_str()) != 0) {
      status = absl::UnknownError(absl::StrCat(std::strerror(errno),
                                               "; renaming ", partial.string(),
                                               " to ", target.string()));
    }
  }
  if (!status.ok()) {
    RemovePartial(partial);
  }
  return status;
}

}  // namespace narrow
