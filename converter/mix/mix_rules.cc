// The rules of llama-quantize (llama.cpp 0.7, llama-quant.cpp) as data.
//
// A rule names the file types and roles it is for, a condition, and the type
// it gives. Rules stand in stages; in each stage the first rule that applies
// decides, and later stages see its choice. Nothing after the output stage
// touches a tensor that it decided.
//
// Oddities are kept on purpose, so that our bytes are llama.cpp's: a fused
// qkv tensor counts as a value tensor, the position of a tensor is a running
// count that tensors with overrides do not advance, and the bump for
// Llama-2-70B also meets models that llama.cpp calls 70B by their layers.
//
// Tested by: type_chooser_test, against choices recorded from llama-quantize.

#include "converter/mix/mix_rules.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Sets of file types and of roles, as bits.
using Files = uint64_t;
using Roles = uint32_t;

template <typename... T>
constexpr Files F(T... types) {
  return ((Files{1} << static_cast<int>(types)) | ...);
}

template <typename... T>
constexpr Roles R(T... roles) {
  return ((Roles{1} << static_cast<int>(roles)) | ...);
}

using T = FileType;
using Q = QuantType;
using Condition = bool (*)(const MixContext&);

constexpr Files kAll = ~Files{0};
constexpr Files kLow =
    F(T::kIQ1_S, T::kIQ1_M, T::kIQ2_XXS, T::kIQ2_XS, T::kIQ2_S, T::kIQ2_M);
constexpr Files kLow2S = F(T::kIQ2_S, T::kIQ2_M);
// Blocks with an exponent for a scale; theirs are the rules of their own.
constexpr Files kFloat4 = F(T::kMXFP4_MOE, T::kMXFP4, T::kNVFP4);
constexpr Files kHigh = kAll & ~kLow & ~kFloat4;
// Those whose values may come out as q3_k or q4_k.
constexpr Files kValueLow =
    F(T::kQ2_K, T::kQ2_K_S, T::kIQ3_XXS, T::kIQ3_XS, T::kIQ3_S, T::kIQ3_M,
      T::kQ3_K_S, T::kQ3_K_M, T::kQ3_K_L, T::kQ4_K_S, T::kQ4_K_M);

constexpr Roles kValue = R(TensorRole::kAttentionV, TensorRole::kAttentionQkv,
                           TensorRole::kAttentionKvB);
constexpr Roles kKey = R(TensorRole::kAttentionK);
constexpr Roles kQuery = R(TensorRole::kAttentionQ);
constexpr Roles kAttnOut = R(TensorRole::kAttentionOutput);
constexpr Roles kDown = R(TensorRole::kFfnDown);
constexpr Roles kUpGate = R(TensorRole::kFfnUp, TensorRole::kFfnGate);
constexpr Roles kEmbedding = R(TensorRole::kTokenEmbedding);
constexpr Roles kAny = ~Roles{0};

