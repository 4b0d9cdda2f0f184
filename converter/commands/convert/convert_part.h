// narrow convert --shard K/N: one part of a conversion, for narrow merge.
//
//   ASSIGN_OR_RETURN(PartJob job, PartFromFlag(flags.shard, …));
//   if (job.on) RETURN_IF_ERROR(WriteOnePart(*model, plan, path, job, …));

#ifndef NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_PART_H_
#define NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_PART_H_

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/commands/convert/convert_solved.h"
#include "converter/commands/flags/recipe/solver_flags.h"
#include "converter/parts/write_part.h"
#include "converter/plan.h"
#include "converter/recipe.h"
#include "formats/arch/checkpoint.h"
#include "kernels/device.h"

namespace narrow {

struct PartJob {
  bool on = false;
  PartRequest request;
  int n_threads = 0;
  std::optional<Device> device;  // where blocks are encoded
  bool quiet = false;
  const std::atomic<bool>* cancelled = nullptr;
};

// InvalidArgument for what is no K/N, and for what cannot be done in parts,
// with what to do instead.
absl::StatusOr<PartJob> PartFromFlag(const std::string& flag,
                                     const std::vector<Recipe>& recipes,
                                     const SolverRequest& solver,
                                     bool allocating);

// "out/model-Q4_K_M.part-00002-of-00004", or `out` if it names a file.
std::string PartPath(const std::string& model, const std::string& out,
                     const std::string& name, const Shard& shard);

// Writes the part and returns its size. `text` is for the solver.
absl::StatusOr<int64_t> WriteOnePart(const Checkpoint& model, const Plan& plan,
                                     const std::string& path,
                                     const PartJob& job);
absl::StatusOr<int64_t> WriteSolvedPart(
    const Checkpoint& model, const SolverText& text, const Plan& plan,
    const std::string& path, const PartJob& job, const SolvedJob& solved);

// "wrote PATH: part 2 of 4, BYTES bytes\n", and on a dry run what it would.
std::string PartSummary(const Plan& plan, const std::string& path,
                        const PartJob& job, int64_t file_bytes, bool dry_run);
std::string PartJson(const Plan& plan, const std::string& path,
                     const PartJob& job, int64_t file_bytes, double seconds,
                     bool dry_run);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_PART_H_
