// Tested by: importance_coverage_test.

#include "calibration/importance/importance_coverage.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {

ImportanceCoverage CoverageOf(const ImportanceCollection& collection) {
  ImportanceCoverage coverage;
  for (const auto& [name, sums] : collection.entries) {
    const int64_t n_without =
        std::count(sums.counts.begin(), sums.counts.end(), 0);
    coverage.n_matrices += sums.n_matrices;
    coverage.n_without += n_without;
    if (n_without > 0) {
      coverage.gaps.push_back({name, n_without, sums.n_matrices});
    }
  }
  return coverage;
}

std::vector<std::string> TensorsWithoutEntry(
    const Checkpoint& model, const ImportanceCollection& collection) {
  std::vector<std::string> names;
  for (const CheckpointTensor& tensor : model.tensors()) {
    const bool is_matrix = tensor.layer >= 0 && tensor.meta.shape.size() > 1;
    if (is_matrix && collection.entries.count(tensor.meta.name) == 0) {
      names.push_back(tensor.meta.name);
    }
  }
  return names;
}

absl::Status CheckIsOfModel(const Checkpoint& model,
                            const ImportanceCollection& collection) {
  bool any = false;
  for (const auto& [name, sums] : collection.entries) {
    const CheckpointTensor* tensor = model.Find(name);
    if (tensor == nullptr) {
      continue;
    }
    any = true;
    const std::vector<int64_t>& shape = tensor->meta.shape;
    const int64_t wanted =
        tensor->meta.n_cols() * (shape.size() == 3 ? shape.front() : 1);
    const int64_t given = static_cast<int64_t>(sums.sum_sq.size());
    if (given != wanted) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", QuotedName(name), " of ", model.path(), " needs ", wanted,
          " importance values, there are ", given,
          ": they are of another model; reading ", collection.path));
    }
  }
  return any ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat(
                   "no entry has the name of a tensor of ", model.path(),
                   ": they are of another model; reading ", collection.path));
}

}  // namespace narrow
