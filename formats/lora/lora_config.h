// adapter_config.json of a PEFT directory: how strongly each low-rank pair
// counts, and what would make it more than a low-rank pair.
//
//   ASSIGN_OR_RETURN(LoraConfig config, LoraConfig::Read(folder));
//   ASSIGN_OR_RETURN(LoraStrength s, config.StrengthOf("model.layers.0.…"));
//
// A plain value; safe to share.

#ifndef NARROW_FORMATS_LORA_LORA_CONFIG_H_
#define NARROW_FORMATS_LORA_LORA_CONFIG_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/regex/regex.h"

namespace narrow {

struct LoraStrength {
  int64_t rank;
  // alpha / rank, or alpha / sqrt(rank): in float32, as PyTorch multiplies.
  float scaling;
};

class LoraConfig {
 public:
  // NotFound without the file; DataLoss for damage; Unimplemented names a
  // method or an option that is more than W + scaling B A, also one that we
  // have never heard of, unless it is off.
  static absl::StatusOr<LoraConfig> Read(absl::string_view folder);

  // Of the module of that name. The first pattern that matches the end of it
  // counts, as in PEFT.
  absl::StatusOr<LoraStrength> StrengthOf(absl::string_view module) const;

  // Weights are [inputs, outputs], as GPT-2 stores them.
  bool fan_in_fan_out() const { return fan_in_fan_out_; }
  // Rows have lengths of their own (weight-decomposed, DoRA).
  bool use_dora() const { return use_dora_; }
  const std::string& file() const { return file_; }

 private:
  using Patterns = std::vector<std::pair<Regex, double>>;

  static const double* Match(const Patterns& patterns,
                             absl::string_view module);

  std::string file_;
  int64_t rank_ = 8;
  double alpha_ = 8;
  bool use_rslora_ = false;
  bool use_dora_ = false;
  bool fan_in_fan_out_ = false;
  Patterns rank_pattern_;
  Patterns alpha_pattern_;

  friend class LoraConfigReader;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_LORA_LORA_CONFIG_H_
