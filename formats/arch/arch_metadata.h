// GGUF keys that most families share, in the converter's order.

#ifndef NARROW_FORMATS_ARCH_ARCH_METADATA_H_
#define NARROW_FORMATS_ARCH_ARCH_METADATA_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "formats/arch/arch_spec.h"
#include "formats/metadata.h"

namespace narrow {

// Sets keys "<arch>.<name>" with the value types GGUF wants.
class ArchKeys {
 public:
  ArchKeys(const MetadataInputs& inputs, Metadata* metadata)
      : hf_(inputs.hf), arch_(inputs.config.arch), metadata_(metadata) {}

  void Set(absl::string_view name, MetadataValue value);
  void SetSize(absl::string_view name, int64_t value);
  void SetFloat(absl::string_view name, double value);

  // Copies what the config has under one of `keys`, if it has it.
  absl::Status CopySize(HfConfig::Keys keys, absl::string_view name);
  absl::Status CopyFloat(HfConfig::Keys keys, absl::string_view name);

 private:
  const HfConfig& hf_;
  const std::string arch_;
  Metadata* metadata_;
};

// block_count … value_length and general.file_type.
absl::Status AddCommonMetadata(const MetadataInputs& inputs,
                               Metadata* metadata);

// pooling_type, for the embedding models that share a family's class: they say
// in modules.json or embedding_config.json how positions are pooled.
absl::Status AddPoolingMetadata(const MetadataInputs& inputs,
                                Metadata* metadata);

}  // namespace narrow

#endif  // NARROW_FORMATS_ARCH_ARCH_METADATA_H_
