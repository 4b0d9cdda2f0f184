#include "converter/quantize/quantize_plan.h"

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "converter/quantize/output_layout.h"
#include "converter/quantize/recipe/name_patterns.h"
#include "converter/quantize/recipe/presets.h"
#include "converter/quantize/recipe/solver_settings.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"

namespace narrow {
namespace {

// A shape that every packing takes, if it takes the scheme at all.
constexpr int64_t kEasySize = 4096;

absl::StatusOr<const Packing*> GetPacking(const std::string& name) {
  const Packing* packing = FindPacking(name);
  if (packing != nullptr) {
    return packing;
  }
  std::vector<std::string> names;
  for (const Packing* row : AllPackings()) {
    names.push_back(row->name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no format ", QuotedName(name),
                   "; the nearest is '", NearestName(name, names), "'"));
}

// The rule's, or the method's own.
absl::StatusOr<const Solver*> GetSolver(const LayerRule& rule,
                                        const Method& method) {
  const std::string name = rule.has_solver() ? rule.solver() : method.solver;
  const Solver* solver = FindSolver(name);
  if (solver != nullptr) {
    return solver;
  }
  std::vector<std::string> names;
  for (const Solver* row : AllSolvers()) {
    names.push_back(row->name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no solver ", QuotedName(name),
                   "; the nearest is '", NearestName(name, names), "'"));
}

void DropEmptyParts(QuantizeRecipe* recipe) {
  if (recipe->solver().ByteSizeLong() == 0) {
    recipe->clear_solver();
  }
  if (recipe->transform().ByteSizeLong() == 0) {
    recipe->clear_transform();
  }
  if (recipe->calibration().ByteSizeLong() == 0) {
    recipe->clear_calibration();
  }
}

// What a layer is to become under one rule.
struct Choice {
  const Method* method = nullptr;
  const Solver* solver = nullptr;
  WeightScheme scheme;
};

class Planner {
 public:
  Planner(const ModelInput& input, const PlanOptions& options,
          QuantizePlan* plan)
      : input_(input), options_(options), plan_(*plan) {}

  absl::Status Run() {
    RETURN_IF_ERROR(CheckImportance());
    ASSIGN_OR_RETURN(plan_.linears, FindLinearLayers(input_));
    if (!options_.merge_only) {
      RETURN_IF_ERROR(ReadRecipe());
      RETURN_IF_ERROR(ChooseLayers());
      RETURN_IF_ERROR(CheckSiblings());
      RETURN_IF_ERROR(CheckCalibration());
      if (plan_.layers.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "no layer is left to quantize: all ", plan_.linears.layers.size(),
            " matrices stay dense; ", FirstReason()));
      }
      RETURN_IF_ERROR(MakeConfig());
    }
    return LayOutTensors(input_, options_.max_shard_bytes, &plan_);
  }

 private:
  absl::Status CheckImportance() const {
    if (!plan_.recipe.imatrix().empty() &&
        plan_.recipe.calibration().file_size() > 0) {
      return absl::InvalidArgumentError(
          "an importance matrix takes the place of calibration; give one of "
          "both");
    }
    if (!plan_.recipe.imatrix().empty() && input_.arch == nullptr) {
      return absl::InvalidArgumentError(
          "an importance matrix has GGUF names, which a model of an unknown "
          "family has not");
    }
    return absl::OkStatus();
  }

