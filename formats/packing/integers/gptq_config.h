// What the configuration of GPTQ's layout says (quantize_config.json, or
// quantization_config in config.json), as AutoGPTQ, GPTQModel, optimum and
// vLLM write and read it.
//
//   GptqFormatOf(config) == "gptq_v2";
//   ASSIGN_OR_RETURN(const GptqChoices choices, ReadGptqChoices(config));
//   ASSIGN_OR_RETURN(const std::string text, WriteGptqConfig(layout, "gptq"));
//
// Pure.

#ifndef NARROW_FORMATS_PACKING_INTEGERS_GPTQ_CONFIG_H_
#define NARROW_FORMATS_PACKING_INTEGERS_GPTQ_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/packing/packing.h"

namespace narrow {

// "gptq", "gptq_v2" or another variant; empty: not GPTQ at all.
std::string GptqFormatOf(const JsonValue& config);

// What the configuration says of layers: the common choice first, then those
// of "dynamic", whose patterns need not be matched, since the planes' shapes
// tell bits and groups.
struct GptqChoices {
  std::vector<int64_t> bits;
  std::vector<int64_t> group_sizes;
  bool may_be_symmetric = true;
  bool any_order = false;  // g_idx must be there
};

// DataLoss: members of other types than they must have, or none of bits.
absl::StatusOr<GptqChoices> ReadGptqChoices(const JsonValue& config);

// `format` is "gptq" or "gptq_v2". InvalidArgument: no layer is quantized.
absl::StatusOr<std::string> WriteGptqConfig(const PackedLayout& layout,
                                            absl::string_view format);

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_INTEGERS_GPTQ_CONFIG_H_
