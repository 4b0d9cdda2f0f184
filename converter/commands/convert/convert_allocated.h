// The part of `narrow convert` that chooses types for a target.
//
//   ASSIGN_OR_RETURN(Chosen chosen,
//                    ChooseTypes(*model, recipe, importance, job, solver,
//                                samples, path, run));
//   ... write the file that chosen.allocation.recipe is of ...
//   RETURN_IF_ERROR(JudgeChoice(*model, file, solver, samples, run, &chosen));
//   std::fputs(AllocationText(chosen, job).c_str(), stdout);
//   AllocationJson(chosen, job, &json);

#ifndef NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_ALLOCATED_H_
#define NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_ALLOCATED_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/blockwise/samples.h"
#include "calibration/importance/importance.h"
#include "converter/allocation/allocate.h"
#include "converter/allocation/loss_table.h"
#include "converter/commands/flags/recipe/allocation_flags.h"
#include "converter/commands/flags/recipe/solver_flags.h"
#include "converter/recipe.h"
#include "formats/arch/checkpoint.h"
#include "formats/json/json_writer.h"
#include "kernels/device.h"

namespace narrow {

struct AllocationRun {
  int n_threads = 0;
  bool quiet = false;
  const std::atomic<bool>* cancelled = nullptr;
  std::optional<Device> device;  // of the reverse pass; none: the processor
};

struct Chosen {
  Allocation allocation;
  std::string probe_path;
  LossTable table;
  std::string way;      // of table.factors
  double loss_sum = 0;  // of the types chosen, without a factor
  // Of the file, on windows of the text that follow those calibrated on; none
  // where the text has no more.
  std::optional<double> measured;
  int64_t n_windows = 0;
  // Of the reverse pass over the samples, if one was needed, as a solver wants
  // them; none where losses were known.
  std::optional<FisherWeights> fisher;
};

// Measures the losses on `samples`, or reads them where they were measured
// before, and chooses; writes the recipe if asked for. `output`: of the file,
// whose folder gets the losses.
absl::StatusOr<Chosen> ChooseTypes(
    const Checkpoint& model, const Recipe& recipe,
    const ImportanceMatrix* importance, const AllocationJob& job,
    const SolverRequest& solver, const CalibrationSamples& samples,
    const std::string& output, const AllocationRun& run);

// Measures the divergence of the file that was written, and keeps with the
// losses what it is of their sum, where that was not known: predictions from
// then on have this factor.
absl::Status JudgeChoice(const Checkpoint& model, const std::string& file,
                         const SolverRequest& solver,
                         const CalibrationSamples& samples,
                         const AllocationRun& run, Chosen* chosen);

// The choice in lines: tensors of a kind by type, what is predicted.
std::string AllocationText(const Chosen& chosen, const AllocationJob& job);
// The key "allocation": {"target", "value", "predicted_kld", "measured_kld",
// "gap", "tensors": [{"name", "type", "bytes", "kld", "probed"}]}.
void AllocationJson(const Chosen& chosen, const AllocationJob& job,
                    JsonWriter* json);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_ALLOCATED_H_