  absl::Status ReadRecipe() {
    QuantizeRecipe& recipe = plan_.recipe;
    RETURN_IF_ERROR(ApplyPreset(&recipe));
    DropEmptyParts(&recipe);
    LayerRule* rule = recipe.mutable_rule();
    if (!rule->has_method()) {
      rule->set_method(AllMethods()[0].name);
    }
    ASSIGN_OR_RETURN(const Method* method, GetMethod(rule->method()));
    if (!recipe.has_format()) {
      recipe.set_format(method->packing);
    }
    ASSIGN_OR_RETURN(plan_.packing, GetPacking(recipe.format()));
    ASSIGN_OR_RETURN(plan_.solver_options, SolverOptionsOf(recipe.solver()));
    std::string transform = recipe.transform().has_name()
                                ? recipe.transform().name()
                                : std::string(method->transform);
    if (transform == "none") {
      transform.clear();
    }
    if (!transform.empty()) {
      plan_.transform = FindTransform(transform);
      if (plan_.transform == nullptr) {
        return UnknownTransform(transform);
      }
    }
    ASSIGN_OR_RETURN(
        plan_.transform_options,
        TransformOptionsOf(recipe.transform(), plan_.solver_options.fit));
    std::vector<std::string> patterns;
    for (const Override& row : recipe.override()) {
      patterns.push_back(row.pattern());
    }
    ASSIGN_OR_RETURN(overrides_, NamePatterns::Compile(patterns));
    ASSIGN_OR_RETURN(ignored_, NamePatterns::Compile({recipe.ignore().begin(),
                                                      recipe.ignore().end()}));
    ASSIGN_OR_RETURN(base_, Choose(recipe.rule()));
    for (const Override& row : recipe.override()) {
      LayerRule merged = recipe.rule();
      // What belongs to the method goes with it.
      if (row.rule().has_method() && row.rule().method() != merged.method()) {
        merged.Clear();
      }
      merged.MergeFrom(row.rule());
      auto choice = Choose(merged);
      RETURN_IF_ERROR(Annotate(
          choice.status(),
          absl::StrCat("in the override ", QuotedName(row.pattern()))));
      override_choices_.push_back(*choice);
    }
    used_overrides_.assign(override_choices_.size(), false);
    used_ignores_.assign(static_cast<size_t>(recipe.ignore_size()), false);
    return absl::OkStatus();
  }

  static absl::Status UnknownTransform(const std::string& name) {
    std::vector<std::string> names = {"none"};
    for (const Transform* row : AllTransforms()) {
      names.push_back(row->name);
    }
    return absl::InvalidArgumentError(
        absl::StrCat("there is no transform ", QuotedName(name),
                     "; the nearest is '", NearestName(name, names), "'"));
  }

  absl::StatusOr<Choice> Choose(const LayerRule& rule) {
    Choice choice;
    ASSIGN_OR_RETURN(
        choice.method,
        GetMethod(rule.has_method() ? rule.method() : AllMethods()[0].name));
    ASSIGN_OR_RETURN(choice.solver, GetSolver(rule, *choice.method));
    ASSIGN_OR_RETURN(
        choice.scheme,
        SchemeOf(*choice.method, rule, plan_.packing->name, input_.dtype));
    choice.scheme.column_groups =
        absl::string_view(choice.solver->name) == "gptq" &&
        plan_.solver_options.order ==
            SolverOptions::ColumnOrder::kDescendingDynamic;
    const absl::Status packs =
        plan_.packing->supports(choice.scheme, kEasySize, kEasySize);
    if (!packs.ok()) {
      return Annotate(packs, WhatWorks(*choice.method, rule));
    }
    RETURN_IF_ERROR(choice.solver->supports(choice.scheme,
                                            plan_.OptionsFor(choice.scheme)));
    return choice;
  }

  // Formats that take the rule as it is, and bits that the format takes.
  std::string WhatWorks(const Method& method, const LayerRule& rule) const {
    std::vector<std::string> formats;
    for (const Packing* packing : AllPackings()) {
      const auto scheme = SchemeOf(method, rule, packing->name, input_.dtype);
      if (scheme.ok() &&
          packing->supports(*scheme, kEasySize, kEasySize).ok()) {
        formats.push_back(packing->name);
      }
    }
    std::vector<int> bits;
    for (int b = 1; b <= 8 && method.kind == SchemeKind::kGroups; ++b) {
      LayerRule other = rule;
      other.set_bits(b);
      const auto scheme =
          SchemeOf(method, other, plan_.packing->name, input_.dtype);
      if (scheme.ok() &&
          plan_.packing->supports(*scheme, kEasySize, kEasySize).ok()) {
        bits.push_back(b);
      }
    }
    std::string text = formats.empty()
                           ? "no format takes this"
                           : absl::StrCat("formats that take this: ",
                                          absl::StrJoin(formats, ", "));
    if (!bits.empty()) {
      absl::StrAppend(&text, "; ", plan_.packing->name,
                      " takes bits: ", absl::StrJoin(bits, ", "));
    }
    return text;
  }

