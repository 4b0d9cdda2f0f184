#include "converter/fit/fit_choices.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "converter/fallbacks.h"
#include "converter/fit/role_weight.h"
#include "converter/fit/type_noise.h"
#include "converter/mix/mix_rules.h"
#include "converter/plan.h"
#include "converter/quantize/linear_layers.h"
#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/recipe/method.h"
#include "converter/solvers/solver.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Noise of types and schemes, each measured once.
class NoiseTable {
 public:
  // Of weights of type `from` stored as `to`.
  absl::StatusOr<double> OfType(QuantType from, QuantType to) {
    if (from == to || to == QuantType::kF32) {
      return 0.0;
    }
    const auto found = types_.find(to);
    if (found != types_.end()) {
      return found->second;
    }
    ASSIGN_OR_RETURN(const double noise, NoiseOfType(to));
    types_[to] = noise;
    return noise;
  }

  absl::StatusOr<double> OfLayer(const PlannedLayer& layer) {
    const std::string key =
        absl::StrCat(layer.method->name, " ", SchemeName(layer.scheme));
    const auto found = schemes_.find(key);
    if (found != schemes_.end()) {
      return found->second;
    }
    ASSIGN_OR_RETURN(const double noise,
                     NoiseOfScheme(*layer.method, layer.scheme));
    schemes_[key] = noise;
    return noise;
  }

 private:
  std::map<QuantType, double> types_;
  std::map<std::string, double> schemes_;
};

absl::StatusOr<FitChoice> GgufOption(const Plan& plan, NoiseTable* table) {
  FitChoice option;
  option.name = RecipeName(plan.recipe);
  option.format = "gguf";
  option.command = absl::StrCat("narrow convert --to ", option.name);
  option.tensor_bytes = plan.tensor_bytes;
  option.file_bytes = plan.file_bytes;
  option.n_weights = plan.n_weights;
  option.needs = plan.refused ? "imatrix" : "";
  std::vector<std::string> matrices;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.meta.shape.size() > 1) {
      matrices.push_back(tensor.meta.name);
    }
  }
  const RoleWeights weights(matrices);
  for (const PlannedTensor& tensor : plan.tensors) {
    ASSIGN_OR_RETURN(const double noise,
                     table->OfType(tensor.source->stored, tensor.meta.type));
    option.noise += noise * weights.Of(tensor.meta.name);
  }
  return option;
}

// The bits at which a method is planned; 0: it has no choice.
std::vector<int> BitsOf(const Method& method) {
  return method.kind == SchemeKind::kGroups ? std::vector<int>{8, 4, 3, 2, 1}
                                            : std::vector<int>{0};
}

absl::StatusOr<FitChoice> PackedOption(const QuantizePlan& plan,
                                       const Method& method, int bits,
                                       NoiseTable* table) {
  FitChoice option;
  option.name = bits == 0 ? std::string(method.name)
                          : absl::StrCat(method.name, " --bits ", bits);
  option.format = plan.packing->name;
  option.command = absl::StrCat("narrow quantize --method ", option.name);
  option.tensor_bytes = plan.tensor_bytes;
  option.file_bytes = plan.file_bytes;
  option.n_weights = plan.n_weights;
  option.needs = plan.needs.any() ? "calibration text" : "";
  // Weights of roles are by GGUF names, which a known family's layers have.
  const LinearLayers& linears = plan.linears;
  const auto name_of = [&linears](const LinearLayer& linear) {
    return linear.known < 0
               ? linear.module
               : linears.known[static_cast<size_t>(linear.known)].gguf_name;
  };
  std::vector<std::string> matrices = {"token_embd.weight"};
  for (const LinearLayer& linear : linears.layers) {
    const std::string name = name_of(linear);
    // Experts of one stacked tensor share its weight.
    if (std::find(matrices.begin(), matrices.end(), name) == matrices.end()) {
      matrices.push_back(name);
    }
  }
  const RoleWeights weights(matrices);
  std::map<std::string, double> n_elements;
  for (const LinearLayer& linear : linears.layers) {
    n_elements[name_of(linear)] +=
        static_cast<double>(linear.view->meta.n_elements());
  }
  for (const PlannedLayer& layer : plan.layers) {
    ASSIGN_OR_RETURN(const double noise, table->OfLayer(layer));
    const std::string name = name_of(*layer.linear);
    option.noise += noise * weights.Of(name) *
                    static_cast<double>(layer.n_rows() * layer.n_cols()) /
                    n_elements[name];
  }
  return option;
}

}  // namespace

absl::StatusOr<FitChoices> GgufOptions(const Checkpoint& model,
                                       const Recipe& recipe) {
  FitChoices all;
  NoiseTable table;
  std::vector<Recipe> recipes;
  Recipe one = recipe;
  one.dry_run = true;
  if (model.is_gguf()) {
    one.copy = true;
    recipes.push_back(one);
    one.copy = false;
  }
  for (const FileType type : OfferedFileTypes()) {
    one.file_type = type;
    recipes.push_back(one);
  }
  for (const Recipe& row : recipes) {
    const absl::StatusOr<Plan> plan = MakePlan(model, row, nullptr);
    if (!plan.ok()) {
      all.refusals.push_back(
          {RecipeName(row), std::string(plan.status().message())});
      continue;
    }
    const std::vector<std::string> problems =
        row.mode == Mode::kStrict && !row.copy ? StrictProblems(*plan)
                                               : std::vector<std::string>();
    if (!problems.empty()) {
      all.refusals.push_back({RecipeName(row), problems.front()});
      continue;
    }
    ASSIGN_OR_RETURN(FitChoice option, GgufOption(*plan, &table));
    if (row.copy) {
      option.name = "(as it is)";
      option.command = "";
    }
    all.options.push_back(std::move(option));
  }
  return all;
}

absl::StatusOr<FitChoices> PackedOptions(const ModelInput& input) {
  FitChoices all;
  NoiseTable table;
  for (const Method& method : AllMethods()) {
    for (const int bits : BitsOf(method)) {
      QuantizeRecipe recipe;
      recipe.mutable_rule()->set_method(method.name);
      if (bits > 0) {
        recipe.mutable_rule()->set_bits(bits);
      }
      PlanOptions options;
      options.recipe_only = true;  // sizes do not depend on a text
      const auto plan = PlanQuantize(input, recipe, options);
      if (!plan.ok()) {
        all.refusals.push_back(
            {bits == 0 ? std::string(method.name)
                       : absl::StrCat(method.name, " --bits ", bits),
             std::string(plan.status().message())});
        continue;
      }
      ASSIGN_OR_RETURN(FitChoice option,
                       PackedOption(*plan, method, bits, &table));
      all.options.push_back(std::move(option));
    }
  }
  return all;
}

}  // namespace narrow
