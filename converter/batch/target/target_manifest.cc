#include "converter/batch/target/target_manifest.h"

#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "converter/provenance/manifest.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Fields that options say leave the recipe.
void TakeRule(LayerRule* rule, std::vector<std::string>* words) {
  if (rule->has_method()) {
    words->push_back(absl::StrCat("--method=", rule->method()));
    rule->clear_method();
  }
  if (rule->has_bits()) {
    words->push_back(absl::StrCat("--bits=", rule->bits()));
    rule->clear_bits();
  }
  if (rule->has_group_size()) {
    words->push_back(absl::StrCat("--group-size=", rule->group_size()));
    rule->clear_group_size();
  }
  if (rule->has_symmetric()) {
    words->push_back(rule->symmetric() ? "--symmetric" : "--asymmetric");
    rule->clear_symmetric();
  }
  if (rule->has_block_size()) {
    words->push_back(absl::StrCat("--block-size=", rule->block_size()));
    rule->clear_block_size();
  }
  if (rule->double_quant()) {
    words->push_back("--double-quant");
    rule->clear_double_quant();
  }
}

// Files are options, so that the manifest has their hashes.
void TakeFiles(QuantizeRecipe* recipe, std::vector<std::string>* words) {
  for (const std::string& file : recipe->calibration().file()) {
    words->push_back(absl::StrCat("--calibration=", file));
  }
  if (recipe->has_calibration()) {
    recipe->mutable_calibration()->clear_file();
  }
  if (recipe->has_imatrix()) {
    words->push_back(absl::StrCat("--imatrix=", recipe->imatrix()));
    recipe->clear_imatrix();
  }
}

// Drops messages that say nothing any more.
void DropEmpty(QuantizeRecipe* recipe) {
  if (recipe->rule().ByteSizeLong() == 0) {
    recipe->clear_rule();
  }
  if (recipe->calibration().ByteSizeLong() == 0) {
    recipe->clear_calibration();
  }
}

TargetCommand PackedCommand(const PlannedTarget& target,
                            const std::string& recipe_path) {
  TargetCommand command;
  QuantizeRecipe rest = target.quantize;
  TakeRule(rest.mutable_rule(), &command.words);
  if (rest.has_format()) {
    command.words.push_back(absl::StrCat("--format=", rest.format()));
    rest.clear_format();
  }
  TakeFiles(&rest, &command.words);
  DropEmpty(&rest);
  if (rest.ByteSizeLong() > 0) {
    command.recipe = RecipeText(rest);
    command.words.push_back(absl::StrCat("--recipe=", recipe_path));
  }
  return command;
}

TargetCommand GgufCommand(const PlannedTarget& target) {
  TargetCommand command;
  const Recipe& recipe = target.recipe;
  command.words.push_back(absl::StrCat("--to=", RecipeName(recipe)));
  if (!target.imatrix.empty()) {
    command.words.push_back(absl::StrCat("--imatrix=", target.imatrix));
  }
  if (recipe.mode == Mode::kStrict) {
    command.words.push_back("--mode=strict");
  }
  if (recipe.pure) {
    command.words.push_back("--pure");
  }
  for (const TypeOverride& row : recipe.overrides) {
    command.words.push_back(
        absl::StrCat("--tensor-type=", row.pattern, "=", TypeName(row.type)));
  }
  if (recipe.output_type.has_value()) {
    command.words.push_back(
        absl::StrCat("--output-tensor-type=", TypeName(*recipe.output_type)));
  }
  if (recipe.embedding_type.has_value()) {
    command.words.push_back(absl::StrCat("--token-embedding-type=",
                                         TypeName(*recipe.embedding_type)));
  }
  command.words.insert(command.words.end(), target.solver.begin(),
                       target.solver.end());
  return command;
}

void AddMeasurement(const std::string& name, double value,
                    const std::string& text, provenance::Manifest* manifest) {
  provenance::Measurement* row = manifest->add_measured();
  row->set_name(name);
  row->set_value(value);
  row->set_text(text);
}

}  // namespace

TargetCommand CommandOfTarget(const std::string& model,
                              const PlannedTarget& target,
                              const std::string& recipe_path) {
  TargetCommand command =
      target.is_gguf ? GgufCommand(target) : PackedCommand(target, recipe_path);
  // A name is no option, whatever it begins with.
  const std::string path = model[0] == '-' ? absl::StrCat("./", model) : model;
  command.words.insert(command.words.begin(),
                       {target.is_gguf ? "convert" : "quantize", path});
  return command;
}

bool HasManifest(const std::string& out, const std::string& output,
                 const TargetRecord& record) {
  const auto manifest = ReadManifest(ManifestPath(output));
  if (!manifest.ok() || manifest->output().files_size() != record.file_size()) {
    return false;
  }
  std::map<std::string, std::string> hashes;
  for (const provenance::File& file : manifest->output().files()) {
    hashes[file.name()] = file.sha256();
  }
  namespace fs = std::filesystem;
  const fs::path relative = fs::path(output).lexically_relative(out);
  for (const RecordedFile& file : record.file()) {
    const fs::path name =
        fs::path(file.name()) == relative
            ? relative.filename()
            : fs::path(file.name()).lexically_relative(relative);
    const auto it = hashes.find(name.generic_string());
    if (it == hashes.end() || it->second != file.sha256()) {
      return false;
    }
  }
  return true;
}

absl::Status SetMeasured(const std::string& output,
                         const RecordedValidation& validation) {
  const std::string path = ManifestPath(output);
  ASSIGN_OR_RETURN(const provenance::Manifest before, ReadManifest(path));
  provenance::Manifest manifest = before;
  manifest.clear_measured();
  for (const RecordedDomain& row : validation.domain()) {
    const std::string text =
        absl::StrCat(row.name(), ", ", row.n_tokens(), " tokens");
    AddMeasurement("perplexity of the original", row.reference_perplexity(),
                   text, &manifest);
    AddMeasurement("perplexity", row.perplexity(), text, &manifest);
    AddMeasurement("KL divergence", row.kld(), text, &manifest);
  }
  for (const RecordedTask& row : validation.task()) {
    const std::string text =
        absl::StrCat(row.name(), ", ", row.n_questions(), " questions");
    AddMeasurement(absl::StrCat(row.metric(), " of the original"),
                   row.reference_value(), text, &manifest);
    AddMeasurement(row.metric(), row.value(), text, &manifest);
  }
  return manifest.SerializeAsString() == before.SerializeAsString()
             ? absl::OkStatus()
             : WriteManifest(manifest, path);
}

}  // namespace narrow
