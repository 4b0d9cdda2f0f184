// Configuration classes of the transformers library, by model_type: the
// defaults a config.json may leave out, and which layers a sliding window
// applies to. Constant tables.

#ifndef NARROW_FORMATS_HF_HF_CLASS_H_
#define NARROW_FORMATS_HF_HF_CLASS_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narrow {

// Which layers see only the window, where layer_types does not say.
enum class WindowRule {
  kNever,  // the class has no window
  kAllLayers,
  kLateLayers,  // from max_window_layers on
  kAlternate,   // every second one, beginning with the first
  kPattern,     // all but every sliding_window_pattern-th
};

struct HfClass {
  const char* model_type;
  // The architecture that goes with it, for configs without model_type.
  const char* architecture;
  WindowRule window;
  // sliding_window counts only together with use_sliding_window.
  bool window_needs_switch;
  // layer_types is a field of the class; rotary parameters may then be given
  // by layer type.
  bool has_layer_types;
  double default_theta;
  // num_key_value_heads: null means num_attention_heads.
  bool fills_kv_heads;
  // head_dim: null means hidden_size / num_attention_heads.
  bool fills_head_dim;
  const char* defaults;  // a JSON object
};

absl::Span<const HfClass> AllHfClasses();
// nullptr if unknown.
const HfClass* FindHfClass(absl::string_view model_type);
const HfClass* FindHfClassOfArchitecture(absl::string_view architecture);

}  // namespace narrow

#endif  // NARROW_FORMATS_HF_HF_CLASS_H_