  absl::Status ChooseLayers() {
    for (const LinearLayer& linear : plan_.linears.layers) {
      const int ignore = ignored_.FirstFound(linear.module);
      if (ignore >= 0) {
        used_ignores_[static_cast<size_t>(ignore)] = true;
      }
      if (!linear.dense_reason.empty()) {
        plan_.dense.push_back({&linear, linear.dense_reason});
        continue;
      }
      if (ignore >= 0) {
        plan_.dense.push_back(
            {&linear,
             absl::StrCat("ignored by ", QuotedName(ignored_.text(ignore)))});
        continue;
      }
      const int found = overrides_.FirstFound(linear.module);
      const Choice& choice =
          found < 0 ? base_ : override_choices_[static_cast<size_t>(found)];
      if (found >= 0) {
        used_overrides_[static_cast<size_t>(found)] = true;
      }
      const absl::Status fits =
          plan_.packing->supports(choice.scheme, linear.view->meta.shape[0],
                                  linear.view->meta.shape[1]);
      if (!fits.ok()) {
        if (plan_.recipe.strict()) {
          return Annotate(fits, absl::StrCat("layer '", linear.module,
                                             "', and the recipe is strict"));
        }
        plan_.dense.push_back({&linear, std::string(fits.message()), true});
        continue;
      }
      PlannedLayer layer;
      layer.linear = &linear;
      layer.method = choice.method;
      layer.solver = choice.solver;
      layer.scheme = choice.scheme;
      layer.reason =
          found < 0
              ? "the recipe's rule"
              : absl::StrCat("override ", QuotedName(overrides_.text(found)));
      plan_.layers.push_back(std::move(layer));
    }
    NoteUnused();
    return absl::OkStatus();
  }

  void NoteUnused() {
    for (size_t i = 0; i < used_overrides_.size(); ++i) {
      if (!used_overrides_[i]) {
        plan_.notes.push_back(absl::StrCat(
            "the override ", QuotedName(overrides_.text(static_cast<int>(i))),
            " decides for no layer"));
      }
    }
    for (size_t i = 0; i < used_ignores_.size(); ++i) {
      if (!used_ignores_[i]) {
        plan_.notes.push_back(absl::StrCat(
            "the pattern ", QuotedName(ignored_.text(static_cast<int>(i))),
            " to ignore is found in no layer"));
      }
    }
  }

  // What the format refuses says more than what is never quantized.
  std::string FirstReason() const {
    if (plan_.dense.empty()) {
      return "there is none";
    }
    const auto refused =
        std::find_if(plan_.dense.begin(), plan_.dense.end(),
                     [](const DenseLayer& dense) { return dense.refused; });
    const DenseLayer& shown =
        refused != plan_.dense.end() ? *refused : plan_.dense[0];
    return absl::StrCat("'", shown.linear->module, "': ", shown.reason);
  }

