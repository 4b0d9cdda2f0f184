#include "formats/arch/linear_groups.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "formats/arch/stored_name.h"
#include "formats/arch/tensor_assembly.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

std::string WithLayer(absl::string_view pattern, int64_t layer) {
  return absl::StrReplaceAll(pattern, {{"{}", absl::StrCat(layer)}});
}

// The rule of a stored matrix that multiplies activations, or nullptr. Of
// several rules for one name none is a plain matrix.
const TensorRule* MatrixRule(const ArchSpec& spec, absl::string_view pattern) {
  for (const TensorRule& rule : spec.rules) {
    if (rule.hf_name == pattern) {
      const bool is_matrix = rule.shape[1] != TensorSize::kNone &&
                             rule.shape[2] == TensorSize::kNone;
      const bool is_left_out =
          rule.gguf_name == nullptr ||
          absl::string_view(rule.gguf_name) == "token_embd.weight";
      return is_matrix && !is_left_out ? &rule : nullptr;
    }
  }
  return nullptr;
}

absl::Status BadTensor(const TensorView& view, absl::string_view cause) {
  return absl::DataLossError(
      absl::StrCat("tensor '", view.meta.name, "' ", cause, "; at offset ",
                   view.origin.offset, "; reading ", view.origin.file));
}

// The linear layers of one block by the last part of their GGUF name
// ("attn_q") and expert.
class BlockLinears {
 public:
  BlockLinears(const std::vector<ModelLinear>& linears, int layer)
      : linears_(linears) {
    for (size_t i = 0; i < linears.size(); ++i) {
      if (linears[i].layer == layer) {
        const std::string prefix =
            layer < 0 ? "" : absl::StrCat("blk.", layer, ".");
        absl::string_view part = linears[i].gguf_name;
        absl::ConsumePrefix(&part, prefix);
        absl::ConsumeSuffix(&part, ".weight");
        index_[{std::string(part), linears[i].expert}] = i;
        n_experts_ = std::max(n_experts_, linears[i].expert + 1);
      }
    }
  }

  int n_experts() const { return n_experts_; }
  bool Has(absl::string_view part, int expert = -1) const {
    return index_.count({std::string(part), expert}) > 0;
  }
  const ModelLinear& Get(absl::string_view part, int expert = -1) const {
    return linears_[index_.at({std::string(part), expert})];
  }
  // Adds the layer to `group`; false if there is none.
  bool Take(absl::string_view part, int expert, LinearGroup* group) const {
    const auto it = index_.find({std::string(part), expert});
    if (it != index_.end()) {
      group->members.push_back(it->second);
    }
    return it != index_.end();
  }
  // A layer of the block, for the names of its neighbours; nullptr: none.
  const ModelLinear* any() const {
    return index_.empty() ? nullptr : &linears_[index_.begin()->second];
  }

 private:
  const std::vector<ModelLinear>& linears_;
  std::map<std::pair<std::string, int>, size_t> index_;
  int n_experts_ = 0;
};

// The norm `gguf_name` ("blk.{}.ffn_norm.weight") under the name it has in
// the checkpoint, whose language model may be part of a larger model.
Absorber NormAbsorber(const ArchSpec& spec, absl::string_view gguf_name,
                      const ModelLinear& neighbour) {
  Absorber absorber;
  for (const TensorRule& rule : spec.rules) {
    if (rule.gguf_name == nullptr || rule.gguf_name != gguf_name) {
      continue;
    }
    absorber.kind = Absorber::Kind::kNorm;
    absorber.norm_offset =
        rule.transform == TensorTransform::kAddOne ? 1.0f : 0.0f;
    const std::string layers = absl::StrCat("layers.", neighbour.layer, ".");
    absl::string_view name = rule.hf_name;
    const size_t at = neighbour.hf_name.find(layers);
    if (neighbour.layer >= 0 && at != std::string::npos) {
      name.remove_prefix(name.find("layers.{}.") + 10);
      absorber.hf_name =
          absl::StrCat(neighbour.hf_name.substr(0, at), layers, name);
    } else {
      absorber.hf_name = WithLayer(name, neighbour.layer);
    }
    break;
  }
  return absorber;
}

Absorber RowsAbsorber(const ModelLinear& linear, int64_t first_row) {
  Absorber absorber;
  absorber.kind = Absorber::Kind::kLinearRows;
  absorber.hf_name = linear.hf_name;
  absorber.first_row = first_row;
  return absorber;
}

LinearGroup AttentionInputs(const BlockLinears& block, const ArchSpec& spec) {
  LinearGroup group;
  bool complete = true;
  if (spec.traits.fused_qkv) {
    complete = block.Take("attn_qkv", -1, &group);
  } else {
    for (const char* part : {"attn_q", "attn_k", "attn_v"}) {
      complete &= block.Take(part, -1, &group);
    }
  }
  if (complete) {
    group.absorber =
        NormAbsorber(spec, "blk.{}.attn_norm.weight", *block.any());
  }
  return group;
}