bool Always(const MixContext&) { return true; }
bool Falcon(const MixContext& c) { return c.model->arch == "falcon"; }
bool NotFalcon(const MixContext& c) { return !Falcon(c); }
bool Gqa4(const MixContext& c) {
  return c.model->n_kv_heads > 0 && c.model->n_heads / c.model->n_kv_heads >= 4;
}
bool Gqa4OrExperts4(const MixContext& c) {
  return Gqa4(c) || c.model->n_experts >= 4;
}
bool Experts8(const MixContext& c) { return c.model->n_experts == 8; }
bool Experts8NotFalcon(const MixContext& c) {
  return Experts8(c) && NotFalcon(c);
}
bool DenseNotFalcon(const MixContext& c) {
  return !Experts8(c) && NotFalcon(c);
}
bool NoImportance(const MixContext& c) { return !c.model->has_importance; }
bool First2(const MixContext& c) { return c.position < 2; }
bool First4(const MixContext& c) { return c.position < 4; }
bool FirstEighth(const MixContext& c) { return c.position < c.n_of_kind / 8; }
bool FirstSixteenth(const MixContext& c) {
  return c.position < c.n_of_kind / 16;
}
bool MiddleLayers(const MixContext& c) {
  return c.position >= c.n_of_kind / 8 && c.position < 7 * c.n_of_kind / 8;
}
// The first and last eighth, and every third between.
bool MoreBits(const MixContext& c) {
  return FirstEighth(c) || c.position >= 7 * c.n_of_kind / 8 ||
         (c.position - c.n_of_kind / 8) % 3 == 2;
}
bool FirstSixteenthFalcon(const MixContext& c) {
  return Falcon(c) && FirstSixteenth(c);
}
bool MoreBitsFalcon(const MixContext& c) { return Falcon(c) && MoreBits(c); }
bool MoreBitsNotFalcon(const MixContext& c) {
  return NotFalcon(c) && MoreBits(c);
}
bool MoreBitsOrNotFalcon(const MixContext& c) {
  return NotFalcon(c) || MoreBits(c);
}
bool FirstEighthNotFalcon(const MixContext& c) {
  return NotFalcon(c) && FirstEighth(c);
}
bool FirstEighthNoImportance(const MixContext& c) {
  return FirstEighth(c) && NoImportance(c);
}
bool FirstEighthImportance(const MixContext& c) {
  return FirstEighth(c) && !NoImportance(c);
}
bool FirstEighthOrExperts8MoreBits(const MixContext& c) {
  return FirstEighth(c) || (Experts8(c) && MoreBits(c));
}

// What llama.cpp takes for a model of 70B parameters.
struct Model70b {
  const char* arch;
  int64_t n_layers;
  bool grouped;  // only with fewer key than query heads
};

constexpr Model70b kModels70b[] = {
    {"llama", 80, true}, {"qwen2", 80, false}, {"deci", 80, false},
    {"olmo", 80, false}, {"jais2", 68, false},
};

// Llama-2-70B and its like: 8 heads share one small value matrix.
bool Low70b(const MixContext& c) {
  const MixModel& model = *c.model;
  return (c.current == Q::kQ3_K || c.current == Q::kQ4_K) &&
         std::any_of(
             std::begin(kModels70b), std::end(kModels70b),
             [&model](const Model70b& row) {
               return model.arch == row.arch &&
                      model.n_layers == row.n_layers &&
                      !(row.grouped && model.n_heads == model.n_kv_heads);
             });
}
bool Ragged(const MixContext& c) {
  return c.n_cols % Geometry(c.current).block_weights != 0;
}
// 3-dimensional tensors of this family's attention are no experts.
bool Experts(const MixContext& c) {
  return c.stacked && (c.model->arch != "bailingmoe3" ||
                       (R(c.role) & R(TensorRole::kFfnUp, TensorRole::kFfnGate,
                                      TensorRole::kFfnDown)) != 0);
}

// Matrices of one family that no mix stores in less than a type.
struct NamedRow {
  const char* arch;
  const char* part;  // of the name
  QuantType type;
};

constexpr NamedRow kNamed[] = {
    {"glm5-next", "attn_q_a", Q::kQ8_0},
    {"glm5-next", "attn_q_b", Q::kQ8_0},
    {"glm5-next", "nextn.eh_proj", Q::kQ8_0},
};

struct Rule {
  int stage;
  Files files;
  Roles roles;
  Condition when;
  QuantType type;
  const char* reason;
};

// The output matrix, or the token embedding in its place.
constexpr Files kOutputQ5 = kLow | F(T::kIQ3_XXS);
constexpr Rule kOutputRules[] = {
    {0, kFloat4, kAny, Always, Q::kQ8_0, "output"},
    {0, kAll, kAny, Falcon, Q::kQ8_0, "output of a Falcon model"},
    {0, kAll, kAny, Ragged, Q::kQ8_0, "output whose rows are ragged"},
    {0, kOutputQ5, kAny, Always, Q::kQ5_K, "output"},
    {0, kAll & ~F(T::kQ8_0), kAny, Always, Q::kQ6_K, "output"},
};

