#include "converter/batch/release_file.h"

#include <google/protobuf/text_format.h>

#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "converter/batch/release_validation.h"
#include "converter/batch/target_solver.h"
#include "converter/mix/mix_rules.h"
#include "converter/quantize/recipe/method.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "converter/quantize/recipe/text_proto.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr int64_t kMaxReleaseBytes = 1 << 20;

absl::StatusOr<QuantType> TensorType(absl::string_view name) {
  const std::optional<QuantType> type = TypeFromName(name);
  if (!type.has_value() || FindCodec(*type) == nullptr ||
      Geometry(*type).ggml_id < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no tensor type ", QuotedName(name),
                     "; `narrow types` lists them"));
  }
  return *type;
}

// Names become parts of file names.
absl::Status CheckName(absl::string_view kind, const std::string& name) {
  if (name.empty() || name[0] == '.' ||
      name.find_first_of("/\\\n\r\t") != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the ", kind, "'s name ", QuotedName(name), " is no file name"));
  }
  return absl::OkStatus();
}

std::string ModelName(const std::string& path) {
  const std::filesystem::path normal =
      std::filesystem::path(path).lexically_normal();
  std::string name = normal.has_filename()
                         ? normal.filename().string()
                         : normal.parent_path().filename().string();
  return std::string(absl::StripSuffix(name, ".gguf"));
}

absl::Status PlanGguf(const ReleaseTarget& asked, PlannedTarget* target) {
  ASSIGN_OR_RETURN(target->recipe.file_type, ParseFileType(asked.to()));
  const std::vector<FileType> offered = OfferedFileTypes();
  if (std::find(offered.begin(), offered.end(), target->recipe.file_type) ==
      offered.end()) {
    return absl::UnimplementedError(
        absl::StrCat("file type ", asked.to(), " cannot be written"));
  }
  target->name = Info(target->recipe.file_type).name;
  target->recipe.pure = asked.pure();
  target->recipe.mode = asked.strict() ? Mode::kStrict : Mode::kCompat;
  if (asked.has_output_tensor_type()) {
    ASSIGN_OR_RETURN(target->recipe.output_type,
                     TensorType(asked.output_tensor_type()));
  }
  if (asked.has_token_embedding_type()) {
    ASSIGN_OR_RETURN(target->recipe.embedding_type,
                     TensorType(asked.token_embedding_type()));
  }
  for (const std::string& row : asked.tensor_type()) {
    const size_t equals = row.rfind('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor_type ", QuotedName(row), " is no PATTERN=TYPE"));
    }
    ASSIGN_OR_RETURN(const QuantType type, TensorType(row.substr(equals + 1)));
    target->recipe.overrides.push_back({row.substr(0, equals), type});
  }
  return absl::OkStatus();
}

