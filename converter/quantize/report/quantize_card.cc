#include "converter/quantize/report/quantize_card.h"

#include <filesystem>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "converter/progress.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "formats/hf/model_card.h"
#include "formats/json/json_writer.h"

namespace narrow {
namespace {

// A JSON string is a YAML string too.
std::string Quoted(absl::string_view text) {
  JsonWriter json(JsonWriter::kCompact);
  json.String(text);
  return json.text();
}

// The name on the hub, if config.json has it, else that of the folder.
std::string BaseModel(const ModelInput& input) {
  const auto path = input.config_json->root().FindNonNull("_name_or_path");
  if (path.has_value() && path->is_string()) {
    const absl::string_view name = *path->GetString();
    const size_t slash = name.find('/');
    const bool is_hub_id = slash != absl::string_view::npos && slash > 0 &&
                           slash + 1 < name.size() && name[0] != '.' &&
                           name.find('/', slash + 1) == absl::string_view::npos;
    if (is_hub_id) {
      return std::string(name);
    }
  }
  const std::filesystem::path folder =
      std::filesystem::absolute(input.folder).lexically_normal();
  return folder.has_filename() ? folder.filename().string()
                               : folder.parent_path().filename().string();
}

// Keys of the original's head that hold for what is made of it.
constexpr const char* kKeptKeys[] = {"license", "license_name", "license_link",
                                     "pipeline_tag", "library_name"};

std::string Head(const QuantizeCardInputs& in) {
  std::string head = absl::StrCat(
      "---\nbase_model: ", Quoted(BaseModel(*in.input)),
      "\nbase_model_relation: ",
      in.plan->packing == nullptr ? "finetune" : "quantized", "\n");
  const YamlValue card = ParseModelCard(in.original_readme);
  for (const char* key : kKeptKeys) {
    const YamlValue* value = card.Find(key);
    if (value != nullptr && value->is_scalar()) {
      absl::StrAppend(&head, key, ": ", Quoted(value->text), "\n");
    }
  }
  const YamlValue* languages = card.Find("language");
  if (languages != nullptr && languages->kind == YamlValue::Kind::kList) {
    head += "language:\n";
    for (const YamlValue& language : languages->items) {
      if (language.is_scalar()) {
        absl::StrAppend(&head, "- ", Quoted(language.text), "\n");
      }
    }
  }
  head += "tags:\n- narrow\n";
  if (in.plan->packing != nullptr) {
    absl::StrAppend(&head, "- ", in.plan->packing->name, "\n");
    const std::string method = in.plan->recipe.rule().method();
    if (method != in.plan->packing->name) {
      absl::StrAppend(&head, "- ", method, "\n");
    }
  }
  return head + "---\n\n";
}

std::string Errors(const QuantizeResult& result) {
  const ErrorSpread spread = SpreadOf(result.reports);
  if (spread.n == 0) {
    return "";
  }
  return absl::StrFormat(
      "Relative squared error of the layers' outputs (under the inputs that "
      "were seen, where there are any): mean %.5f, median %.5f, largest %.5f "
      "(`%s`); round to nearest on the same grids: mean %.5f.\n\n",
      spread.mean, spread.median, spread.largest, spread.largest_name,
      spread.mean_rounding);
}

std::string Measured(const std::optional<MeasuredLoss>& loss) {
  if (!loss.has_value()) {
    return "Perplexity was not measured.\n\n";
  }
  std::string text = absl::StrFormat(
      "| over %d tokens of %s | original | this model |\n| --- | --- | --- "
      "|\n| perplexity | %.4f | %.4f |\n",
      loss->n_tokens, loss->text, loss->perplexity_original, loss->perplexity);
  if (loss->has_divergence) {
    absl::StrAppendFormat(&text, "| mean KL divergence | 0 | %.5f |\n",
                          loss->divergence);
  }
  return text + "\n";
}

}  // namespace

std::string QuantizeCard(const QuantizeCardInputs& in) {
  const QuantizePlan& plan = *in.plan;
  std::string text = Head(in);
  const std::string base = BaseModel(*in.input);
  if (plan.packing == nullptr) {
    absl::StrAppend(&text, "# ", base, ", merged\n\nThe weights of ", base,
                    " with an adapter merged into them, by narrow:\n\n```\n",
                    in.command, "\n```\n");
    return text;
  }
  std::map<std::string, int> schemes;
  for (const PlannedLayer& layer : plan.layers) {
    ++schemes[SchemeName(layer.scheme)];
  }
  absl::StrAppend(&text, "# ", base, ", ", plan.recipe.rule().method(), "\n\n",
                  base, " quantized by narrow: ", plan.layers.size(),
                  " linear layers in ", plan.packing->title, " (",
                  absl::StrJoin(schemes, ", ", absl::PairFormatter(" x ")),
                  "), everything else as it was. ",
                  FormatBytes(plan.tensor_bytes), " of tensors, from ",
                  FormatBytes(plan.input_bytes), ".\n\n## Loss\n\n",
                  Measured(in.measured), Errors(*in.result));
  if (plan.n_refused() > 0) {
    absl::StrAppend(&text, plan.n_refused(),
                    " layers stay dense, since the format cannot hold their "
                    "shapes.\n\n");
  }
  absl::StrAppend(&text, "## Recipe\n\n```\n", in.command, "\n```\n\n");
  if (in.result->n_samples > 0) {
    absl::StrAppend(&text, "Calibrated on ", in.result->n_samples,
                    " samples of ", in.result->sample_tokens, " tokens",
                    in.result->n_drawn > 0
                        ? absl::StrCat(", ", in.result->n_drawn,
                                       " of them drawn from the vocabulary")
                        : "",
                    ".\n\n");
  }
  // Where the texts lie is no part of the recipe.
  QuantizeRecipe recipe = plan.recipe;
  for (std::string& file : *recipe.mutable_calibration()->mutable_file()) {
    file = std::filesystem::path(file).filename().string();
  }
  if (recipe.calibration().ByteSizeLong() == 0) {
    recipe.clear_calibration();
  }
  absl::StrAppend(&text, "```\n", RecipeText(recipe), "```\n");
  return text;
}

}  // namespace narrow
