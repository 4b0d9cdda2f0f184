// What a model can be made into: every file type and packed format, with the
// exact bytes of what would be written and the noise it adds.
//
//   ASSIGN_OR_RETURN(std::vector<FitChoice> options,
//                    GgufOptions(*model, recipe));
//   options[0].name;           // "Q8_0"
//   options[0].tensor_bytes;   // to the byte, from the plan of a dry run
//
// Pure but for the noise of types, which is computed when it is asked for.

#ifndef NARROW_CONVERTER_FIT_FIT_CHOICES_H_
#define NARROW_CONVERTER_FIT_FIT_CHOICES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/quantize/model_input.h"
#include "converter/recipe.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

struct FitChoice {
  std::string name;          // "Q4_K_M", "gptq --bits 4"
  std::string format;        // "gguf", or the packing
  std::string command;       // "narrow convert --to Q4_K_M", without the model
  int64_t tensor_bytes = 0;  // what is loaded
  int64_t file_bytes = 0;    // of all files that hold tensors
  int64_t n_weights = 0;
  // See type_noise.h; the mean over all matrices, weighted by role_weight.h;
  // 0: exact.
  double noise = 0;
  std::string needs;  // "imatrix", "calibration text" or ""

  bool is_gguf() const { return format == "gguf"; }
  double bits_per_weight() const {
    return n_weights == 0 ? 0
                          : 8.0 * static_cast<double>(tensor_bytes) /
                                static_cast<double>(n_weights);
  }
};

// What could not be planned, and why.
struct FitRefusal {
  std::string name;
  std::string reason;
};

struct FitChoices {
  std::vector<FitChoice> options;
  std::vector<FitRefusal> refusals;
};

// Every file type under `recipe`, whose own file type is ignored; a GGUF file
// as it is, besides. In strict mode, without types that would fall back.
absl::StatusOr<FitChoices> GgufOptions(const Checkpoint& model,
                                       const Recipe& recipe);

// Every method in its usual packing, integers at 8, 4, 3, 2 and 1 bits.
absl::StatusOr<FitChoices> PackedOptions(const ModelInput& input);

}  // namespace narrow

#endif  // NARROW_CONVERTER_FIT_FIT_CHOICES_H_
