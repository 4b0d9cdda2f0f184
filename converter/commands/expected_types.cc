#include "converter/commands/expected_types.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "converter/commands/flags/recipe/quantize_flags.h"
#include "converter/commands/flags/recipe/type_flags.h"
#include "converter/mix/file_type.h"
#include "converter/plan.h"
#include "converter/provenance/manifest.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/status.h"
#include "formats/quant_type.h"

namespace narrow {
namespace {

constexpr char kRecipe[] = "its manifest's recipe";

// The options among a manifest's arguments that `app` knows.
absl::Status Parse(const provenance::Manifest& manifest, CLI::App* app) {
  app->allow_extras();
  try {
    // CLI11 takes them from the end, and throws.
    app->parse(std::vector<std::string>(manifest.arguments().rbegin(),
                                        manifest.arguments().rend()));
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  return absl::OkStatus();
}

// The files of a recipe are read only if they are what the manifest says.
absl::Status CheckFiles(const provenance::Manifest& manifest) {
  for (const std::string& argument : manifest.arguments()) {
    for (const char* option : {"--recipe", "--tensor-type-file"}) {
      if (!absl::StartsWith(argument, absl::StrCat(option, "="))) {
        continue;
      }
      const std::string path = argument.substr(std::string(option).size() + 1);
      const bool known =
          std::any_of(manifest.used().begin(), manifest.used().end(),
                      [&](const provenance::UsedFile& used) {
                        const auto digest = DigestFile(path);
                        return used.path() == path && digest.ok() &&
                               digest->sha256.Hex() == used.sha256();
                      });
      if (!known) {
        return absl::NotFoundError(absl::StrCat(path, " has changed"));
      }
    }
  }
  return absl::OkStatus();
}

// The quantized types of a plan for the original; what a text or an importance
// matrix would say of a tensor is left open.
absl::StatusOr<ExpectedTypes> TypesOfPlan(const Checkpoint& original,
                                          Recipe recipe) {
  recipe.dry_run = true;
  recipe.mode = Mode::kCompat;
  recipe.allow_requantize = true;
  ASSIGN_OR_RETURN(const Plan plan, MakePlan(original, recipe, nullptr));
  ExpectedTypes expected;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (Geometry(tensor.meta.type).bits_per_weight() < 16) {
      expected.types[tensor.meta.name] = TypeName(tensor.meta.type);
    }
  }
  return expected;
}

absl::StatusOr<ExpectedTypes> OfConversion(
    const Checkpoint& original, const provenance::Manifest& manifest) {
  CLI::App app;
  TypeFlags flags;
  std::string to, imatrix, solver;
  AddTypeFlags(&app, &flags);
  app.add_option("--to", to);
  app.add_option("--imatrix", imatrix);
  app.add_option("--solver", solver);
  RETURN_IF_ERROR(Parse(manifest, &app));
  Recipe recipe;
  RETURN_IF_ERROR(AddTypeOptions(flags, &recipe));
  ASSIGN_OR_RETURN(recipe.file_type, ParseFileType(to));
  recipe.calibrated = !imatrix.empty() || !solver.empty();
  return TypesOfPlan(original, recipe);
}

absl::StatusOr<ExpectedTypes> OfQuantization(
    const Checkpoint& original, const provenance::Manifest& manifest) {
  CLI::App app;
  QuantizeFlags flags;
  AddQuantizeFlags(&app, &flags);
  RETURN_IF_ERROR(Parse(manifest, &app));
  ASSIGN_OR_RETURN(const QuantizeRecipe recipe, RecipeFromFlags(app, flags));
  ASSIGN_OR_RETURN(const auto input, OpenModelInput(original.path(), {}));
  PlanOptions options;
  options.recipe_only = true;
  ASSIGN_OR_RETURN(const QuantizePlan plan,
                   PlanQuantize(*input, recipe, options));
  std::set<std::string> packed;
  for (const PlannedLayer& layer : plan.layers) {
    packed.insert(layer.name());
  }
  ExpectedTypes expected;
  for (const CheckpointTensor& tensor : original.tensors()) {
    if (!tensor.segments.empty() &&
        std::all_of(tensor.segments.begin(), tensor.segments.end(),
                    [&](const RowSegment& segment) {
                      return packed.count(segment.view->meta.name) > 0;
                    })) {
      expected.types[tensor.meta.name] = kPacked;
    }
  }
  return expected;
}

absl::StatusOr<ExpectedTypes> OfFileType(const Checkpoint& original,
                                         const Checkpoint& candidate) {
  const auto id = candidate.metadata().GetInteger("general.file_type");
  if (!candidate.is_gguf() || !id.has_value()) {
    return absl::NotFoundError("no file type");
  }
  for (const FileTypeInfo& info : AllFileTypes()) {
    if (info.id == *id) {
      Recipe recipe;
      recipe.file_type = info.type;
      recipe.calibrated = true;
      ASSIGN_OR_RETURN(ExpectedTypes expected, TypesOfPlan(original, recipe));
      expected.source = absl::StrCat("its file type ", info.name);
      return expected;
    }
  }
  return absl::NotFoundError("no file type of ours");
}

absl::StatusOr<ExpectedTypes> OfManifest(const Checkpoint& original,
                                         const Checkpoint& candidate) {
  ASSIGN_OR_RETURN(const provenance::Manifest manifest,
                   ReadManifest(ManifestPath(candidate.path())));
  if (manifest.command() != "convert" && manifest.command() != "quantize") {
    return absl::NotFoundError("another command");
  }
  RETURN_IF_ERROR(CheckFiles(manifest));
  ASSIGN_OR_RETURN(ExpectedTypes expected,
                   manifest.command() == "convert"
                       ? OfConversion(original, manifest)
                       : OfQuantization(original, manifest));
  expected.source = kRecipe;
  expected.is_recipe = true;
  return expected;
}

}  // namespace

std::optional<ExpectedTypes> ExpectedTypesOf(const Checkpoint& original,
                                             const Checkpoint& candidate) {
  auto expected = OfManifest(original, candidate);
  if (!expected.ok()) {
    expected = OfFileType(original, candidate);
  }
  return expected.ok() ? std::make_optional(*std::move(expected))
                       : std::nullopt;
}

}  // namespace narrow