// What the heads give is a mean of value rows, so a value row's scale goes
// through to the columns that are made of it.
LinearGroup AttentionOutput(const BlockLinears& block, const ArchSpec& spec,
                            const ModelConfig& c) {
  LinearGroup group;
  block.Take("attn_output", -1, &group);
  const char* value = spec.traits.fused_qkv ? "attn_qkv" : "attn_v";
  if (!block.Has(value)) {
    return group;
  }
  group.absorber = RowsAbsorber(
      block.Get(value),
      spec.traits.fused_qkv ? (c.n_heads + c.n_kv_heads) * c.head_dim : 0);
  if (c.n_heads != c.n_kv_heads) {
    const int64_t queries_per_value = c.n_heads / c.n_kv_heads;
    for (int64_t col = 0; col < c.n_heads * c.head_dim; ++col) {
      const int64_t head = col / c.head_dim / queries_per_value;
      group.absorber.row_of_column.push_back(
          static_cast<int32_t>(head * c.head_dim + col % c.head_dim));
    }
  }
  return group;
}

LinearGroup FeedForwardInputs(const BlockLinears& block, const ArchSpec& spec) {
  LinearGroup group;
  bool complete = true;
  if (block.n_experts() > 0 || block.Has("ffn_gate_inp")) {
    complete = block.Take("ffn_gate_inp", -1, &group) && block.n_experts() > 0;
    for (int e = 0; e < block.n_experts(); ++e) {
      complete &= block.Take("ffn_gate_exps", e, &group);
      complete &= block.Take("ffn_up_exps", e, &group);
    }
  } else {
    complete = spec.traits.fused_gate_up || block.Take("ffn_gate", -1, &group);
    complete &= block.Take("ffn_up", -1, &group);
  }
  if (complete) {
    group.absorber = NormAbsorber(spec, "blk.{}.ffn_norm.weight", *block.any());
  }
  return group;
}

// The gate's function of one row is multiplied with the row of `up`, so a
// scale of `up` goes through.
void AddFeedForwardOutputs(const BlockLinears& block, const ArchSpec& spec,
                           const ModelConfig& c,
                           std::vector<LinearGroup>* groups) {
  if (block.Has("ffn_down")) {
    LinearGroup& group = groups->emplace_back();
    block.Take("ffn_down", -1, &group);
    if (block.Has("ffn_up")) {
      group.absorber = RowsAbsorber(block.Get("ffn_up"),
                                    spec.traits.fused_gate_up ? c.ffn_size : 0);
    }
  }
  for (int e = 0; e < block.n_experts(); ++e) {
    if (block.Has("ffn_down_exps", e)) {
      LinearGroup& group = groups->emplace_back();
      block.Take("ffn_down_exps", e, &group);
      if (block.Has("ffn_up_exps", e)) {
        group.absorber = RowsAbsorber(block.Get("ffn_up_exps", e), 0);
      }
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<ModelLinear>> FindLinears(const TensorSource& source,
                                                     const ArchSpec& spec,
                                                     const ModelConfig& config,
                                                     const HfConfig& hf) {
  std::vector<ModelLinear> linears;
  std::set<std::pair<std::string, int>> seen;
  const int64_t limits[] = {config.n_layers, config.n_experts};
  for (const TensorView& view : source.tensors()) {
    const TensorMeta& meta = view.meta;
    if (IsOutsideLanguageModel(meta.name)) {
      continue;
    }
    const StoredName name = ParseStoredName(LanguageModelName(meta.name));
    const TensorRule* rule = MatrixRule(spec, name.pattern);
    bool is_known = rule != nullptr && name.numbers.size() <= 2;
    for (size_t i = 0; is_known && i < name.numbers.size(); ++i) {
      is_known = name.numbers[i] < limits[i];
    }
    if (!is_known) {
      continue;
    }
    const std::vector<int64_t> shape = ShapeOf(*rule, config);
    if (meta.shape != shape) {
      return BadTensor(
          view, absl::StrCat("is ", ShapeString(meta.shape), ", ", hf.file(),
                             " says ", ShapeString(shape)));
    }
    ModelLinear linear;
    linear.hf_name = meta.name;
    linear.layer =
        name.numbers.empty() ? -1 : static_cast<int>(name.numbers[0]);
    linear.expert =
        name.numbers.size() < 2 ? -1 : static_cast<int>(name.numbers[1]);
    linear.gguf_name = WithLayer(rule->gguf_name, linear.layer);
    linear.is_router = absl::EndsWith(linear.gguf_name, ".ffn_gate_inp.weight");
    linear.n_rows = shape[0];
    linear.n_cols = shape[1];
    if (!seen.insert({linear.gguf_name, linear.expert}).second) {
      return BadTensor(view,
                       absl::StrCat("is a second '", linear.gguf_name, "'"));
    }
    linears.push_back(std::move(linear));
  }
  return linears;
}

std::vector<LinearGroup> GroupsOfBlock(const std::vector<ModelLinear>& linears,
                                       const ArchSpec& spec,
                                       const ModelConfig& config, int layer) {
  const BlockLinears block(linears, layer);
  std::vector<LinearGroup> groups;
  if (block.any() == nullptr) {
    return groups;
  }
  if (layer < 0) {
    LinearGroup output;
    if (block.Take("output", -1, &output)) {
      output.absorber =
          NormAbsorber(spec, "output_norm.weight", block.Get("output"));
      groups.push_back(std::move(output));
    }
    return groups;
  }
  groups.push_back(AttentionInputs(block, spec));
  groups.push_back(AttentionOutput(block, spec, config));
  groups.push_back(FeedForwardInputs(block, spec));
  AddFeedForwardOutputs(block, spec, config, &groups);
  groups.erase(std::remove_if(groups.begin(), groups.end(),
                              [](const LinearGroup& group) {
                                return group.members.empty();
                              }),
               groups.end());
  return groups;
}

}  // namespace narrow