  // Layers that clients fuse must be alike. Where the packing refuses one of
  // them, the others stay dense too.
  absl::Status CheckSiblings() {
    if (plan_.recipe.allow_mixed()) {
      return absl::OkStatus();
    }
    std::map<int, const DenseLayer*> refused;
    std::map<int, const DenseLayer*> left_out;
    for (const DenseLayer& dense : plan_.dense) {
      if (dense.linear->siblings >= 0) {
        (dense.refused ? refused : left_out)[dense.linear->siblings] = &dense;
      }
    }
    std::map<int, const PlannedLayer*> first;
    for (const PlannedLayer& layer : plan_.layers) {
      const int set = layer.linear->siblings;
      if (set < 0 || refused.count(set) > 0) {
        continue;
      }
      const PlannedLayer* other = first.emplace(set, &layer).first->second;
      const auto dense = left_out.find(set);
      if (dense != left_out.end() || other->scheme != layer.scheme) {
        return absl::InvalidArgumentError(absl::StrCat(
            "layer '", layer.linear->module, "' is to be ",
            SchemeName(layer.scheme), ", '",
            dense != left_out.end() ? dense->second->linear->module
                                    : other->linear->module,
            "' ",
            dense != left_out.end() ? std::string("stays dense")
                                    : SchemeName(other->scheme),
            "; clients compute them as one layer, so they must be alike; "
            "widen the pattern, or allow it with --allow-mixed"));
      }
    }
    std::vector<PlannedLayer> kept;
    for (PlannedLayer& layer : plan_.layers) {
      const auto it = refused.find(layer.linear->siblings);
      if (layer.linear->siblings >= 0 && it != refused.end()) {
        moved_.push_back(
            {layer.linear,
             absl::StrCat("its sibling '", it->second->linear->module,
                          "' cannot be packed"),
             true});
      } else {
        kept.push_back(std::move(layer));
      }
    }
    plan_.layers = std::move(kept);
    plan_.dense.insert(plan_.dense.end(), moved_.begin(), moved_.end());
    std::sort(plan_.dense.begin(), plan_.dense.end(),
              [](const DenseLayer& a, const DenseLayer& b) {
                return a.linear < b.linear;  // the order of the source
              });
    return absl::OkStatus();
  }

