#include "formats/arch/general_metadata.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace narrow {

ParameterCount CountParameters(absl::Span<const CheckpointTensor> tensors) {
  ParameterCount count;
  int64_t n_stacks = 0;
  int64_t sum = 0;
  for (const CheckpointTensor& tensor : tensors) {
    const int64_t n = tensor.meta.n_elements();
    count.total += n;
    if (absl::StrContains(tensor.meta.name, "_exps.") &&
        tensor.meta.shape.size() >= 3) {
      count.expert += n / tensor.meta.shape[0];
      sum += tensor.meta.shape[0];
      ++n_stacks;
    } else {
      count.shared += n;
    }
  }
  count.n_experts = n_stacks > 0 ? sum / n_stacks : 0;
  return count;
}

absl::Status AddGeneralMetadata(const GeneralMetadataInputs& inputs,
                                Metadata* metadata) {
  metadata->Set("general.type", std::string("model"));
  metadata->Set("general.name", inputs.model_name);
  return absl::OkStatus();
}

}  // namespace narrow
