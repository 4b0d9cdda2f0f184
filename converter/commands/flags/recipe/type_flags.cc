#include "converter/commands/flags/recipe/type_flags.h"

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{16} << 20;

absl::Status AddOverride(absl::string_view row, absl::string_view flag,
                         Recipe* recipe) {
  const size_t equals = row.rfind('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " '", row, "' is not PATTERN=TYPE"));
  }
  ASSIGN_OR_RETURN(const QuantType type,
                   ParseTensorType(row.substr(equals + 1), flag));
  recipe->overrides.push_back({std::string(row.substr(0, equals)), type});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<QuantType> ParseTensorType(absl::string_view name,
                                          absl::string_view flag) {
  std::vector<std::string> names;
  for (const BlockCodec* codec : AllCodecs()) {
    names.push_back(TypeName(codec->type));
  }
  const std::optional<QuantType> type = TypeFromName(name);
  if (!type.has_value() || FindCodec(*type) == nullptr ||
      Geometry(*type).ggml_id < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        flag, ": there is no tensor type '", name, "' to convert to; the ",
        "nearest is ", NearestName(name, names),
        "; `narrow types` lists them all"));
  }
  return *type;
}

void AddTypeFlags(CLI::App* command, TypeFlags* flags) {
  command
      ->add_option("--mode", flags->mode,
                   "compat: types as llama-quantize chooses them, others "
                   "where rows do not divide; strict: fail and list the "
                   "tensors that would fall back or lack importance")
      ->check(CLI::IsMember({"compat", "strict"}))
      ->capture_default_str();
  command->add_flag("--pure", flags->pure,
                    "one type for all tensors, no mix of types");
  command
      ->add_option("--tensor-type", flags->tensor_types,
                   "type for tensors whose name the regular expression "
                   "finds; repeatable, the first that matches decides")
      ->type_name("PATTERN=TYPE")
      ->allow_extra_args(false);
  command
      ->add_option("--tensor-type-file", flags->tensor_type_file,
                   "file of PATTERN=TYPE, separated by spaces or lines, "
                   "after those of --tensor-type")
      ->type_name("FILE");
  command
      ->add_option("--output-tensor-type", flags->output_type,
                   "type of the output matrix")
      ->type_name("TYPE");
  command
      ->add_option("--token-embedding-type", flags->embedding_type,
                   "type of the token embedding")
      ->type_name("TYPE");
  command->add_flag("--leave-output-tensor", flags->leave_output,
                    "keep the output matrix as it is");
  command->add_flag("--allow-requantize", flags->allow_requantize,
                    "accept an input that is already quantized");
}

absl::Status AddTypeOptions(const TypeFlags& flags, Recipe* recipe) {
  recipe->mode = flags.mode == "strict" ? Mode::kStrict : Mode::kCompat;
  recipe->pure = flags.pure;
  recipe->leave_output = flags.leave_output;
  recipe->allow_requantize = flags.allow_requantize;
  if (!flags.output_type.empty()) {
    ASSIGN_OR_RETURN(
        recipe->output_type,
        ParseTensorType(flags.output_type, "--output-tensor-type"));
  }
  if (!flags.embedding_type.empty()) {
    ASSIGN_OR_RETURN(
        recipe->embedding_type,
        ParseTensorType(flags.embedding_type, "--token-embedding-type"));
  }
  for (const std::string& row : flags.tensor_types) {
    RETURN_IF_ERROR(AddOverride(row, "--tensor-type", recipe));
  }
  if (flags.tensor_type_file.empty()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string text,
                   ReadTextFile(flags.tensor_type_file, kMaxFileBytes));
  for (const absl::string_view row : absl::StrSplit(
           text, absl::ByAnyChar(" \t\r\n\v\f"), absl::SkipEmpty())) {
    RETURN_IF_ERROR(Annotate(AddOverride(row, "--tensor-type-file", recipe),
                             absl::StrCat("reading ", flags.tensor_type_file)));
  }
  return absl::OkStatus();
}

}  // namespace narrow
