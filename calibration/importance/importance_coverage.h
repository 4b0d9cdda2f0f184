// How much of a model an importance matrix covers: experts that no token
// reached, and tensors that are not in it.
//
//   ImportanceCoverage coverage = CoverageOf(sums);
//   for (const auto& gap : coverage.gaps) ...
//
// Pure functions.

#ifndef NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_COVERAGE_H_
#define NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_COVERAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "calibration/importance/importance_sums.h"
#include "formats/arch/checkpoint.h"

namespace narrow {

struct ImportanceCoverage {
  struct Gap {
    std::string tensor;
    int64_t n_without = 0;  // matrices without data
    int64_t n_matrices = 0;
  };

  int64_t n_matrices = 0;
  int64_t n_without = 0;
  std::vector<Gap> gaps;  // tensors with such matrices, by name
};

ImportanceCoverage CoverageOf(const ImportanceCollection& collection);

// The matrices of `model`'s blocks that `collection` has no entry for.
std::vector<std::string> TensorsWithoutEntry(
    const Checkpoint& model, const ImportanceCollection& collection);

// InvalidArgument if an entry is not of the size that the model's tensor of
// that name needs, or if no entry has the name of a tensor.
absl::Status CheckIsOfModel(const Checkpoint& model,
                            const ImportanceCollection& collection);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_COVERAGE_H_
