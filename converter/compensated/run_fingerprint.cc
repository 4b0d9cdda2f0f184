// Tested by compensated_convert_test.cc.

#include "converter/compensated/run_fingerprint.h"

#include "absl/strings/str_format.h"
#include "calibration/weights/weights.h"
#include "formats/base/hash/fingerprint.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Changes when the same input gives other bytes than before.
constexpr char kVersion[] = "narrow convert compensated 6";

void AddSettings(const SolveSettings& settings, Fingerprint* print) {
  const CompensatedOptions& o = settings.solver;
  for (const int64_t number :
       {int64_t{settings.one_shot}, int64_t{settings.fisher},
        settings.max_coupled_outputs, settings.held_out_every,
        int64_t{o.rounds}, int64_t{o.refit}, int64_t{o.sweep},
        int64_t{o.n_orders}}) {
    print->Add(number);
  }
  for (const double number :
       {o.damping, o.drift, o.residual, o.drift_damping}) {
    print->Add(absl::StrFormat("%.17g", number));
  }
}

// Enough to tell models apart without reading them.
absl::Status AddJob(const Checkpoint& model, const SolveJob& job,
                    Fingerprint* print) {
  const PlannedTensor& planned = *job.planned;
  const TensorMeta& meta = planned.meta;
  print->Add(int64_t{job.output});
  print->Add(meta.name);
  print->Add(TypeName(meta.type));
  print->Add(planned.scale.name);
  std::vector<float> row(static_cast<size_t>(meta.n_cols()));
  for (const int64_t r : {int64_t{0}, meta.n_rows() - 1}) {
    RETURN_IF_ERROR(ReadRows(model, *planned.source, r, 1, row.data()));
    print->Add({reinterpret_cast<const uint8_t*>(row.data()),
                row.size() * sizeof(float)});
  }
  if (planned.importance != nullptr) {
    const int64_t n_matrices = meta.shape.size() > 2 ? meta.shape[0] : 1;
    print->Add(
        {reinterpret_cast<const uint8_t*>(planned.importance),
         static_cast<size_t>(n_matrices * meta.n_cols()) * sizeof(float)});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> FingerprintOf(const Checkpoint& model,
                                       const CalibrationSamples& samples,
                                       const VerifyWindows& verify,
                                       const SolveSettings& settings,
                                       const std::vector<SolveJob>& jobs,
                                       const PlannedTensor* embedding) {
  Fingerprint print;
  print.Add(kVersion);
  AddSettings(settings, &print);
  print.Add(static_cast<int64_t>(samples.hash));
  print.Add(verify.n_windows);
  print.Add({verify.counts.data(), verify.counts.size()});
  for (const CheckpointTensor& tensor : model.tensors()) {
    print.Add(tensor.meta.name);
    print.Add(TypeName(tensor.meta.type));
    print.Add(ShapeString(tensor.meta.shape));
  }
  for (const SolveJob& job : jobs) {
    RETURN_IF_ERROR(AddJob(model, job, &print));
  }
  if (embedding != nullptr) {
    RETURN_IF_ERROR(AddJob(model, {0, {}, embedding}, &print));
  }
  return print.value();
}

}  // namespace narrow
