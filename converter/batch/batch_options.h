// How a release is made, and what came of it.

#ifndef NARROW_CONVERTER_BATCH_BATCH_OPTIONS_H_
#define NARROW_CONVERTER_BATCH_BATCH_OPTIONS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/batch/release.pb.h"
#include "converter/batch/release_file.h"
#include "converter/pipeline.h"
#include "converter/provenance/recorder.h"
#include "formats/arch/checkpoint.h"
#include "kernels/device.h"

namespace narrow {

// One candidate measured against its original. `cache` is a folder for what
// candidates of one original share.
using ValidateTargetFn = std::function<absl::StatusOr<RecordedValidation>(
    const std::string& original, const PlannedTarget& target,
    const ReleaseValidation& settings, const std::string& cache)>;

// What the manifest says of a command, given by its words: {"convert",
// "gemma", "--to=Q8_0"}.
using ProvenanceFn = std::function<absl::StatusOr<ProvenanceRequest>(
    const std::vector<std::string>& words)>;

// Planned file types of one model, to be solved and written; borrowed.
struct SolveTargetsRequest {
  const Checkpoint* model = nullptr;
  std::string model_hash;          // of what it holds
  std::vector<std::string> words;  // PlannedTarget::solver of all
  std::vector<Output> outputs;     // several only if they share one pass
  std::string cache;               // a folder for what requests share
};
using SolveTargetsFn = std::function<absl::Status(const SolveTargetsRequest&)>;

struct BatchOptions {
  int n_threads = 0;
  int64_t memory_bytes = int64_t{160} << 20;  // of pieces in flight
  // Of encoders, calibration, and solvers that have one; none: the processor.
  std::optional<Device> device;
  std::function<void(absl::string_view)> on_device_note;
  // Outputs that no run of a release made are replaced, not refused.
  bool replace = false;
  ValidateTargetFn validate;
  SolveTargetsFn solve;
  // Every output gets a manifest, unless this is empty.
  ProvenanceFn provenance;
  // A line for people: what begins, what is there already.
  std::function<void(absl::string_view)> log;
  // Bytes written, for a bar; may be empty.
  std::function<void(int64_t)> on_written;
  const std::atomic<bool>* cancelled = nullptr;

  bool is_cancelled() const {
    return cancelled != nullptr && cancelled->load();
  }
  void Log(absl::string_view line) const {
    if (log) {
      log(line);
    }
  }
};

struct TargetOutcome {
  const PlannedTarget* target = nullptr;
  absl::Status status;     // of making it, then of validating it
  bool was_there = false;  // whole, from a run before
  TargetRecord record;     // of what is there
  // "pass", "undecided", "fail"; "" without a gate or where that failed.
  std::string verdict() const { return record.validation().verdict(); }
};

struct ModelOutcome {
  const PlannedModel* model = nullptr;
  std::vector<TargetOutcome> targets;
};

struct BatchOutcome {
  std::vector<ModelOutcome> models;
  bool cancelled = false;  // targets without a record were not begun
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_BATCH_OPTIONS_H_