constexpr Rule kRules[] = {
    {0, F(T::kMXFP4_MOE), kAny, Experts, Q::kMXFP4, "experts"},
    {0, F(T::kMXFP4_MOE), kAny, Always, Q::kQ8_0, "not an expert"},
    {0, F(T::kMXFP4, T::kNVFP4), kEmbedding, Always, Q::kQ8_0,
     "token embedding"},

    // Token embedding beside an output matrix of its own.
    {0, F(T::kIQ2_XXS, T::kIQ2_XS, T::kIQ1_S, T::kIQ1_M), kEmbedding, Always,
     Q::kQ2_K, "token embedding"},
    {0, F(T::kIQ2_S, T::kIQ2_M, T::kIQ3_XXS), kEmbedding, Always, Q::kIQ3_S,
     "token embedding"},
    {0, F(T::kTQ1_0, T::kTQ2_0, T::kQ2_0), kEmbedding, Always, Q::kQ4_K,
     "token embedding"},

    // One and two bits.
    {0, kLow, kValue, Gqa4OrExperts4, Q::kQ4_K, "values shared by many heads"},
    {0, kLow2S, kValue, Always, Q::kIQ3_S, "attention values"},
    {0, kLow, kValue, Always, Q::kQ2_K, "attention values"},
    {0, kLow, kKey, Experts8, Q::kQ4_K, "keys of an 8-expert model"},
    {0, kLow2S, kDown, FirstEighth, Q::kIQ3_S, "first eighth of layers"},
    {0, kLow, kDown, FirstEighth, Q::kQ2_K, "first eighth of layers"},
    {0, kLow, kAttnOut, Experts8, Q::kQ5_K, "output of an 8-expert model"},
    {0, F(T::kIQ1_S, T::kIQ1_M), kAttnOut, Always, Q::kIQ2_XXS,
     "attention output"},
    {0, kLow2S, kAttnOut, Always, Q::kIQ3_S, "attention output"},

    // Attention values and what counts as such.
    {0, F(T::kQ2_K, T::kQ2_K_S), kValue, Gqa4, Q::kQ4_K,
     "values shared by many heads"},
    {0, F(T::kQ2_K), kValue, Always, Q::kQ3_K, "attention values"},
    {0, F(T::kIQ3_XXS, T::kIQ3_XS, T::kIQ3_S), kValue, Gqa4, Q::kQ4_K,
     "values shared by many heads"},
    {0, F(T::kIQ3_XXS), kValue, NoImportance, Q::kIQ3_S,
     "attention values, no importance matrix"},
    {0, F(T::kIQ3_M), kValue, Always, Q::kQ4_K, "attention values"},
    {0, F(T::kQ3_K_M), kValue, First2, Q::kQ5_K, "first two value tensors"},
    {0, F(T::kQ3_K_M), kValue, Always, Q::kQ4_K, "attention values"},
    {0, F(T::kQ3_K_L), kValue, Always, Q::kQ5_K, "attention values"},
    {0, F(T::kIQ4_NL, T::kIQ4_XS), kValue, Gqa4, Q::kQ5_K,
     "values shared by many heads"},
    {0, F(T::kQ4_K_M, T::kQ5_K_M), kValue, MoreBits, Q::kQ6_K,
     "values of outer and every third layer"},
    {0, F(T::kQ4_K_S), kValue, First4, Q::kQ5_K, "first four value tensors"},
    {1, kValueLow, kValue, Low70b, Q::kQ5_K, "values of a 70B model"},
    {2, kHigh, kValue, Experts8, Q::kQ8_0, "values of an 8-expert model"},

    // Attention keys and queries.
    {0, kHigh, kKey, Experts8, Q::kQ8_0, "keys of an 8-expert model"},
    {0, F(T::kIQ3_XS), kKey | kQuery, Always, Q::kIQ3_XXS, "keys, queries"},
    {0, F(T::kIQ3_XXS), kKey | kQuery, Always, Q::kIQ2_S, "keys, queries"},

    // Feed-forward down.
    {0, F(T::kQ2_K), kDown, Always, Q::kQ3_K, "feed-forward down"},
    {0, F(T::kQ2_K_S), kDown, FirstEighth, Q::kQ4_K, "first eighth of layers"},
    {0, F(T::kIQ3_XXS), kDown, FirstEighthNoImportance, Q::kQ4_K,
     "first eighth of layers, no importance matrix"},
    {0, F(T::kIQ3_XXS), kDown, NoImportance, Q::kQ3_K,
     "feed-forward down, no importance matrix"},
    {0, F(T::kQ3_K_M), kDown, FirstSixteenth, Q::kQ5_K,
     "first sixteenth of layers"},
    {0, F(T::kQ3_K_M), kDown, MoreBitsOrNotFalcon, Q::kQ4_K,
     "feed-forward down"},
    {0, F(T::kIQ3_M), kDown, FirstEighthOrExperts8MoreBits, Q::kQ4_K,
     "first eighth of layers"},
    {0, F(T::kQ3_K_L), kDown, Falcon, Q::kQ4_K, "feed-forward down"},
    {0, F(T::kQ3_K_L), kDown, Always, Q::kQ5_K, "feed-forward down"},
    {0, F(T::kQ4_K_M), kDown, FirstSixteenthFalcon, Q::kQ6_K,
     "first sixteenth of layers"},
    {0, F(T::kQ4_K_M), kDown, MoreBitsFalcon, Q::kQ5_K,
     "outer and every third layer"},
    {0, F(T::kQ4_K_M), kDown, MoreBitsNotFalcon, Q::kQ6_K,
     "outer and every third layer"},
    {0, F(T::kIQ4_NL, T::kIQ4_XS), kDown, FirstEighthNoImportance, Q::kQ5_K,
     "first eighth of layers, no importance matrix"},
    {0, F(T::kQ5_K_M), kDown, MoreBits, Q::kQ6_K,
     "outer and every third layer"},
    {0, F(T::kQ4_K_S), kDown, FirstEighthNotFalcon, Q::kQ5_K,
     "first eighth of layers"},
    {0, F(T::kQ4_0), kDown, FirstEighthImportance, Q::kQ4_1,
     "first eighth of layers, with importance matrix"},
    {0, F(T::kQ5_0), kDown, FirstEighthImportance, Q::kQ5_1,
     "first eighth of layers, with importance matrix"},

    // Attention output.
    {0,
     F(T::kQ2_K, T::kIQ3_XS, T::kIQ3_XXS, T::kQ3_K_S, T::kQ3_K_M, T::kIQ4_NL,
       T::kQ4_K_S, T::kQ4_K_M, T::kIQ3_S, T::kIQ3_M, T::kIQ4_XS),
     kAttnOut, Experts8NotFalcon, Q::kQ5_K, "output of an 8-expert model"},
    {0, F(T::kQ2_K), kAttnOut, DenseNotFalcon, Q::kQ3_K, "attention output"},
    {0, F(T::kIQ3_XXS), kAttnOut, DenseNotFalcon, Q::kIQ3_S,
     "attention output"},
    {0, F(T::kQ3_K_M, T::kIQ3_M), kAttnOut, DenseNotFalcon, Q::kQ4_K,
     "attention output"},
    {0, F(T::kQ3_K_L), kAttnOut, DenseNotFalcon, Q::kQ5_K, "attention output"},
    {0, F(T::kQ3_K_L), kAttnOut, Falcon, Q::kQ4_K, "attention output"},

    // Feed-forward up and gate.
    {0, F(T::kIQ3_XS), kUpGate, MiddleLayers, Q::kIQ3_XXS, "middle layers"},
};

