// narrow convert --shards N --write-plans DIR, and --plan FILE: parts whose
// plans are files, so that a build does only those again that changed.

#ifndef NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_PLANS_H_
#define NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_PLANS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "converter/commands/flags/recipe/importance_flags.h"
#include "converter/plan.h"
#include "converter/provenance/recorder.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

struct PlanFlags {
  int64_t n_shards = 0;
  std::string folder;
  std::string plan;
};

// `flags` must outlive the command.
void AddPlanFlags(CLI::App* command, PlanFlags* flags);

// InvalidArgument: what plans cannot be written for.
absl::Status CheckPlanFlags(const PlanFlags& flags, size_t n_types, bool solved,
                            bool part);
// InvalidArgument: an option that --plan leaves no choice in.
absl::Status CheckPlannedOptions(const CLI::App& command);

absl::Status WriteThePlans(const Checkpoint& model, const Plan& plan,
                           const PlanFlags& flags,
                           const ImportanceFlags& importance,
                           const CheckpointOptions& checkpoint,
                           const ProvenanceRequest& provenance, bool quiet);

// The part of one plan.
absl::Status WritePlannedShard(const std::string& model,
                               const std::string& plan,
                               const std::string& imatrix,
                               const std::string& out, int n_threads,
                               const std::string& device, bool quiet);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_PLANS_H_
