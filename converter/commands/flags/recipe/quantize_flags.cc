#include "converter/commands/flags/recipe/quantize_flags.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "converter/commands/flags/number_range.h"
#include "converter/quantize/recipe/method.h"
#include "converter/quantize/recipe/presets.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "converter/solvers/solver.h"
#include "formats/base/status.h"
#include "formats/packing/packing.h"

namespace narrow {
namespace {

void AddSchemeFlags(CLI::App* command, QuantizeFlags* flags) {
  std::vector<std::string> methods;
  for (const Method& method : AllMethods()) {
    methods.push_back(method.name);
  }
  std::vector<std::string> formats;
  for (const Packing* packing : AllPackings()) {
    formats.push_back(packing->name);
  }
  command
      ->add_option(
          "-m,--method", flags->method,
          absl::StrCat("how to quantize (default: ", AllMethods()[0].name, ")"))
      ->check(CLI::IsMember(methods));
  command
      ->add_option("--format", flags->format,
                   "how the output stores it (default: the method's own)")
      ->check(CLI::IsMember(formats));
  command->add_option("-b,--bits", flags->bits, "bits of a code")
      ->check(CLI::Range(1, 8));
  command->add_option("-g,--group-size", flags->group_size,
                      "columns that share a scale; -1: a whole row");
  CLI::Option* symmetric = command->add_flag("--symmetric", flags->symmetric,
                                             "scales alone, no zero points");
  command->add_flag("--asymmetric", flags->asymmetric, "scales and zero points")
      ->excludes(symmetric);
  command->add_option("--block-size", flags->block_size,
                      "nf4, fp4: weights that share a scale");
  command->add_flag("--double-quant", flags->double_quant,
                    "nf4, fp4: quantize the scales too");
  command
      ->add_option("--granularity", flags->granularity,
                   "fp8: what shares a scale")
      ->check(CLI::IsMember({"tensor", "channel", "block"}));
  command
      ->add_option("--activations", flags->activations,
                   "what clients do with inputs: int8, smoothquant, fp8, "
                   "nvfp4, mxfp4")
      ->check(CLI::IsMember({"none", "dynamic", "static"}));
}

void AddLayerFlags(CLI::App* command, QuantizeFlags* flags) {
  command
      ->add_option("--ignore", flags->ignored,
                   "leave layers dense whose name has a match of this "
                   "regular expression; repeatable")
      ->type_name("PATTERN")
      ->allow_extra_args(false);
  command
      ->add_option("--override", flags->overrides,
                   "other settings for layers whose name has a match: "
                   "'down_proj=bits:8,group:64'; repeatable, the first that "
                   "matches decides")
      ->type_name("PATTERN=FIELD:VALUE,...")
      ->allow_extra_args(false);
  command->add_flag("--allow-mixed", flags->allow_mixed,
                    "layers that clients fuse may differ");
  command->add_flag("--strict", flags->strict,
                    "a layer that the format cannot hold is an error");
}

void AddSolverFlags(CLI::App* command, QuantizeFlags* flags) {
  std::vector<std::string> solvers;
  for (const Solver* solver : AllSolvers()) {
    solvers.push_back(solver->name);
  }
  command
      ->add_option("--solver", flags->solver,
                   "who makes the codes (default: the method's own). "
                   "compensated: error feedback, refits and descent under the "
                   "inputs' second moments, for any method and format; no row "
                   "is worse than the method's own. Needs --calibration")
      ->check(CLI::IsMember(solvers));
  command
      ->add_option("--recipe", flags->recipe,
                   "recipe, protobuf text; flags come before what it says")
      ->type_name("FILE");
  command
      ->add_option(
          "--preset", flags->preset,
          "thorough: the drift of inputs is corrected, tokens and outputs "
          "weigh as the loss asks, and methods without error feedback of "
          "their own take --solver compensated, for some four times the work; "
          "else the defaults of another program, for comparison")
      ->check(CLI::IsMember(PresetNames()));
  command
      ->add_option("--damping", flags->damping,
                   "gptq, compensated: added to the Gram matrix, in parts of "
                   "its mean diagonal (default: 0.03)")
      ->check(NumberRange(0.0, 1e3));
  command->add_flag("--positive-scales", flags->positive_scales,
                    "symmetric integers: no negative scales, for engines that "
                    "want none");
  command->add_option("--column-order", flags->column_order, "gptq")
      ->check(CLI::IsMember(
          {"natural", "groups", "descending", "descending-dynamic"}));
  command
      ->add_option("--search", flags->search,
                   "how ranges are found (default: least-squares)")
      ->check(CLI::IsMember({"least-squares", "shrink", "min-max"}));
  command
      ->add_option("--transform", flags->transform,
                   "move scales between layers first (default: the method's)")
      ->check(CLI::IsMember({"awq", "smoothquant", "none"}));
  command
      ->add_option("--alpha", flags->alpha, "smoothquant: migration strength")
      ->check(NumberRange(0.0, 1.0));
}

void AddCalibrationFlags(CLI::App* command, QuantizeFlags* flags) {
  CLI::Option* text =
      command
          ->add_option("-c,--calibration", flags->texts,
                       "text to calibrate on: plain, JSONL, or JSONL of "
                       "conversations; repeatable")
          ->type_name("FILE")
          ->allow_extra_args(false);
  command
      ->add_option("--samples", flags->samples, "windows of it (default: 128)")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 24));
  command
      ->add_option("--sample-tokens", flags->sample_tokens,
                   "tokens of a window (default: 512)")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--cover", flags->cover,
                   "of every N windows one is of tokens drawn evenly from the "
                   "vocabulary, for what other texts have and this one lacks "
                   "(default: 0, none; 4 with --preset thorough)")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 20));
  command->add_option("--seed", flags->seed,
                      "choose windows at random (default: 0, the first ones; "
                      "with --preset thorough spread over the text)");
  command
      ->add_option("--text-kind", flags->text_kind,
                   "how to read the text (default: auto)")
      ->check(CLI::IsMember({"auto", "plain", "jsonl", "chat"}));
  command->add_option("--text-field", flags->text_field,
                      "JSONL: the field with the text or the messages");
  command->add_flag("--no-pack", flags->no_pack,
                    "JSONL: a record a window, padded, instead of joined");
  command->add_flag("--assistant-only", flags->assistant_only,
                    "conversations: only the assistant's tokens count");
  command
      ->add_option("--order", flags->order,
                   "inputs as all that is quantized so far makes them, layer "
                   "after layer (quantized, default), as the blocks before "
                   "make them (blocks), or of the original model")
      ->check(CLI::IsMember({"quantized", "blocks", "original"}));
  command
      ->add_option("--precision", flags->precision,
                   "products of the forward pass: float32, the same bits on "
                   "every processor (reproducible, default), or bfloat16 "
                   "where the processor has it (fast); with a device fast is "
                   "also tensor cores in gptq, so that a few codes differ")
      ->check(CLI::IsMember({"reproducible", "fast"}));
  command
      ->add_option("--imatrix", flags->imatrix,
                   "importance of inputs, where nothing is calibrated")
      ->type_name("FILE")
      ->excludes(text);
}