// Relatives with blocks of 32, for rows that 256 (or 64) does not divide.
struct FallbackRow {
  QuantType type;
  QuantType fallback;
  Files files = kAll;
};

constexpr FallbackRow kFallbacks[] = {
    {Q::kIQ1_S, Q::kIQ4_NL},
    {Q::kIQ1_M, Q::kIQ4_NL},
    {Q::kIQ2_XXS, Q::kIQ4_NL},
    {Q::kIQ2_XS, Q::kIQ4_NL},
    {Q::kIQ2_S, Q::kIQ4_NL},
    {Q::kIQ3_XXS, Q::kIQ4_NL},
    {Q::kIQ3_S, Q::kIQ4_NL},
    {Q::kIQ4_XS, Q::kIQ4_NL},
    {Q::kQ2_0, Q::kQ4_0},
    {Q::kQ2_K, Q::kQ4_0},
    {Q::kQ3_K, Q::kQ4_0},
    {Q::kTQ1_0, Q::kQ4_0},
    {Q::kTQ2_0, Q::kQ4_0},
    {Q::kQ4_K, Q::kQ5_0},
    {Q::kQ5_K, Q::kQ5_1},
    {Q::kQ6_K, Q::kQ8_0},
    // llama-quantize has none for blocks of 64 with a float for a scale; a
    // file of them would be refused for one odd matrix.
    {Q::kNVFP4, Q::kIQ4_NL, F(T::kNVFP4)},
};

