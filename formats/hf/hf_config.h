// config.json of a Hugging Face folder, read as the transformers library reads
// it: the defaults of the model's configuration class fill what the file
// leaves out, and the older forms of rotary parameters (rope_theta,
// rope_scaling) and the newer one (rope_parameters) come out as one.
//
//   ASSIGN_OR_RETURN(auto hf, HfConfig::Read("models/gemma-3-270m"));
//   ASSIGN_OR_RETURN(int64_t n, hf->RequireSize({"num_hidden_layers"}, 1 <<
//   16));
//
// llama.cpp's converter takes its numbers from there too, which is why a key
// can reach GGUF that the file does not have. Immutable; safe to share.

#ifndef NARROW_FORMATS_HF_HF_CONFIG_H_
#define NARROW_FORMATS_HF_HF_CONFIG_H_

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/hf/hf_class.h"
#include "formats/json/json.h"

namespace narrow {

// Rotary parameters after normalisation. Numbers that the config does not
// give are absent, for the converter writes only what is given.
struct HfRope {
  std::string type;  // "default", "llama3", "yarn", ...; empty: not given
  std::optional<double> theta;
  std::optional<double> local_theta;  // of sliding-window layers
  std::optional<double> factor;
  std::optional<double> low_freq_factor;
  std::optional<double> high_freq_factor;
  std::optional<int64_t> original_context;
  std::optional<double> partial_rotary_factor;
  std::optional<double> attention_factor;
  std::optional<double> extrapolation_factor;
  std::optional<double> beta_fast;
  std::optional<double> beta_slow;
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  bool truncate = true;
  std::vector<double> long_factors;
  std::vector<double> short_factors;
};

class HfConfig {
 public:
  using Keys = std::initializer_list<absl::string_view>;

  // Reads <folder>/config.json.
  static absl::StatusOr<std::unique_ptr<const HfConfig>> Read(
      absl::string_view folder);
  // `file` is for messages.
  static absl::StatusOr<std::unique_ptr<const HfConfig>> Parse(
      absl::string_view text, absl::string_view file);

  const std::string& file() const { return document_->file(); }
  // architectures[0]: LlamaForCausalLM.
  const std::string& architecture() const { return architecture_; }
  // The configuration class; nullptr if model_type is none that we know.
  const HfClass* hf_class() const { return class_; }
  const HfRope& rope() const { return rope_; }
  // The file as it is, without defaults.
  JsonValue root() const { return document_->root(); }

  // The value under the first of `keys` that is present; nullopt if none is,
  // or if that value is null.
  std::optional<JsonValue> Find(Keys keys) const;

  // The same as an integer in [0, max] or a number within float32's range.
  // InvalidArgument names the key, the value and the file.
  absl::StatusOr<std::optional<int64_t>> FindSize(Keys keys, int64_t max) const;
  absl::StatusOr<std::optional<double>> FindNumber(Keys keys) const;
  absl::StatusOr<bool> FindBool(Keys keys, bool otherwise) const;
  absl::StatusOr<std::string> FindString(Keys keys,
                                         absl::string_view otherwise) const;
  // Must be there, and not 0.
  absl::StatusOr<int64_t> RequireSize(Keys keys, int64_t max) const;
  absl::StatusOr<double> RequireNumber(Keys keys) const;

  // "<cause>; reading <file>".
  absl::Status Error(absl::string_view cause) const;

 private:
  HfConfig() = default;
  absl::Status ReadArchitecture();
  absl::Status Normalise();
  absl::Status ReadRope();

  std::unique_ptr<const JsonDocument> document_;
  std::unique_ptr<const JsonDocument> defaults_;
  std::unique_ptr<const JsonDocument> adjusted_;
  // Searched in order: what normalisation changed, text_config, the class's
  // defaults, the file's top level.
  std::vector<JsonValue> layers_;
  const HfClass* class_ = nullptr;
  std::string architecture_;
  HfRope rope_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_HF_HF_CONFIG_H_
