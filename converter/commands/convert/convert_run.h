// One run of `narrow convert` to GGUF, from checked flags to files and reports.

#ifndef NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_RUN_H_
#define NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_RUN_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "converter/commands/convert/convert_hf.h"
#include "converter/commands/convert/convert_part.h"
#include "converter/commands/convert/convert_plans.h"
#include "converter/commands/flags/recipe/allocation_flags.h"
#include "converter/commands/flags/recipe/gguf_flags.h"
#include "converter/commands/flags/recipe/importance_flags.h"
#include "converter/commands/flags/recipe/solver_flags.h"
#include "converter/commands/flags/recipe/type_flags.h"
#include "converter/recipe.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

struct ConvertFlags {
  std::string model;
  std::string to;
  std::string out;
  TypeFlags types;
  ImportanceFlags importance;
  SolverFlags solver;
  AllocationFlags allocation;
  std::string shard;
  std::vector<std::string> only;  // tensors of a part, for verify
  PlanFlags plans;
  bool manifest = true;
  bool dry_run = false;
  bool quiet = false;
  GgufFlags gguf;
  CheckpointOptions checkpoint;
  HfFlags hf;
  int n_threads = 0;
  std::string device;
  std::string json;
};

// Opens the model, chooses types where there is a target for them, plans,
// writes, judges and reports. Of `recipes`, one an output; with a target, the
// one there is says what the types do not; of a part, there is one.
absl::Status RunConversion(const CLI::App& command, const ConvertFlags& flags,
                           std::vector<Recipe> recipes,
                           const SolverRequest& solver,
                           const AllocationJob& allocation,
                           const PartJob& part);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_RUN_H_