// Types that llama-quantize refuses to make of a layer's matrix without an
// importance matrix.
struct DemandRow {
  QuantType type;
  Files files = kAll;
};

constexpr DemandRow kDemandImportance[] = {
    {Q::kIQ1_S},
    {Q::kIQ1_M},
    {Q::kIQ2_XXS},
    {Q::kIQ2_XS},
    {Q::kIQ2_S},
    {Q::kIQ3_XXS},
    {Q::kQ2_K, F(T::kQ2_K_S)},
};

MixChoice ApplyRules(absl::Span<const Rule> rules, FileType file_type,
                     TensorRole role, MixContext context) {
  MixChoice choice = {context.current, "default of the file type",
                      context.current};
  int stage_done = -1;
  for (const Rule& rule : rules) {
    if (rule.stage == stage_done || (rule.files & F(file_type)) == 0 ||
        (rule.roles & R(role)) == 0 || !rule.when(context)) {
      continue;
    }
    choice = {rule.type, rule.reason, rule.type};
    context.current = rule.type;
    stage_done = rule.stage;
  }
  return choice;
}

// The N of "blk.N."; -1 if there is none.
int64_t LayerOf(absl::string_view name) {
  int64_t layer = -1;
  if (absl::StartsWith(name, "blk.")) {
    name.remove_prefix(4);
    const size_t dot = name.find('.');
    if (dot == absl::string_view::npos ||
        !absl::SimpleAtoi(name.substr(0, dot), &layer)) {
      return -1;
    }
  }
  return layer;
}

}  // namespace

