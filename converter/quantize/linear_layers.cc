#include "converter/quantize/linear_layers.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

bool IsFloat(QuantType type) {
  return type == QuantType::kF32 || type == QuantType::kF16 ||
         type == QuantType::kBF16;
}

// Parts (between dots) of names of matrices that are looked up, normalise or
// are convolved rather than multiplied with. "*" at either end: anything.
constexpr const char* kOtherParts[] = {"*embed*",
                                       "*embedding*",
                                       "wte",
                                       "wpe",
                                       "shared",
                                       "*norm*",
                                       "ln",
                                       "ln_*",
                                       "*_ln",
                                       "layernorm*",
                                       "bn*",
                                       "*conv*",
                                       "conv*",
                                       "*relative_attention_bias",
                                       "*position_bias*",
                                       "*codebook*",
                                       "*pos_emb*"};
// Last parts of matrices that choose or score: small, and everything hangs
// on them.
constexpr const char* kHeadParts[] = {
    "lm_head", "output",           "classifier", "*_classifier",
    "score",   "qa_outputs",       "decoder",    "proj_out",
    "gate",    "router",           "*router",    "head",
    "*_head",  "seq_relationship", "fc_out"};
// Models whose matrices are stored [inputs, outputs], as no linear layer's.
constexpr const char* kTransposedModels[] = {"gpt2", "openai-gpt", "imagegpt",
                                             "decision_transformer"};

// Layers that transformers keeps in float32 whatever a model is stored as
// (they overflow), and so loads from no packed file.
struct KeptLayer {
  const char* model_type;
  const char* last_part;
};
constexpr KeptLayer kKeptInFloat[] = {
    {"t5", "wo"},   {"mt5", "wo"},       {"umt5", "wo"},
    {"udop", "wo"}, {"pop2piano", "wo"},
};

bool Fits(absl::string_view part, absl::string_view pattern) {
  const bool front = absl::ConsumePrefix(&pattern, "*");
  const bool back = absl::ConsumeSuffix(&pattern, "*");
  return front && back ? absl::StrContains(part, pattern)
         : front       ? absl::EndsWith(part, pattern)
         : back        ? absl::StartsWith(part, pattern)
                       : part == pattern;
}

bool FitsAny(absl::string_view part, absl::Span<const char* const> patterns) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const char* p) { return Fits(part, p); });
}

// The part of a name in lower case that stands for no linear layer, or "".
absl::string_view OtherPart(absl::string_view lower) {
  for (const absl::string_view part : absl::StrSplit(lower, '.')) {
    if (FitsAny(part, kOtherParts)) {
      return part;
    }
  }
  return "";
}

// Why a matrix of an unknown family stays dense; "": it is a linear layer.
std::string ReasonByName(absl::string_view module,
                         absl::string_view model_type) {
  for (const char* model : kTransposedModels) {
    if (model_type == model) {
      return absl::StrCat("matrices of ", model,
                          " are stored the other way round");
    }
  }
  const std::string lower = absl::AsciiStrToLower(module);
  const absl::string_view other = OtherPart(lower);
  if (!other.empty()) {
    return absl::StrCat("by its name ('", other, "') no linear layer");
  }
  const absl::string_view last =
      absl::string_view(lower).substr(lower.rfind('.') + 1);  // npos + 1 is 0
  for (const KeptLayer& kept : kKeptInFloat) {
    if (model_type == kept.model_type && last == kept.last_part) {
      return absl::StrCat("clients keep ", last, " of ", model_type,
                          " in float32");
    }
  }
  return FitsAny(last, kHeadParts)
             ? absl::StrCat("by its name ('", last, "') an output or a router")
             : "";
}

// Layers of one input that clients compute as one: what their names end in.
constexpr const char* kSiblings[][3] = {
    {"q_proj", "k_proj", "v_proj"},
    {"gate_proj", "up_proj", nullptr},
    {"w1", "w3", nullptr},
    {"query", "key", "value"},
};