// "down_proj=bits:8,group:64".
absl::Status AddOverride(const std::string& text, QuantizeRecipe* recipe) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--override ", QuotedName(text), " is no PATTERN=FIELD:VALUE,..."));
  }
  Override* row = recipe->add_override();
  row->set_pattern(text.substr(0, equals));
  for (const absl::string_view field :
       absl::StrSplit(absl::string_view(text).substr(equals + 1), ',')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(field, absl::MaxSplits(':', 1));
    RETURN_IF_ERROR(
        Annotate(SetRuleField(parts.first, parts.second, row->mutable_rule()),
                 absl::StrCat("--override ", QuotedName(text))));
  }
  return absl::OkStatus();
}

// Methods of the recipe's rule and overrides, but unknown ones, of which the
// plan says more.
std::vector<const Method*> UsedMethods(const QuantizeRecipe& recipe) {
  std::vector<const Method*> methods;
  const auto add = [&methods](absl::string_view name) {
    const absl::StatusOr<const Method*> method = GetMethod(name);
    if (method.ok()) {
      methods.push_back(*method);
    }
  };
  add(recipe.rule().has_method() ? absl::string_view(recipe.rule().method())
                                 : absl::string_view(AllMethods()[0].name));
  for (const Override& row : recipe.override()) {
    if (row.rule().has_method()) {
      add(row.rule().method());
    }
  }
  return methods;
}

bool UsesSolver(const QuantizeRecipe& recipe, absl::string_view name) {
  bool uses = recipe.rule().solver() == name;
  for (const Override& row : recipe.override()) {
    uses |= row.rule().solver() == name;
  }
  return uses;
}

bool UsesMethod(const QuantizeRecipe& recipe, absl::string_view name) {
  const std::vector<const Method*> used = UsedMethods(recipe);
  return recipe.transform().name() == name ||
         std::any_of(used.begin(), used.end(), [name](const Method* method) {
           return method->name == name;
         });
}

// Solvers over the grids of kernels/grid/, or a transform that looks at them.
bool UsesGrids(const QuantizeRecipe& recipe) {
  const std::vector<const Method*> used = UsedMethods(recipe);
  return recipe.transform().has_name() || UsesSolver(recipe, "compensated") ||
         std::any_of(used.begin(), used.end(), [](const Method* method) {
           const absl::string_view solver = method->solver;
           return solver == "gptq" || solver == "rtn" ||
                  *method->transform != '\0';
         });
}

