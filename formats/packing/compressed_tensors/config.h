// "quantization_config" of compressed-tensors: which layers are packed how.
//
//   ASSIGN_OR_RETURN(Config config, ReadConfig(json));
//   ASSIGN_OR_RETURN(const ConfigGroup* group, config.Match(module, scales));
//
//   ASSIGN_OR_RETURN(std::string text, WriteConfig(layout));
//
// A configuration has groups, each with targets (a class of layers, a name,
// or "re:" and a regular expression that must match from the name's start)
// and the arguments of its weights and inputs, and a list of what is ignored.
// Plain values, immutable after reading.

#ifndef NARROW_FORMATS_PACKING_COMPRESSED_TENSORS_CONFIG_H_
#define NARROW_FORMATS_PACKING_COMPRESSED_TENSORS_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/packing/packing.h"
#include "formats/packing/quantized_matrix.h"
#include "formats/regex/regex.h"
#include "formats/tensor.h"

namespace narrow {
namespace compressed_tensors {

// How the weights of a scheme are stored; "format" in the configuration.
enum class Format {
  kPackQuantized,   // integers of 2 to 8 bits in words
  kIntQuantized,    // int8 with int8 inputs
  kFloatQuantized,  // FP8 with FP8 inputs
  kNaiveQuantized,  // FP8 alone
  kNvfp4,           // E2M1 under E4M3 scales
  kMxfp4,           // E2M1 under E8M0 scales
  kMxfp8,           // FP8 under E8M0 scales
};

// REQUIRES: a scheme that compressed-tensors supports.
Format FormatOf(const WeightScheme& scheme);
const char* FormatName(Format format);

// Names that a list of targets means.
class NameList {
 public:
  // DataLoss: not a list of strings; Unimplemented: a regular expression that
  // we cannot read.
  static absl::StatusOr<NameList> Read(const JsonValue& json);

  // By name alone, and by name or as a layer of class "Linear".
  bool HasName(absl::string_view name) const;
  bool HasLinear(absl::string_view name) const;

 private:
  std::vector<std::string> names_;
  std::vector<Regex> patterns_;
};

struct ConfigGroup {
  std::string name;  // "group_0"
  NameList targets;
  // All but scale_type and global_scale, which the planes tell.
  WeightScheme scheme;
};

class Config {
 public:
  std::vector<ConfigGroup> groups;
  NameList ignore;

  // The group of a packed module; `plane`, one of its planes, is named in
  // errors. DataLoss: no group's targets fit, or the module is ignored.
  absl::StatusOr<const ConfigGroup*> Match(absl::string_view module,
                                           const TensorView& plane) const;
};

// DataLoss: not such a configuration; Unimplemented: a variant that we do not
// read, named.
absl::StatusOr<Config> ReadConfig(const JsonValue& json);

absl::StatusOr<std::string> WriteConfig(const PackedLayout& layout);

}  // namespace compressed_tensors
}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_COMPRESSED_TENSORS_CONFIG_H_
