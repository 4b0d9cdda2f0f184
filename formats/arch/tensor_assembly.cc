#include "formats/arch/tensor_assembly.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "formats/arch/stored_name.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

absl::Status InFile(absl::StatusCode code, absl::string_view cause,
                    const Origin& origin) {
  return absl::Status(code, absl::StrCat(cause, "; at offset ", origin.offset,
                                         "; reading ", origin.file));
}

int64_t SizeOf(TensorSize size, const ModelConfig& c) {
  switch (size) {
    case TensorSize::kNone:
      return 0;
    case TensorSize::kHidden:
      return c.hidden_size;
    case TensorSize::kQuery:
      return c.n_heads * c.head_dim;
    case TensorSize::kKey:
      return c.n_kv_heads * c.head_dim;
    case TensorSize::kQkv:
      return (c.n_heads + 2 * c.n_kv_heads) * c.head_dim;
    case TensorSize::kHeadDim:
      return c.head_dim;
    case TensorSize::kFfn:
      return c.ffn_size;
    case TensorSize::kTwoFfn:
      return 2 * c.ffn_size;
    case TensorSize::kExperts:
      return c.n_experts;
    case TensorSize::kExpertFfn:
      return c.expert_ffn_size;
    case TensorSize::kTwoExpertFfn:
      return 2 * c.expert_ffn_size;
    case TensorSize::kVocab:
      return c.vocab_size;
  }
  return 0;
}

std::string Instance(const char* pattern, int64_t layer) {
  return absl::StrReplaceAll(pattern,
                             {{"blk.{}", absl::StrCat("blk.", layer)},
                              {"layers.{}", absl::StrCat("layers.", layer)}});
}

