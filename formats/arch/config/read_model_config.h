// ModelConfig from either container.

#ifndef NARROW_FORMATS_ARCH_CONFIG_READ_MODEL_CONFIG_H_
#define NARROW_FORMATS_ARCH_CONFIG_READ_MODEL_CONFIG_H_

#include "absl/status/statusor.h"
#include "formats/arch/arch_spec.h"
#include "formats/arch/model_config.h"
#include "formats/hf/hf_config.h"
#include "formats/tensor.h"

namespace narrow {

// InvalidArgument: a key is missing, out of range or contradicts another.
// Unimplemented: a feature that we do not compute, named.
absl::StatusOr<ModelConfig> ModelConfigFromHf(const HfConfig& hf,
                                              const ArchSpec& spec);

// `source` is a GGUF file; `spec` its family, or nullptr: then only what
// every family has is read, and what is missing stays 0. DataLoss with the
// key for values out of range.
absl::StatusOr<ModelConfig> ModelConfigFromGguf(const TensorSource& source,
                                                const ArchSpec* spec);

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_CONFIG_READ_MODEL_CONFIG_H_