absl::Status PlanPacked(const ReleaseTarget& asked, const std::string& folder,
                        PlannedTarget* target) {
  if (asked.has_imatrix() || asked.tensor_type_size() > 0 ||
      asked.has_output_tensor_type() || asked.has_token_embedding_type() ||
      asked.has_pure() || asked.has_strict() || asked.has_solver() ||
      asked.has_solver_options() || asked.has_calibration()) {
    return absl::InvalidArgumentError(
        "imatrix, tensor_type, output_tensor_type, token_embedding_type, pure, "
        "strict, solver, solver_options and calibration are of file types; a "
        "recipe has fields of its own");
  }
  target->is_gguf = false;
  target->quantize = asked.recipe();
  std::string base = folder;
  if (asked.has_recipe_file()) {
    const std::string file = ResolvedPath(folder, asked.recipe_file());
    ASSIGN_OR_RETURN(target->quantize, ReadRecipe(file));
    base = std::filesystem::path(file).parent_path().string();
  }
  const LayerRule& rule = target->quantize.rule();
  const std::string method =
      rule.has_method() ? rule.method() : std::string(AllMethods()[0].name);
  RETURN_IF_ERROR(GetMethod(method).status());
  target->name =
      rule.has_bits() ? absl::StrCat(method, "-", rule.bits(), "bit") : method;
  // Files are opened from anywhere, and settings do not depend on where.
  google::protobuf::TextFormat::PrintToString(target->quantize,
                                              &target->settings);
  if (target->quantize.has_imatrix()) {
    target->quantize.set_imatrix(
        ResolvedPath(base, target->quantize.imatrix()));
  }
  if (target->quantize.has_calibration()) {
    for (std::string& file :
         *target->quantize.mutable_calibration()->mutable_file()) {
      file = ResolvedPath(base, file);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<PlannedTarget> PlanTarget(const Release& release,
                                         const ReleaseModel& model,
                                         const ReleaseTarget& asked,
                                         const std::string& folder) {
  PlannedTarget target;
  const int n_kinds = (asked.has_to() ? 1 : 0) + (asked.has_recipe() ? 1 : 0) +
                      (asked.has_recipe_file() ? 1 : 0);
  if (n_kinds != 1) {
    return absl::InvalidArgumentError(
        "a target has one of: to, recipe, recipe_file");
  }
  if (asked.has_to()) {
    RETURN_IF_ERROR(PlanGguf(asked, &target));
    ReleaseTarget settings = asked;
    settings.clear_name();
    settings.clear_imatrix();
    RETURN_IF_ERROR(PlanSolver(
        asked,
        model.has_calibration() ? model.calibration() : release.calibration(),
        folder, &settings, &target));
    google::protobuf::TextFormat::PrintToString(settings, &target.settings);
    const std::string& matrix =
        asked.has_imatrix() ? asked.imatrix() : model.imatrix();
    target.imatrix = matrix == "none" ? "" : ResolvedPath(folder, matrix);
  } else {
    RETURN_IF_ERROR(PlanPacked(asked, folder, &target));
  }
  if (asked.has_name()) {
    target.name = asked.name();
  }
  RETURN_IF_ERROR(CheckName("target", target.name));
  return target;
}

absl::StatusOr<PlannedModel> PlanModel(const Release& release,
                                       const ReleaseModel& asked,
                                       const std::string& folder,
                                       const std::string& out) {
  PlannedModel model;
  if (asked.path().empty()) {
    return absl::InvalidArgumentError("a model without a path");
  }
  model.path = ResolvedPath(folder, asked.path());
  model.name = asked.has_name() ? asked.name() : ModelName(model.path);
  RETURN_IF_ERROR(CheckName("model", model.name));
  const auto& targets =
      asked.target_size() > 0 ? asked.target() : release.target();
  if (targets.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model ", QuotedName(model.name), " has no target"));
  }
  for (const ReleaseTarget& row : targets) {
    auto target = PlanTarget(release, asked, row, folder);
    RETURN_IF_ERROR(Annotate(target.status(),
                             absl::StrCat("model ", QuotedName(model.name))));
    target->output =
        JoinPath(out, absl::StrCat(model.name, "-", target->name,
                                   target->is_gguf ? ".gguf" : ""));
    model.targets.push_back(*std::move(target));
  }
  if (asked.has_validation() || release.has_validation()) {
    auto validation = PlanValidation(
        asked.has_validation() ? asked.validation() : release.validation(),
        folder);
    RETURN_IF_ERROR(Annotate(validation.status(),
                             absl::StrCat("model ", QuotedName(model.name))));
    model.validation = *std::move(validation);
  }
  return model;
}

}  // namespace

absl::StatusOr<ReleasePlan> ParseRelease(absl::string_view text,
                                         const std::string& path) {
  Release release;
  RETURN_IF_ERROR(ParseTextProto(text, path, &release));
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const std::string reading = absl::StrCat("reading ", path);
  ReleasePlan plan;
  if (release.out().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no out, the folder to write; ", reading));
  }
  plan.out = ResolvedPath(folder, release.out());
  if (release.model_size() == 0) {
    return absl::InvalidArgumentError(absl::StrCat("no model; ", reading));
  }
  std::set<std::string> outputs;
  for (const ReleaseModel& row : release.model()) {
    auto model = PlanModel(release, row, folder, plan.out);
    RETURN_IF_ERROR(Annotate(model.status(), reading));
    for (const PlannedTarget& target : model->targets) {
      if (!outputs.insert(target.output).second) {
        return absl::InvalidArgumentError(
            absl::StrCat("two targets would be ", target.output,
                         "; give one of them another name; ", reading));
      }
    }
    plan.models.push_back(*std::move(model));
  }
  return plan;
}

absl::StatusOr<ReleasePlan> ReadRelease(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadTextFile(path, kMaxReleaseBytes));
  return ParseRelease(text, path);
}

}  // namespace narrow
