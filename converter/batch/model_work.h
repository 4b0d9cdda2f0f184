// A model of a release while its targets are made: opened and hashed once for
// all of them, and what is there of each.
//
//   ModelWork work(out, model, options);
//   RETURN_IF_ERROR(work.Begin());
//   RETURN_IF_ERROR(work.Look(&row));       // row.record.done(): skip it
//   ASSIGN_OR_RETURN(auto planned, work.PlanGguf(*row.target));
//   ... write row.target->output ...
//   RETURN_IF_ERROR(work.Recorded(&row));
//
// Everything is borrowed. Belongs to one thread.

#ifndef NARROW_CONVERTER_BATCH_MODEL_WORK_H_
#define NARROW_CONVERTER_BATCH_MODEL_WORK_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/importance/importance.h"
#include "converter/batch/batch_options.h"
#include "converter/plan.h"
#include "converter/provenance/recorder.h"
#include "converter/quantize/model_input.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/hash/sha256.h"

namespace narrow {

// A file type's plan, and what it points into.
struct PlannedGguf {
  std::unique_ptr<ImportanceMatrix> importance;
  std::unique_ptr<Plan> plan;
};

class ModelWork {
 public:
  ModelWork(const std::string& out, const PlannedModel& model,
            const BatchOptions& options)
      : out_(out), model_(model), options_(options) {}

  // Finds out which model it is.
  absl::Status Begin();
  const Sha256Digest& identity() const { return identity_; }

  // What is there of an output, and a record that work on it has begun.
  absl::Status Look(TargetOutcome* row);
  // The output is complete under its name: hashes, sizes, manifest, record.
  absl::Status Recorded(TargetOutcome* row);

  absl::StatusOr<PlannedGguf> PlanGguf(const PlannedTarget& target);
  // The model, opened when first asked for: as GGUF, and as it is.
  absl::StatusOr<const Checkpoint*> checkpoint();
  absl::StatusOr<const ModelInput*> input();

  // A recorder that knows the command of a target. The model is hashed once
  // for all targets, beside the work on the first. REQUIRES:
  // options.provenance.
  absl::StatusOr<ProvenanceRecorder*> RecorderOf(const PlannedTarget& target);
  std::string RecordOf(const TargetOutcome& row) const;

 private:
  absl::Status Remove(const std::string& path) const;
  absl::Status BeginRecord(const std::string& key, TargetOutcome* row) const;
  absl::Status EnsureManifest(const TargetOutcome& row);
  absl::Status Measure(TargetOutcome* row);

  const std::string& out_;
  const PlannedModel& model_;
  const BatchOptions& options_;
  Sha256Digest identity_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<const ModelInput> input_;
  std::unique_ptr<ProvenanceRecorder> recorder_;
};

// Where outputs are moved before they are taken apart.
std::string DiscardedPath(const std::string& out);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_MODEL_WORK_H_