float ValueAt(const TensorView& view, int64_t i) {
  const uint8_t* p = view.data.data();
  if (view.meta.type == QuantType::kF32) {
    float value;
    std::memcpy(&value, p + 4 * i, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, p + 2 * i, sizeof(bits));
  return view.meta.type == QuantType::kF16 ? FloatFromF16(bits)
                                           : FloatFromBf16(bits);
}

std::shared_ptr<const std::vector<uint8_t>> BytesOf(
    const std::vector<float>& values) {
  auto bytes =
      std::make_shared<std::vector<uint8_t>>(values.size() * sizeof(float));
  std::memcpy(bytes->data(), values.data(), bytes->size());
  return bytes;
}

// Programs that quantize give every layer a bias, of zeros where the model has
// none.
bool IsZeroBias(const TensorView& view) {
  return absl::EndsWith(view.meta.name, ".bias") &&
         view.meta.shape.size() == 1 &&
         std::all_of(view.data.begin(), view.data.end(),
                     [](uint8_t byte) { return byte == 0; });
}

class Assembler {
 public:
  explicit Assembler(const AssemblyInputs& inputs) : in_(inputs) {
    for (const TensorRule& rule : in_.spec.rules) {
      rules_[rule.hf_name].push_back(&rule);
    }
  }

  absl::StatusOr<Assembly> Run() {
    CollectSources();
    RETURN_IF_ERROR(ChooseMatrixType());
    AddRopeFactors();
    for (size_t i = 0; i < sources_.size(); ++i) {
      position_ = i;
      RETURN_IF_ERROR(AddSource(sources_[i]));
    }
    RETURN_IF_ERROR(FinishStacks());
    RETURN_IF_ERROR(CheckComplete());
    std::stable_sort(
        made_.begin(), made_.end(), [](const Made& a, const Made& b) {
          return std::tie(a.position, a.rule) < std::tie(b.position, b.rule);
        });
    Assembly assembly;
    assembly.matrix_type = matrix_type_;
    for (Made& made : made_) {
      assembly.tensors.push_back(std::move(made.tensor));
    }
    return assembly;
  }

 private:
  struct Source {
    std::string name;  // without the parts that multimodal models add
    const TensorView* view;
  };
  // A finished tensor and the place it is written at: that of the stored
  // tensor that completed it, then the order of the rules.
  struct Made {
    int64_t position;
    const TensorRule* rule;
    CheckpointTensor tensor;
  };
  struct Stack {
    const TensorRule* rule;
    int64_t layer;
    std::vector<const TensorView*> experts;
  };

  // File by file, by name within a file: the order in which the converter
  // sees them.
  void CollectSources() {
    for (const TensorView& view : in_.source.tensors()) {
      if (!IsOutsideLanguageModel(view.meta.name)) {
        sources_.push_back({LanguageModelName(view.meta.name), &view});
      }
    }
    std::sort(sources_.begin(), sources_.end(),
              [](const Source& a, const Source& b) {
                return std::tie(a.view->origin.file, a.view->meta.name) <
                       std::tie(b.view->origin.file, b.view->meta.name);
              });
  }

  // The type of the first 16-bit matrix decides; without one it is f16.
  absl::Status ChooseMatrixType() {
    if (in_.intermediate == "f32" || in_.intermediate == "exact") {
      matrix_type_ = QuantType::kF32;
    } else if (in_.intermediate == "f16") {
      matrix_type_ = QuantType::kF16;
    } else if (in_.intermediate == "bf16") {
      matrix_type_ = QuantType::kBF16;
    } else if (in_.intermediate == "auto" || in_.intermediate.empty()) {
      matrix_type_ = QuantType::kF16;
      for (const Source& source : sources_) {
        const TensorMeta& meta = source.view->meta;
        if (meta.shape.size() >= 2 &&
            (meta.type == QuantType::kBF16 || meta.type == QuantType::kF16) &&
            !IsLeftOut(source.name)) {
          matrix_type_ = meta.type;
          break;
        }
      }
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("intermediate type '", in_.intermediate,
                       "' is none of auto, f32, f16, bf16, exact"));
    }
    return absl::OkStatus();
  }

  bool IsLeftOut(absl::string_view name) const {
    const auto it = rules_.find(ParseStoredName(name).pattern);
    return it != rules_.end() && it->second[0]->gguf_name == nullptr;
  }

  QuantType GgufType(const CheckpointTensor& tensor) const {
    const std::string& name = tensor.meta.name;
    const bool is_f32 = tensor.meta.shape.size() <= 1 ||
                        absl::EndsWith(name, "_norm.weight") ||
                        absl::EndsWith(name, ".ffn_gate_inp.weight") ||
                        !absl::EndsWith(name, ".weight");
    return is_f32 ? QuantType::kF32 : matrix_type_;
  }

  absl::Status AddSource(const Source& source) {
    const TensorMeta& meta = source.view->meta;
    const StoredName parsed = ParseStoredName(source.name);
    const auto it = rules_.find(parsed.pattern);
    const int64_t limits[] = {in_.config.n_layers, in_.config.n_experts};
    bool is_known = it != rules_.end() && parsed.numbers.size() <= 2;
    for (size_t i = 0; is_known && i < parsed.numbers.size(); ++i) {
      is_known = parsed.numbers[i] < limits[i];
    }
    if (!is_known && IsZeroBias(*source.view)) {
      return absl::OkStatus();
    }
    if (!is_known) {
      return InFile(
          absl::StatusCode::kUnimplemented,
          absl::StrCat("tensor '", meta.name, "' is none that a ",
                       in_.hf.architecture(), " of ", in_.config.n_layers,
                       " layers and ", in_.config.n_experts, " experts has"),
          source.view->origin);
    }
    if (meta.type != QuantType::kF32 && meta.type != QuantType::kF16 &&
        meta.type != QuantType::kBF16) {
      return InFile(
          absl::StatusCode::kUnimplemented,
          absl::StrCat("tensor '", meta.name, "' is ", TypeName(meta.type),
                       ", and only f32, f16 and bf16 are supported; "
                       "decode the checkpoint first"),
          source.view->origin);
    }
    for (const TensorRule* rule : it->second) {
      const std::vector<int64_t> shape = ShapeOf(*rule, in_.config);
      if (meta.shape != shape) {
        return InFile(absl::StatusCode::kDataLoss,
                      absl::StrCat("tensor '", meta.name, "' is ",
                                   ShapeString(meta.shape), ", config says ",
                                   ShapeString(shape)),
                      source.view->origin);
      }
      if (rule->gguf_name != nullptr) {
        RETURN_IF_ERROR(Apply(*rule, parsed, *source.view));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Apply(const TensorRule& rule, const StoredName& parsed,
                     const TensorView& view) {
    const int64_t layer = parsed.numbers.empty() ? -1 : parsed.numbers[0];
    if (rule.transform == TensorTransform::kStackExperts) {
      return AddExpert(rule, layer, parsed.numbers[1], view);
    }
    CheckpointTensor tensor;
    tensor.meta.name = Instance(rule.gguf_name, layer);
    tensor.meta.shape = view.meta.shape;
    tensor.stored = view.meta.type;
    tensor.layer = static_cast<int>(layer);
    tensor.origin = view.origin;
    const int64_t n_rows = view.meta.n_rows();
    switch (rule.transform) {
      case TensorTransform::kNone:
      case TensorTransform::kStackExperts:
        tensor.segments = {{&view, 0, n_rows}};
        break;
      case TensorTransform::kInterleaveQuery:
      case TensorTransform::kInterleaveKey:
        Interleave(view, &tensor);
        break;
      case TensorTransform::kAddOne:
        AddOne(view, &tensor);
        break;
      case TensorTransform::kGateHalf:
      case TensorTransform::kUpHalf:
        TakeHalf(rule, view, &tensor);
        break;
    }
    if (rule.shape[0] == TensorSize::kVocab && in_.max_vocab >= 0 &&
        in_.max_vocab < n_rows && tensor.meta.name == "token_embd.weight") {
      tensor.meta.shape[0] = in_.max_vocab;
      tensor.segments = {{&view, 0, in_.max_vocab}};
    }
    return Finish(&rule, position_, std::move(tensor));
  }

  // Matrices are interleaved while they are read, biases now: a bias is one
  // row.
  void Interleave(const TensorView& view, CheckpointTensor* tensor) const {
    const int64_t group = in_.config.head_dim;
    if (view.meta.shape.size() == 2) {
      tensor->segments = {{&view, 0, view.meta.n_rows()}};
      tensor->interleave_group = group;
      return;
    }
    std::vector<float> values;
    for (int64_t i = 0; i < view.meta.n_cols(); ++i) {
      const int64_t in_head = i % group;
      values.push_back(
          ValueAt(view, i - in_head + in_head / 2 + in_head % 2 * group / 2));
    }
    tensor->owned = BytesOf(values);
    tensor->stored = QuantType::kF32;
  }

  // The converter adds in the stored type if that is f16, else in f32.
  void AddOne(const TensorView& view, CheckpointTensor* tensor) const {
    if (view.meta.type != QuantType::kF16 || in_.intermediate == "exact") {
      tensor->segments = {{&view, 0, view.meta.n_rows()}};
      tensor->offset = 1;
      return;
    }
    std::vector<float> values;
    for (int64_t i = 0; i < view.meta.n_cols(); ++i) {
      values.push_back(FloatFromF16(F16FromFloat(ValueAt(view, i) + 1.0f)));
    }
    tensor->owned = BytesOf(values);
    tensor->stored = QuantType::kF32;
  }

  void TakeHalf(const TensorRule& rule, const TensorView& view,
                CheckpointTensor* tensor) const {
    const int64_t both = view.meta.shape[1];
    const int64_t first =
        rule.transform == TensorTransform::kUpHalf ? both / 2 : 0;
    tensor->meta.shape[1] = both / 2;
    for (int64_t e = 0; e < view.meta.shape[0]; ++e) {
      tensor->segments.push_back({&view, e * both + first, both / 2});
    }
  }

  absl::Status AddExpert(const TensorRule& rule, int64_t layer, int64_t expert,
                         const TensorView& view) {
    Stack& stack = stacks_[Instance(rule.gguf_name, layer)];
    if (stack.rule == nullptr) {
      stack.rule = &rule;
      stack.layer = layer;
      stack.experts.resize(static_cast<size_t>(in_.config.n_experts));
    }
    const TensorView*& slot = stack.experts[static_cast<size_t>(expert)];
    if (slot != nullptr) {
      return InFile(
          absl::StatusCode::kDataLoss,
          absl::StrCat("tensor '", view.meta.name, "' is there twice"),
          view.origin);
    }
    slot = &view;
    // A layer's stacks are written when the last of its experts is there.
    int64_t& last = last_expert_[layer];
    last = std::max(last, static_cast<int64_t>(position_));
    return absl::OkStatus();
  }

  absl::Status FinishStacks() {
    for (auto& [name, stack] : stacks_) {
      CheckpointTensor tensor;
      tensor.meta.name = name;
      tensor.meta.shape = ShapeOf(*stack.rule, in_.config);
      tensor.meta.shape.insert(tensor.meta.shape.begin(), in_.config.n_experts);
      tensor.layer = static_cast<int>(stack.layer);
      for (size_t e = 0; e < stack.experts.size(); ++e) {
        const TensorView* view = stack.experts[e];
        if (view == nullptr) {
          return Missing(
              absl::StrReplaceAll(Instance(stack.rule->hf_name, stack.layer),
                                  {{"{}", absl::StrCat(e)}}));
        }
        if (view->meta.type != stack.experts[0]->meta.type) {
          return InFile(
              absl::StatusCode::kUnimplemented,
              absl::StrCat("tensor '", view->meta.name, "' is ",
                           TypeName(view->meta.type), ", expert 0 is ",
                           TypeName(stack.experts[0]->meta.type)),
              view->origin);
        }
        tensor.segments.push_back({view, 0, view->meta.n_rows()});
      }
      tensor.stored = stack.experts[0]->meta.type;
      tensor.origin = stack.experts[0]->origin;
      RETURN_IF_ERROR(
          Finish(stack.rule, last_expert_[stack.layer], std::move(tensor)));
    }
    return absl::OkStatus();
  }

  // Generated tensors come before all that are stored.
  void AddRopeFactors() {
    const RopeScaling& scaling = in_.config.rope_scaling;
    const std::pair<const char*, const std::vector<float>&> lists[] = {
        {"rope_freqs.weight", scaling.freq_factors},
        {"rope_factors_long.weight", scaling.long_factors},
        {"rope_factors_short.weight", scaling.short_factors},
    };
    for (const auto& [name, values] : lists) {
      if (values.empty()) {
        continue;
      }
      CheckpointTensor tensor;
      tensor.meta.name = name;
      tensor.meta.shape = {static_cast<int64_t>(values.size())};
      tensor.meta.type = QuantType::kF32;
      tensor.owned = BytesOf(values);
      tensor.origin.file = in_.hf.file();
      made_names_.insert(name);
      made_.push_back({-1, nullptr, std::move(tensor)});
    }
  }

  absl::Status Finish(const TensorRule* rule, size_t position,
                      CheckpointTensor tensor) {
    tensor.meta.type = GgufType(tensor);
    if (!made_names_.insert(tensor.meta.name).second) {
      return InFile(absl::StatusCode::kDataLoss,
                    absl::StrCat("two tensors become '", tensor.meta.name, "'"),
                    tensor.origin);
    }
    made_.push_back({static_cast<int64_t>(position), rule, std::move(tensor)});
    return absl::OkStatus();
  }

  absl::Status Missing(absl::string_view hf_name) const {
    const std::string file = in_.source.tensors().empty()
                                 ? std::string(in_.hf.file())
                                 : in_.source.tensors()[0].origin.file;
    return absl::DataLossError(
        absl::StrCat("tensor '", hf_name, "' is missing; reading ", file));
  }

  // Layers with experts, by mlp_only_layers and decoder_sparse_step.
  absl::StatusOr<std::vector<bool>> LayersWithExperts() const {
    std::vector<bool> has(static_cast<size_t>(in_.config.n_layers),
                          in_.config.n_experts > 0);
    if (in_.config.n_experts == 0) {
      return has;
    }
    ASSIGN_OR_RETURN(const std::optional<int64_t> step,
                     in_.hf.FindSize({"decoder_sparse_step"}, 1 << 16));
    for (size_t i = 0; i < has.size(); ++i) {
      has[i] = step.value_or(1) > 0 &&
               (static_cast<int64_t>(i) + 1) % step.value_or(1) == 0;
    }
    if (std::optional<JsonValue> list = in_.hf.Find({"mlp_only_layers"})) {
      ASSIGN_OR_RETURN(const std::vector<JsonValue> layers,
                       list->GetElements());
      for (const JsonValue& layer : layers) {
        ASSIGN_OR_RETURN(const int64_t i, layer.GetInteger());
        if (i >= 0 && i < in_.config.n_layers) {
          has[static_cast<size_t>(i)] = false;
        }
      }
    }
    return has;
  }

  absl::Status CheckComplete() const {
    ASSIGN_OR_RETURN(const std::vector<bool> has_experts, LayersWithExperts());
    ASSIGN_OR_RETURN(const bool attention_bias,
                     in_.hf.FindBool({"attention_bias"}, false));
    ASSIGN_OR_RETURN(const bool mlp_bias, in_.hf.FindBool({"mlp_bias"}, false));
    // Without a class to give the default, the head may be absent.
    ASSIGN_OR_RETURN(
        const bool is_tied,
        in_.hf.FindBool({"tie_word_embeddings"}, in_.hf.hf_class() == nullptr));
    for (const TensorRule& rule : in_.spec.rules) {
      const bool in_layers = absl::StrContains(rule.hf_name, "layers.{}");
      const int64_t n = in_layers ? in_.config.n_layers : 1;
      for (int64_t layer = 0; layer < n; ++layer) {
        const bool experts = in_layers && has_experts[layer];
        bool required = false;
        switch (rule.presence) {
          case TensorPresence::kAlways:
            required = true;
            break;
          case TensorPresence::kOptional:
            break;
          case TensorPresence::kDenseLayers:
            required = !experts;
            break;
          case TensorPresence::kExpertLayers:
            required = experts;
            break;
          case TensorPresence::kAttentionBias:
            required = attention_bias;
            break;
          case TensorPresence::kMlpBias:
            required = mlp_bias && !experts;
            break;
          case TensorPresence::kUntied:
            required = !is_tied;
            break;
        }
        if (required &&
            made_names_.count(Instance(rule.gguf_name, layer)) == 0) {
          return Missing(absl::StrReplaceAll(Instance(rule.hf_name, layer),
                                             {{"{}", "0"}}));
        }
      }
    }
    return absl::OkStatus();
  }

  const AssemblyInputs& in_;
  std::unordered_map<std::string, std::vector<const TensorRule*>> rules_;
  std::vector<Source> sources_;
  QuantType matrix_type_ = QuantType::kF16;
  size_t position_ = 0;
  std::map<std::string, Stack> stacks_;               // by GGUF name
  std::unordered_map<int64_t, int64_t> last_expert_;  // by layer
  std::unordered_set<std::string> made_names_;
  std::vector<Made> made_;
};

}  // namespace

std::vector<int64_t> ShapeOf(const TensorRule& rule, const ModelConfig& c) {
  std::vector<int64_t> shape;
  for (TensorSize size : rule.shape) {
    if (size != TensorSize::kNone) {
      shape.push_back(SizeOf(size, c));
    }
  }
  return shape;
}

absl::StatusOr<Assembly> AssembleTensors(const AssemblyInputs& inputs) {
  return Assembler(inputs).Run();
}

int32_t FileTypeOf(QuantType matrix_type) {
  switch (matrix_type) {
    case QuantType::kF32:
      return 0;
    case QuantType::kF16:
      return 1;
    default:
      assert(matrix_type == QuantType::kBF16);
      return 32;
  }
}

int LayerOf(absl::string_view gguf_name) {
  if (!absl::ConsumePrefix(&gguf_name, "blk.")) {
    return -1;
  }
  const size_t dot = gguf_name.find('.');
  int layer;
  if (dot == absl::string_view::npos || dot > 6 ||
      !absl::SimpleAtoi(gguf_name.substr(0, dot), &layer) || layer < 0) {
    return -1;
  }
  return layer;
}

}  // namespace narrow
