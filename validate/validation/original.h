// The original model of a validation, open and ready to be compared with: its
// runner, and for each text its hidden states, from the cache or computed.
//
//   ASSIGN_OR_RETURN(auto original,
//                    OriginalModel::Open(options, &inputs, &pool, &report));
//   RETURN_IF_ERROR(original->Prepare(domain, n_windows, progress));
//   original->reference(domain);
//
// A cache that is damaged, or that cannot be written, is a warning of the
// report and no error: its content can be had again. Belongs to one thread.

#ifndef NARROW_VALIDATE_VALIDATION_ORIGINAL_H_
#define NARROW_VALIDATE_VALIDATION_ORIGINAL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/model_runner.h"
#include "formats/base/parallel.h"
#include "validate/cache/hidden_rows.h"
#include "validate/reference/hidden_reference.h"
#include "validate/validation.h"
#include "validate/validation/inputs.h"

namespace narrow {

class OriginalModel {
 public:
  // All are borrowed; `report` gets warnings.
  static absl::StatusOr<std::unique_ptr<OriginalModel>> Open(
      const ValidationOptions& options, const ValidationInputs* inputs,
      ThreadPool* pool, ValidationReport* report);

  ModelRunner* runner() { return runner_.get(); }
  HiddenReference* reference(size_t domain) {
    return domains_[domain].reference.get();
  }
  // Windows whose states are known.
  int64_t n_prepared(size_t domain) const {
    return domains_[domain].rows->n_windows();
  }
  // Makes windows known, and saves them where there is a cache.
  absl::Status Prepare(size_t domain, int64_t n_windows,
                       const ScoreProgressFn& progress);
  // REQUIRES: all windows of the only domain are prepared.
  absl::Status WriteBase(const std::string& path);

  // Adds what was done.
  void Report(ValidationReport* report) const;

 private:
  struct Domain {
    std::unique_ptr<HiddenRows> rows;
    std::unique_ptr<HiddenReference> reference;
    std::string path;  // in the cache; empty without one
  };

  OriginalModel(const ValidationOptions& options,
                const ValidationInputs* inputs, ThreadPool* pool,
                ValidationReport* report)
      : options_(options), inputs_(inputs), pool_(pool), report_(report) {}
  absl::Status OpenDomain(const DomainInput& input);
  absl::StatusOr<std::unique_ptr<HiddenRows>> OpenRows(const DomainInput& input,
                                                       const std::string& path);

  const ValidationOptions& options_;
  const ValidationInputs* const inputs_;
  ThreadPool* const pool_;
  ValidationReport* const report_;
  std::unique_ptr<ModelRunner> runner_;
  std::vector<Domain> domains_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_VALIDATION_ORIGINAL_H_