  absl::Status CheckCalibration() {
    const bool has_text = plan_.recipe.calibration().file_size() > 0;
    std::string needing;
    bool by_solver = false;  // and not by the method itself
    StatsNeeds needs;
    for (const PlannedLayer& layer : plan_.layers) {
      const SolverOptions options = plan_.OptionsFor(layer.scheme);
      const StatsNeeds of_solver = layer.solver->needs(options);
      needs.columns |= of_solver.columns;
      needs.gram |= of_solver.gram;
      needs.cross |= of_solver.cross;
      needs.residual |= of_solver.residual;
      if (HasInputScale(layer.scheme.activations)) {
        needs.columns = true;
        needing =
            absl::StrCat("static activation scales of ", layer.method->name);
      }
      const absl::string_view solver = layer.solver->name;
      if (of_solver.gram && solver != layer.method->solver) {
        needing = absl::StrCat("the solver ", solver);
        const Solver* own = FindSolver(layer.method->solver);
        by_solver = own != nullptr && !own->needs(options).gram &&
                    *layer.method->transform == '\0';
      } else if (of_solver.gram || *layer.method->transform != '\0') {
        needing = absl::StrCat("method ", layer.method->name);
      }
    }
    if (plan_.transform != nullptr) {
      const StatsNeeds of_transform =
          plan_.transform->needs(plan_.transform_options);
      needs.columns |= of_transform.columns;
      needs.gram |= of_transform.gram;
      needs.cross |= of_transform.cross;
      needing = absl::StrCat("the transform ", plan_.transform->name);
    }
    if (!needing.empty() && input_.arch == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          needing,
          " needs what goes into each layer, so the model must be of "
          "a known family; '",
          input_.model_type.empty() ? "this one" : input_.model_type,
          "' is not one of ", KnownArchNames(),
          "; rtn, hqq, nf4, fp4, int8, fp8, nvfp4 and mxfp4 work without, on "
          "any model"));
    }
    if (!needing.empty() && !has_text && !options_.recipe_only) {
      return absl::InvalidArgumentError(absl::StrCat(
          needing,
          " needs a text to calibrate on; give one with --calibration ",
          "FILE, or ",
          by_solver
              ? "leave out --solver or --preset: the method's own needs none"
              : "choose rtn or hqq, which need none"));
    }
    if (!has_text && !options_.recipe_only &&
        plan_.recipe.calibration().token_weights() == "fisher") {
      return absl::InvalidArgumentError(
          "the weights of tokens (token_weights, preset thorough) are those of "
          "a calibration text; give one with --calibration FILE");
    }
    if (has_text && input_.arch == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("calibration runs the model, which must be of a known "
                       "family: ",
                       KnownArchNames()));
    }
    if (has_text && !needs.any() && !plan_.solver_options.weighted_fit) {
      return absl::InvalidArgumentError(absl::StrCat(
          "method ", plan_.recipe.rule().method(),
          " uses nothing of a calibration text; leave --calibration out"));
    }
    plan_.calibrated = has_text;
    // Solvers that need nothing still weigh by what is known.
    needs.columns =
        needs.columns || (has_text && plan_.solver_options.weighted_fit);
    plan_.needs = needs;
    return absl::OkStatus();
  }

  absl::Status MakeConfig() {
    PackedLayout layout;
    layout.model_dtype = input_.dtype;
    for (const PlannedLayer& layer : plan_.layers) {
      PackedModule module;
      module.name = layer.linear->module;
      module.scheme = layer.scheme;
      module.n_rows = layer.n_rows();
      module.n_cols = layer.n_cols();
      module.packing = plan_.packing;
      layout.modules.push_back(std::move(module));
    }
    for (const DenseLayer& dense : plan_.dense) {
      if (!IsLookedUp(dense.linear->module)) {
        layout.dense_linears.push_back(dense.linear->module);
      }
    }
    layout.dense_linears.insert(layout.dense_linears.end(),
                                plan_.linears.tied_heads.begin(),
                                plan_.linears.tied_heads.end());
    AddFacts(&layout);
    ASSIGN_OR_RETURN(plan_.quantization_config, plan_.packing->config(layout));
    return absl::OkStatus();
  }

  void AddFacts(PackedLayout* layout) const {
    const SolverOptions& options = plan_.solver_options;
    bool any_gptq = false;
    for (const PlannedLayer& layer : plan_.layers) {
      any_gptq |= absl::string_view(layer.solver->name) == "gptq";
    }
    if (!any_gptq) {
      return;
    }
    layout->facts = {
        {"damp_percent", absl::StrCat(options.damping)},
        {"desc_act",
         options.order == SolverOptions::ColumnOrder::kDescendingDynamic
             ? "true"
             : "false"},
        {"static_groups", options.static_groups ? "true" : "false"},
        {"true_sequential", "false"},
    };
  }

  const ModelInput& input_;
  const PlanOptions& options_;
  QuantizePlan& plan_;
  NamePatterns overrides_;
  NamePatterns ignored_;
  Choice base_;
  std::vector<Choice> override_choices_;
  std::vector<bool> used_overrides_;
  std::vector<bool> used_ignores_;
  std::vector<DenseLayer> moved_;
};

}  // namespace

int QuantizePlan::n_refused() const {
  return static_cast<int>(
      std::count_if(dense.begin(), dense.end(),
                    [](const DenseLayer& layer) { return layer.refused; }));
}

SolverOptions QuantizePlan::OptionsFor(const WeightScheme& scheme) const {
  SolverOptions options = solver_options;
  options.zero_low = packing->least_zero;
  options.hqq_round_zero = scheme.zero != ZeroKind::kFloat;
  return options;
}

absl::StatusOr<QuantizePlan> PlanQuantize(const ModelInput& input,
                                          const QuantizeRecipe& recipe,
                                          const PlanOptions& options) {
  QuantizePlan plan;
  plan.recipe = recipe;
  plan.model_dtype = input.dtype;
  RETURN_IF_ERROR(Planner(input, options, &plan).Run());
  return plan;
}

}  // namespace narrow
