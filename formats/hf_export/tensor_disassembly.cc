#include "formats/hf_export/tensor_disassembly.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "formats/arch/tensor_assembly.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// "blk.{}.attn_q.weight" of "blk.7.attn_q.weight".
std::string PatternOf(absl::string_view gguf_name, int layer) {
  if (layer < 0) {
    return std::string(gguf_name);
  }
  const std::string prefix = absl::StrCat("blk.", layer, ".");
  // A layer number with leading zeros is none that a rule means.
  return absl::StartsWith(gguf_name, prefix)
             ? absl::StrCat("blk.{}.", gguf_name.substr(prefix.size()))
             : std::string(gguf_name);
}

// The first "{}" is the layer, a second one the expert.
std::string HfName(const TensorRule& rule, int layer, int64_t expert) {
  std::string name = rule.hf_name;
  for (const int64_t number : {int64_t{layer}, expert}) {
    const size_t at = name.find("{}");
    if (at != std::string::npos) {
      name.replace(at, 2, absl::StrCat(number));
    }
  }
  return name;
}

absl::Status InFile(absl::StatusCode code, absl::string_view cause,
                    const Origin& origin) {
  return absl::Status(code, absl::StrCat(cause, "; at offset ", origin.offset,
                                         "; reading ", origin.file));
}

class Disassembler {
 public:
  explicit Disassembler(const Checkpoint& model)
      : model_(model), config_(model.config()) {}

  absl::StatusOr<Disassembly> Run() {
    if (model_.arch() == nullptr) {
      return absl::UnimplementedError(absl::StrCat(
          "model family '",
          model_.metadata().GetString("general.architecture").value_or(""),
          "' cannot be written as a Hugging Face directory; known are ",
          KnownArchNames(), "; reading ", model_.path()));
    }
    for (const TensorRule& rule : model_.arch()->rules) {
      if (rule.gguf_name != nullptr) {
        rules_.emplace(rule.gguf_name, &rule);  // the first counts
      }
    }
    for (const CheckpointTensor& tensor : model_.tensors()) {
      RETURN_IF_ERROR(Add(tensor));
    }
    RETURN_IF_ERROR(CheckComplete());
    std::sort(result_.tensors.begin(), result_.tensors.end(),
              [](const DisassembledTensor& a, const DisassembledTensor& b) {
                return a.meta.name < b.meta.name;
              });
    return std::move(result_);
  }

 private:
  absl::Status Add(const CheckpointTensor& tensor) {
    if (IsRopeFactors(tensor.meta.name) || IsScale(tensor.meta.name)) {
      return absl::OkStatus();
    }
    const auto it = rules_.find(PatternOf(tensor.meta.name, tensor.layer));
    if (it == rules_.end() || tensor.layer >= config_.n_layers) {
      return InFile(
          absl::StatusCode::kUnimplemented,
          absl::StrCat("tensor ", QuotedName(tensor.meta.name),
                       " has no place in a Hugging Face model of "
                       "family ",
                       config_.arch, " with ", config_.n_layers, " layers"),
          tensor.origin);
    }
    const TensorRule& rule = *it->second;
    std::vector<int64_t> shape = ShapeOf(rule, config_);
    const bool is_stack = rule.transform == TensorTransform::kStackExperts;
    std::vector<int64_t> stored = shape;
    if (is_stack) {
      stored.insert(stored.begin(), config_.n_experts);
    }
    if (tensor.meta.shape != stored) {
      return InFile(absl::StatusCode::kDataLoss,
                    absl::StrCat("tensor ", QuotedName(tensor.meta.name),
                                 " is ", ShapeString(tensor.meta.shape),
                                 ", metadata says ", ShapeString(stored)),
                    tensor.origin);
    }
    found_.insert({&rule, tensor.layer});
    const int64_t n = is_stack ? config_.n_experts : 1;
    for (int64_t expert = 0; expert < n; ++expert) {
      DisassembledTensor out;
      out.meta.name = HfName(rule, tensor.layer, expert);
      out.meta.shape = shape;
      out.source = &tensor;
      out.first_row = expert * out.meta.n_rows();
      Undo(rule.transform, &out);
      result_.tensors.push_back(std::move(out));
    }
    return absl::OkStatus();
  }