// Flags that would do nothing are mistakes.
absl::Status CheckUsed(const CLI::App& command, const QuantizeRecipe& given) {
  QuantizeRecipe recipe = given;
  if (!ApplyPreset(&recipe).ok()) {
    return absl::OkStatus();  // the plan says what is wrong with it
  }
  const bool uses_gptq =
      UsesSolver(recipe, "gptq") || UsesMethod(recipe, "gptq");
  if (command.count("--column-order") > 0 && !uses_gptq) {
    return absl::InvalidArgumentError(
        "--column-order is an option of method gptq");
  }
  if (command.count("--damping") > 0 && !uses_gptq &&
      !UsesSolver(recipe, "compensated")) {
    return absl::InvalidArgumentError(
        "--damping is an option of method gptq and of --solver compensated");
  }
  if (command.count("--alpha") > 0 && !UsesMethod(recipe, "smoothquant")) {
    return absl::InvalidArgumentError(
        "--alpha is an option of method smoothquant");
  }
  for (const char* flag : {"--search", "--positive-scales"}) {
    if (command.count(flag) > 0 && !UsesGrids(recipe)) {
      return absl::InvalidArgumentError(absl::StrCat(
          flag,
          " is an option of gptq, awq and rtn, of --solver compensated, and of "
          "transforms"));
    }
  }
  for (const char* flag : {"--samples", "--sample-tokens", "--cover", "--seed",
                           "--text-kind", "--text-field", "--no-pack",
                           "--assistant-only", "--order", "--precision"}) {
    if (command.count(flag) > 0 && recipe.calibration().file_size() == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          flag, " is about a calibration text; give one with --calibration"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

void AddQuantizeFlags(CLI::App* command, QuantizeFlags* flags) {
  AddSchemeFlags(command, flags);
  AddLayerFlags(command, flags);
  AddSolverFlags(command, flags);
  AddCalibrationFlags(command, flags);
}

absl::StatusOr<QuantizeRecipe> RecipeFromFlags(const CLI::App& command,
                                               const QuantizeFlags& flags) {
  const auto given = [&command](const char* name) {
    return command.count(name) > 0;
  };
  QuantizeRecipe recipe;
  if (!flags.recipe.empty()) {
    ASSIGN_OR_RETURN(recipe, ReadRecipe(flags.recipe));
  }
  LayerRule* rule = recipe.mutable_rule();
  if (given("--preset")) recipe.set_preset(flags.preset);
  if (given("--method")) rule->set_method(flags.method);
  if (given("--solver")) rule->set_solver(flags.solver);
  if (given("--format")) recipe.set_format(flags.format);
  if (given("--bits")) rule->set_bits(flags.bits);
  if (given("--group-size")) {
    if (flags.group_size < -1 || flags.group_size > 1 << 20) {
      return absl::InvalidArgumentError(
          absl::StrCat("--group-size is ", flags.group_size,
                       ", not -1 (a row) or 1 ... 1048576"));
    }
    rule->set_group_size(static_cast<int32_t>(flags.group_size));
  }
  if (flags.symmetric) rule->set_symmetric(true);
  if (flags.asymmetric) rule->set_symmetric(false);
  if (given("--block-size")) rule->set_block_size(flags.block_size);
  if (flags.double_quant) rule->set_double_quant(true);
  if (given("--granularity")) rule->set_granularity(flags.granularity);
  if (given("--activations")) rule->set_activations(flags.activations);
  // The first that matches decides, so those of the flags stand in front.
  const auto of_file = recipe.override();
  recipe.clear_override();
  for (const std::string& text : flags.overrides) {
    RETURN_IF_ERROR(AddOverride(text, &recipe));
  }
  recipe.mutable_override()->MergeFrom(of_file);
  for (const std::string& pattern : flags.ignored) {
    recipe.add_ignore(pattern);
  }
  if (flags.allow_mixed) recipe.set_allow_mixed(true);
  if (flags.strict) recipe.set_strict(true);
  SolverSettings* solver = recipe.mutable_solver();
  if (given("--damping")) solver->set_damping(flags.damping);
  if (given("--column-order")) solver->set_column_order(flags.column_order);
  if (given("--search")) solver->set_search(flags.search);
  if (given("--transform")) {
    recipe.mutable_transform()->set_name(flags.transform);
  }
  if (given("--alpha")) recipe.mutable_transform()->set_alpha(flags.alpha);
  CalibrationSettings* calibration = recipe.mutable_calibration();
  if (given("--calibration")) {
    calibration->clear_file();
    for (const std::string& text : flags.texts) {
      calibration->add_file(text);
    }
  }
  if (given("--samples")) calibration->set_samples(flags.samples);
  if (given("--sample-tokens")) {
    calibration->set_sample_tokens(flags.sample_tokens);
  }
  if (given("--cover")) calibration->set_cover(flags.cover);
  if (given("--seed")) calibration->set_seed(flags.seed);
  if (given("--text-kind")) calibration->set_text_kind(flags.text_kind);
  if (given("--text-field")) calibration->set_text_field(flags.text_field);
  if (flags.no_pack) calibration->set_pack(false);
  if (flags.assistant_only) calibration->set_assistant_only(true);
  if (given("--order")) calibration->set_order(flags.order);
  if (given("--precision")) calibration->set_precision(flags.precision);
  if (flags.positive_scales) solver->set_signed_scales(false);
  if (given("--imatrix")) recipe.set_imatrix(flags.imatrix);
  RETURN_IF_ERROR(CheckUsed(command, recipe));
  return recipe;
}

}  // namespace narrow
