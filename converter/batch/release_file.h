// A release file, read and completed: names, paths and defaults filled in.
//
//   ASSIGN_OR_RETURN(ReleasePlan plan, ReadRelease("release.textproto"));
//   plan.models[0].targets[0].output;    // "release/gemma-3-270m-Q4_K_M.gguf"
//
// Plain values.

#ifndef NARROW_CONVERTER_BATCH_RELEASE_FILE_H_
#define NARROW_CONVERTER_BATCH_RELEASE_FILE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/batch/release.pb.h"
#include "converter/recipe.h"

namespace narrow {

struct PlannedTarget {
  std::string name;    // "Q4_K_M"
  std::string output;  // a file, or the folder of a packed model
  bool is_gguf = true;
  Recipe recipe;        // GGUF
  std::string imatrix;  // GGUF; empty: none
  // GGUF: options of `narrow convert` about a solver; empty: none.
  std::vector<std::string> solver;
  std::vector<std::string> calibration;  // its texts, as they are opened
  bool is_one_shot = false;  // targets with the same `solver` share one pass
  QuantizeRecipe quantize;   // packed, with paths as they are opened
  // What was asked, for the key of what is there already: no path of ours.
  std::string settings;
};

struct PlannedModel {
  std::string name;
  std::string path;
  std::vector<PlannedTarget> targets;
  std::optional<ReleaseValidation> validation;  // paths as they are opened
};

struct ReleasePlan {
  std::string out;
  std::vector<PlannedModel> models;
};

// InvalidArgument: what the file does not say, says twice or asks of a name
// that there is not, with the place; errors of reading it.
absl::StatusOr<ReleasePlan> ReadRelease(const std::string& path);

// The same of a text; `path` is for messages and what paths are relative to.
absl::StatusOr<ReleasePlan> ParseRelease(absl::string_view text,
                                         const std::string& path);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_RELEASE_FILE_H_