  // Scales are read with the weights that they multiply; those of inputs mean
  // nothing to weights that are not quantized.
  bool IsScale(absl::string_view name) const {
    const bool of_input = absl::ConsumeSuffix(&name, ".input_scale");
    if (!of_input && !absl::ConsumeSuffix(&name, ".scale")) {
      return false;
    }
    const CheckpointTensor* weight = model_.Find(absl::StrCat(name, ".weight"));
    return weight != nullptr && (of_input || !weight->scales.empty());
  }

  void Undo(TensorTransform transform, DisassembledTensor* out) const {
    switch (transform) {
      case TensorTransform::kInterleaveQuery:
      case TensorTransform::kInterleaveKey:
        out->group = config_.head_dim;
        out->groups_columns = out->meta.shape.size() == 1;
        break;
      case TensorTransform::kAddOne:
        out->offset = -1;
        break;
      case TensorTransform::kNone:
      case TensorTransform::kStackExperts:
      // Halves are written back by the rules for single experts.
      case TensorTransform::kGateHalf:
      case TensorTransform::kUpHalf:
        break;
    }
  }

  bool Has(const TensorRule& rule, int layer) const {
    return found_.count({&rule, layer}) > 0;
  }

  // Whether any layer has a tensor of a rule with this presence.
  bool HasAny(TensorPresence presence) const {
    return std::any_of(found_.begin(), found_.end(), [&](const auto& found) {
      return found.first->presence == presence;
    });
  }

  bool LayerHasExperts(int layer) const {
    return std::any_of(found_.begin(), found_.end(), [&](const auto& found) {
      return found.second == layer &&
             found.first->presence == TensorPresence::kExpertLayers;
    });
  }

  absl::Status CheckComplete() {
    result_.attention_bias = HasAny(TensorPresence::kAttentionBias);
    result_.mlp_bias = HasAny(TensorPresence::kMlpBias);
    const int n_layers = static_cast<int>(config_.n_layers);
    for (int layer = 0; layer < n_layers; ++layer) {
      const bool experts = LayerHasExperts(layer);
      if (config_.n_experts > 0 && !experts) {
        result_.dense_layers.push_back(layer);
      }
      for (const auto& [name, rule] : rules_) {
        if (absl::StartsWith(name, "blk.") && IsRequired(*rule, experts) &&
            !Has(*rule, layer)) {
          return Missing(absl::StrReplaceAll(
              name, {{"blk.{}", absl::StrCat("blk.", layer)}}));
        }
      }
    }
    for (const auto& [name, rule] : rules_) {
      if (!absl::StartsWith(name, "blk.") && IsRequired(*rule, false) &&
          !Has(*rule, -1)) {
        return Missing(name);
      }
    }
    return absl::OkStatus();
  }

  bool IsRequired(const TensorRule& rule, bool layer_has_experts) const {
    switch (rule.presence) {
      case TensorPresence::kAlways:
        return true;
      case TensorPresence::kOptional:
      case TensorPresence::kUntied:
        return false;
      case TensorPresence::kDenseLayers:
        return !layer_has_experts;
      case TensorPresence::kExpertLayers:
        return layer_has_experts;
      case TensorPresence::kAttentionBias:
        return result_.attention_bias;
      case TensorPresence::kMlpBias:
        return result_.mlp_bias && !layer_has_experts;
    }
    return false;
  }

  absl::Status Missing(absl::string_view name) const {
    return absl::DataLossError(absl::StrCat(
        "tensor '", name, "' is missing; reading ", model_.path()));
  }

  const Checkpoint& model_;
  const ModelConfig& config_;
  // Ordered, so that of several missing tensors always the same is named.
  std::map<std::string, const TensorRule*> rules_;     // by GGUF pattern
  std::set<std::pair<const TensorRule*, int>> found_;  // rule and layer
  Disassembly result_;
};

}  // namespace

absl::StatusOr<Disassembly> DisassembleTensors(const Checkpoint& model) {
  return Disassembler(model).Run();
}

int64_t GroupedIndex(int64_t i, int64_t group) {
  const int64_t in_group = i % group;
  const int64_t half = group / 2;
  return i - in_group +
         (in_group < half ? 2 * in_group : 2 * (in_group - half) + 1);
}

int64_t SourceRow(const DisassembledTensor& tensor, int64_t row) {
  if (tensor.group > 0 && !tensor.groups_columns) {
    row = GroupedIndex(row, tensor.group);
  }
  return tensor.first_row + row;
}

bool IsRopeFactors(absl::string_view gguf_name) {
  return gguf_name == "rope_freqs.weight" ||
         gguf_name == "rope_factors_long.weight" ||
         gguf_name == "rope_factors_short.weight";
}

}  // namespace narrow