// Numbers the sets of siblings. Experts of one layer share a set with their
// own gate and up matrices alone.
void NumberSiblings(LinearLayers* found) {
  std::map<std::pair<std::string, int>, int> numbers;
  for (LinearLayer& layer : found->layers) {
    const size_t dot = layer.module.rfind('.');
    if (dot == std::string::npos || !layer.dense_reason.empty()) {
      continue;
    }
    const absl::string_view last =
        absl::string_view(layer.module).substr(dot + 1);
    for (size_t set = 0; set < std::size(kSiblings); ++set) {
      for (const char* name : kSiblings[set]) {
        if (name != nullptr && last == name) {
          layer.siblings =
              numbers
                  .emplace(std::make_pair(layer.module.substr(0, dot),
                                          static_cast<int>(set)),
                           static_cast<int>(numbers.size()))
                  .first->second;
        }
      }
    }
  }
}

// What clients call output layers, and tensors of the models that have them.
struct TiedHead {
  const char* name;
  const char* beside;  // prefix of a tensor's name; "": any model
};
constexpr TiedHead kTiedHeads[] = {
    {"lm_head", ""},
    {"proj_out", "model.decoder.layers."},
    {"cls.predictions.decoder", "cls.predictions."},
    {"predictions.decoder", "predictions."},
    {"vocab_projector", "vocab_transform."},
    {"generator_lm_head", "generator_predictions."},
};

std::vector<std::string> FindTiedHeads(const TensorSource& source) {
  std::vector<std::string> names;
  for (const TiedHead& head : kTiedHeads) {
    const bool fits =
        std::any_of(source.tensors().begin(), source.tensors().end(),
                    [&](const TensorView& view) {
                      return absl::StartsWith(view.meta.name, head.beside);
                    });
    if (fits && source.Find(absl::StrCat(head.name, ".weight")) == nullptr) {
      names.push_back(head.name);
    }
  }
  return names;
}

}  // namespace

bool IsLookedUp(absl::string_view module) {
  return !OtherPart(absl::AsciiStrToLower(module)).empty();
}

std::string ModuleOf(absl::string_view tensor) {
  absl::ConsumeSuffix(&tensor, ".weight");
  return std::string(tensor);
}

absl::StatusOr<LinearLayers> FindLinearLayers(const ModelInput& input) {
  LinearLayers found;
  std::unordered_map<std::string, int> known;
  if (input.arch != nullptr) {
    ASSIGN_OR_RETURN(found.known, FindLinears(*input.source, *input.arch,
                                              input.config, *input.hf));
    for (size_t i = 0; i < found.known.size(); ++i) {
      known.emplace(found.known[i].hf_name, static_cast<int>(i));
    }
  }
  found.tied_heads = FindTiedHeads(*input.source);
  for (const TensorView& view : input.source->tensors()) {
    const TensorMeta& meta = view.meta;
    if (!absl::EndsWith(meta.name, ".weight") || meta.shape.size() != 2) {
      continue;
    }
    if (!IsFloat(meta.type)) {
      if (known.count(meta.name) > 0) {
        return absl::UnimplementedError(absl::StrCat(
            "tensor ", QuotedName(meta.name), " is ", TypeName(meta.type),
            ", and only f32, f16 and bf16 are quantized; decode the checkpoint "
            "first; at offset ",
            view.origin.offset, "; reading ", view.origin.file));
      }
      continue;
    }
    LinearLayer layer;
    layer.view = &view;
    layer.module = ModuleOf(meta.name);
    const auto it = known.find(meta.name);
    if (it != known.end()) {
      layer.known = it->second;
      const ModelLinear& linear = found.known[static_cast<size_t>(it->second)];
      layer.dense_reason = linear.is_router   ? "a router"
                           : linear.layer < 0 ? "the output matrix"
                                              : "";
    } else if (input.arch != nullptr) {
      layer.dense_reason = IsLookedUp(layer.module)
                               ? "by its name no linear layer"
                               : "not of the language model";
    } else {
      layer.dense_reason = ReasonByName(layer.module, input.model_type);
    }
    if (layer.dense_reason.empty() &&
        (meta.shape[0] < 2 || meta.shape[1] < 2)) {
      layer.dense_reason = "a vector";
    }
    found.layers.push_back(std::move(layer));
  }
  NumberSiblings(&found);
  return found;
}

}  // namespace narrow
