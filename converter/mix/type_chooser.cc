#include "converter/mix/type_chooser.h"

#include <optional>
#include <regex>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "converter/mix/tensor_role.h"
#include "formats/base/status.h"

namespace narrow {

struct TypeChooser::Override {
  std::regex pattern;
  QuantType type;
  std::string text;
};

namespace {

// std::regex descends once a bracket.
constexpr size_t kMaxPatternBytes = 1000;

// libstdc++'s matcher that keeps all states at once: by backtracking, a
// pattern such as (a*)*b would take years on a long name. It has no
// back-references.
constexpr auto kSyntax =
    std::regex::ECMAScript | std::regex_constants::__polynomial;

// The choice, or InvalidArgument if rows do not divide into its blocks.
absl::StatusOr<TypeChoice> Exactly(const TensorMeta& meta, QuantType type,
                                   std::string reason) {
  const absl::StatusOr<int64_t> n_bytes = TensorBytes(type, meta.shape);
  if (!n_bytes.ok()) {
    return Annotate(
        n_bytes.status(),
        absl::StrCat("tensor '", meta.name, "'; choose another type for it"));
  }
  return TypeChoice{type, std::move(reason), type};
}

}  // namespace

TypeChooser::TypeChooser(TypeChooser&&) = default;
TypeChooser::~TypeChooser() = default;

TypeChooser::TypeChooser(const Recipe& recipe, std::vector<Override> overrides,
                         const MixModel& facts)
    : recipe_(recipe),
      overrides_(std::move(overrides)),
      mix_(recipe.file_type, facts) {}

absl::StatusOr<TypeChooser> TypeChooser::Create(const Recipe& recipe,
                                                const MixModel& facts) {
  std::vector<Override> overrides;
  for (const TypeOverride& row : recipe.overrides) {
    if (row.pattern.size() > kMaxPatternBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tensor-type pattern of ", row.pattern.size(),
                       " bytes; at most ", kMaxPatternBytes, " are accepted"));
    }
    // std::regex reports a bad pattern by throwing; it goes no further.
    try {
      overrides.push_back(
          {std::regex(absl::AsciiStrToLower(row.pattern), kSyntax), row.type,
           row.pattern});
    } catch (const std::regex_error& error) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tensor-type pattern '", row.pattern,
                       "' is not a regular expression: ", error.what()));
    }
  }
  return TypeChooser(recipe, std::move(overrides), facts);
}

const TypeChooser::Override* TypeChooser::FindOverride(
    const std::string& name) const {
  for (const Override& row : overrides_) {
    if (std::regex_search(name, row.pattern)) {
      return &row;
    }
  }
  return nullptr;
}

absl::StatusOr<TypeChoice> TypeChooser::Choose(const TensorMeta& meta) {
  const TensorRole role = RoleOf(meta.name);
  const absl::string_view keep = KeepReason(mix_.model().arch, meta);
  if (!keep.empty()) {
    return TypeChoice{meta.type, absl::StrCat("kept: ", keep), meta.type};
  }
  if (recipe_.leave_output && role == TensorRole::kOutput) {
    return TypeChoice{meta.type, "kept: --leave-output-tensor", meta.type};
  }
  const Override* named = FindOverride(meta.name);
  // The per-layer embedding table follows the embedding type unless an
  // override names it.
  const bool table_named =
      named != nullptr && meta.name == "per_layer_token_embd.weight";
  if (recipe_.embedding_type.has_value() && !table_named &&
      role == TensorRole::kTokenEmbedding) {
    return Exactly(meta, *recipe_.embedding_type, "--token-embedding-type");
  }
  if (recipe_.output_type.has_value() && role == TensorRole::kOutput) {
    return Exactly(meta, *recipe_.output_type, "--output-tensor-type");
  }
  return ChooseByRules(meta, named);
}

absl::StatusOr<TypeChoice> TypeChooser::ChooseByRules(const TensorMeta& meta,
                                                      const Override* named) {
  const TensorRole role = RoleOf(meta.name);
  const QuantType base = Info(recipe_.file_type).default_type;
  TypeChoice choice = {base, "default of the file type", base};
  // Overrides and mix rules do not touch file types of plain numbers.
  if (Geometry(base).block_weights == 1) {
    return choice;
  }
  if (named != nullptr) {
    choice.type = choice.wanted = named->type;
    choice.reason = absl::StrCat("--tensor-type ", named->text);
  } else if (recipe_.pure) {
    choice.reason = "--pure";
  } else if (recipe_.output_type.has_value() &&
             role == TensorRole::kTokenEmbedding &&
             mix_.model().tied_embeddings) {
    choice.type = choice.wanted = *recipe_.output_type;
    choice.reason = "--output-tensor-type: the embedding is the output";
  } else {
    ASSIGN_OR_RETURN(const MixChoice mixed, mix_.Choose(meta, role));
    choice.type = mixed.type;
    choice.reason = mixed.reason;
    choice.wanted = mixed.wanted;
  }
  const std::optional<QuantType> fits =
      FallbackType(recipe_.file_type, choice.type, meta.n_cols());
  if (!fits.has_value()) {
    return Exactly(meta, choice.type, choice.reason);  // says what is wrong
  }
  if (*fits != choice.type) {
    const TypeGeometry& g = Geometry(choice.type);
    absl::StrAppend(&choice.reason, "; ", g.name, " needs rows of whole blocks",
                    " of ", g.block_weights, ", this has ", meta.n_cols());
    choice.type = *fits;
  }
  return choice;
}

}  // namespace narrow
