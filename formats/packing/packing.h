// A packing: how the planes of a quantized matrix are named, typed and
// bit-ordered in safetensors, and how config.json tells clients of them.
//
//   const Packing* packing = FindPacking("gptq");
//   RETURN_IF_ERROR(packing->supports(scheme, n_rows, n_cols));
//   ASSIGN_OR_RETURN(auto planes, packing->planes(scheme, "model.layers.0.mlp"
//                    ".up_proj", n_rows, n_cols));      // names, types, shapes
//   ASSIGN_OR_RETURN(auto bytes, packing->pack(matrix, options));  // one each
//   ASSIGN_OR_RETURN(std::string json, packing->config(layout));
//
// One file and one row in packings.inc each. All functions are pure and safe
// from any thread. Formats: docs/packings.md.

#ifndef NARROW_FORMATS_PACKING_PACKING_H_
#define NARROW_FORMATS_PACKING_PACKING_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/json/json.h"
#include "formats/packing/code_layout.h"
#include "formats/packing/quantized_matrix.h"
#include "formats/tensor.h"

namespace narrow {

struct Packing;

// A quantized linear layer of an output, or one found in an input.
struct PackedModule {
  std::string name;  // "model.layers.0.mlp.up_proj", without ".weight"
  WeightScheme scheme;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  // In an input: its planes, in the order of Packing::planes; optional ones
  // that are not there are null. They borrow from the source.
  std::vector<const TensorView*> planes;
  const Packing* packing = nullptr;
};

// What a client must know of the whole output.
struct PackedLayout {
  std::vector<PackedModule> modules;
  // Linear layers that stay as they are, by full name ("lm_head").
  std::vector<std::string> dense_linears;
  // Facts that some clients want or show: "damp_percent", "desc_act",
  // "static_groups", ...; values are JSON text.
  std::vector<std::pair<std::string, std::string>> facts;
  // Of the tensors that are not packed: kBF16, kF16 or kF32.
  QuantType model_dtype = QuantType::kBF16;
};

struct Packing {
  const char*
      name;  // as flags and recipes say it: "gptq", "compressed-tensors"
  const char* title;  // "GPTQ (GPTQModel, AutoGPTQ, vLLM)"
  // A second file with the configuration, where older clients look for it;
  // nullptr: none.
  const char* config_file;
  // Clients expect biases of packed layers in half precision.
  bool f16_bias;

  // Why a matrix cannot be stored, or OK. Unimplemented: the format has no
  // such bits, groups or codes; InvalidArgument: not with this shape.
  absl::Status (*supports)(const WeightScheme& scheme, int64_t n_rows,
                           int64_t n_cols);
  // Names (with `module` before them), types and shapes of the planes, in the
  // order of the file. REQUIRES: supports() said OK.
  std::vector<TensorMeta> (*planes)(const WeightScheme& scheme,
                                    absl::string_view module, int64_t n_rows,
                                    int64_t n_cols, QuantType model_dtype);
  // The bytes of each plane. InvalidArgument: a value that the format does
  // not hold (a zero point of 0 in GPTQ v1).
  absl::StatusOr<std::vector<std::vector<uint8_t>>> (*pack)(
      const QuantizedMatrix& matrix, QuantType model_dtype);
  // The object "quantization_config" of config.json. Unimplemented: the
  // format cannot say what `layout` asks (different bits per layer ...).
  absl::StatusOr<std::string> (*config)(const PackedLayout& layout);

  // Whether a model with this "quantization_config" is in this packing.
  bool (*recognises)(const JsonValue& config);
  // The packed modules of a source. DataLoss: planes that are missing,
  // misshapen or contradict the configuration, named with file and offset;
  // Unimplemented: a variant that we do not read, named.
  absl::StatusOr<std::vector<PackedModule>> (*find)(const JsonValue& config,
                                                    const TensorSource& source);
  // Rows [first_row, first_row + n_rows) of a module; codes, scales and zeros
  // of these rows alone (first_row and n_rows are multiples of the scheme's
  // block_rows where that is above 1, or reach the last row; flat blocks:
  // n_rows * n_cols begins and ends at a block's border). DataLoss: a value
  // that no writer makes (a scale that is not finite, a group out of range).
  absl::StatusOr<QuantizedMatrix> (*unpack)(const PackedModule& module,
                                            int64_t first_row, int64_t n_rows);

  // The least integer zero point that can be stored.
  int least_zero = 0;

  // Where the codes lie in the first plane; false where it takes more than
  // that to find them. nullptr: always so.
  bool (*code_layout)(const PackedModule& module, CodeLayout* layout) = nullptr;
  // As unpack, but for the codes, which are left empty. nullptr where there is
  // no code_layout.
  absl::StatusOr<QuantizedMatrix> (*unpack_scales)(const PackedModule& module,
                                                   int64_t first_row,
                                                   int64_t n_rows) = nullptr;
};

// In the order of packings.inc.
absl::Span<const Packing* const> AllPackings();
// nullptr if unknown.
const Packing* FindPacking(absl::string_view name);
// The one that recognises this "quantization_config". Unimplemented names its
// quant_method where none does.
absl::StatusOr<const Packing*> RecognisePacking(const JsonValue& config);
// "gptq, awq, …", for messages.
std::string KnownPackingNames();

// The rows, each defined in its own file.
#define NARROW_PACKING(variable) extern const Packing variable;
#include "formats/packing/packings.inc"
#undef NARROW_PACKING

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_PACKING_H_