absl::StatusOr<MixChoice> MixState::Choose(const TensorMeta& meta,
                                           TensorRole role) {
  MixContext context = {};
  context.model = &model_;
  context.n_cols = meta.n_cols();
  context.stacked =
      meta.shape.size() > 2 && meta.shape[meta.shape.size() - 3] > 1;
  context.current = Info(file_type_).default_type;
  context.role = role;

  for (const NamedRow& row : kNamed) {
    if (model_.arch == row.arch && absl::StrContains(meta.name, row.part)) {
      return MixChoice{row.type, "sensitive in this family", row.type};
    }
  }
  if (role == TensorRole::kOutput ||
      (role == TensorRole::kTokenEmbedding && model_.tied_embeddings)) {
    MixChoice choice = ApplyRules(kOutputRules, file_type_, role, context);
    context.n_cols = 0;  // whole blocks of any size
    choice.wanted = ApplyRules(kOutputRules, file_type_, role, context).type;
    return choice;
  }

  int64_t* counter = nullptr;
  if (IsAttentionV(role)) {
    counter = &n_attention_v_seen_;
    context.n_of_kind = model_.n_attention_v;
  } else if (role == TensorRole::kFfnUp || role == TensorRole::kFfnGate ||
             role == TensorRole::kFfnDown) {
    counter = &n_ffn_seen_[static_cast<int>(role) -
                           static_cast<int>(TensorRole::kFfnUp)];
    context.n_of_kind = model_.n_layers;
  }
  if (counter != nullptr) {
    context.position = *counter;
    // Experts are not stored in order, so the name says the layer; but the
    // one- and two-bit rules count all the same.
    if (!IsAttentionV(role) && model_.n_experts > 1 &&
        (kHigh & F(file_type_)) != 0) {
      const int64_t layer = LayerOf(meta.name);
      if (layer < 0 || layer >= model_.n_layers) {
        return absl::InvalidArgumentError(
            absl::StrCat("tensor '", meta.name, "' names no layer in [0, ",
                         model_.n_layers, "), the layers of this model"));
      }
      context.position = layer;
    }
    ++*counter;
  }
  return ApplyRules(kRules, file_type_, role, context);
}

std::optional<QuantType> FallbackType(FileType file_type, QuantType type,
                                      int64_t n_cols) {
  if (n_cols % Geometry(type).block_weights == 0) {
    return type;
  }
  QuantType next = type;
  for (const FallbackRow& row : kFallbacks) {
    if (row.type == type && (row.files & F(file_type)) != 0) {
      next = row.fallback;
    }
  }
  if (next == type && Geometry(type).block_weights > 32) {
    return std::nullopt;
  }
  return n_cols % Geometry(next).block_weights == 0 ? next : Q::kF16;
}

bool DemandsImportance(FileType file_type, QuantType type, TensorRole role) {
  const BlockCodec* codec = FindCodec(type);
  if (codec != nullptr && codec->requires_importance) {
    return true;
  }
  return role != TensorRole::kTokenEmbedding && role != TensorRole::kOutput &&
         std::any_of(std::begin(kDemandImportance), std::end(kDemandImportance),
                     [&](const DemandRow& row) {
                       return row.type == type &&
                              (row.files & F(file_type)) != 0;
                     });
}

std::vector<QuantType> PossibleTypes(FileType file_type) {
  std::vector<QuantType> types;
  const auto add = [&types](QuantType type) {
    if (std::find(types.begin(), types.end(), type) == types.end()) {
      types.push_back(type);
    }
  };
  add(Info(file_type).default_type);
  if (Geometry(Info(file_type).default_type).block_weights == 1) {
    return types;  // plain numbers know no mix
  }
  for (const absl::Span<const Rule> rules :
       {absl::Span<const Rule>(kOutputRules), absl::Span<const Rule>(kRules)}) {
    int decided = -1;  // stage in which one rule always applies
    for (const Rule& rule : rules) {
      if ((rule.files & F(file_type)) != 0 && rule.stage != decided) {
        add(rule.type);
        decided =
            rule.roles == kAny && rule.when == Always ? rule.stage : decided;
      }
    }
  }
  const size_t n_chosen = types.size();
  for (size_t i = 0; i < n_chosen; ++i) {
    for (const int64_t n_cols : {32, 1}) {
      const std::optional<QuantType> next =
          FallbackType(file_type, types[i], n_cols);
      if (next.has_value()) {
        add(*next);
      }
    }
  }
  return types;
}

std::vector<FileType> OfferedFileTypes() {
  std::vector<FileType> offered;
  for (const FileTypeInfo& info : AllFileTypes()) {
    const std::vector<QuantType> types = PossibleTypes(info.type);
    if (std::all_of(types.begin(), types.end(), [](QuantType type) {
          return FindCodec(type) != nullptr;
        })) {
      offered.push_back(info.type);
    }
  }
  return offered;
}

}  // namespace narrow
