// Divisions are float32 by a float32 count, as llama-quantize does them, so
// that the quantizers see the same weights.
//
// Tested by: importance_test, on files that llama-imatrix wrote.

#include "calibration/importance/importance.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Means over the rows that all matrices saw; ones if there are none.
std::vector<float> MeanOfAll(const ImportanceSums& sums) {
  std::vector<double> total(static_cast<size_t>(sums.n_cols));
  int64_t n_rows = 0;
  for (int64_t m = 0; m < sums.n_matrices; ++m) {
    n_rows += sums.counts[static_cast<size_t>(m)];
    for (int64_t j = 0; j < sums.n_cols; ++j) {
      total[static_cast<size_t>(j)] +=
          sums.sum_sq[static_cast<size_t>(m * sums.n_cols + j)];
    }
  }
  std::vector<float> means(total.size(), 1.0f);
  for (size_t j = 0; n_rows > 0 && j < means.size(); ++j) {
    means[j] = static_cast<float>(total[j] / static_cast<double>(n_rows));
  }
  return means;
}

ImportanceEntry MeansOf(const ImportanceSums& sums, MissingImportance policy) {
  ImportanceEntry entry;
  entry.mean_sq.reserve(sums.sum_sq.size());
  for (int64_t m = 0; m < sums.n_matrices; ++m) {
    const float count = static_cast<float>(sums.counts[static_cast<size_t>(m)]);
    if (count > 0) {
      for (int64_t i = m * sums.n_cols; i < (m + 1) * sums.n_cols; ++i) {
        entry.mean_sq.push_back(
            static_cast<float>(sums.sum_sq[static_cast<size_t>(i)]) / count);
      }
      continue;
    }
    entry.missing.push_back(m);
    if (policy == MissingImportance::kLayer) {
      const std::vector<float> means = MeanOfAll(sums);
      entry.mean_sq.insert(entry.mean_sq.end(), means.begin(), means.end());
    } else {
      entry.mean_sq.insert(entry.mean_sq.end(),
                           static_cast<size_t>(sums.n_cols), 1.0f);
    }
  }
  return entry;
}

}  // namespace

const ImportanceEntry* ImportanceMatrix::Find(absl::string_view name) const {
  const auto it = entries.find(std::string(name));
  return it == entries.end() ? nullptr : &it->second;
}

absl::StatusOr<ImportanceMatrix> MeanSquares(
    const ImportanceCollection& collection, MissingImportance missing) {
  ImportanceMatrix matrix;
  matrix.path = collection.path;
  matrix.datasets = collection.datasets;
  matrix.n_chunks = collection.n_chunks;
  size_t n_missing = 0;
  std::string first;
  for (const auto& [name, sums] : collection.entries) {
    ImportanceEntry entry = MeansOf(sums, missing);
    if (n_missing == 0 && !entry.missing.empty()) {
      first = absl::StrCat("matrix ", entry.missing[0], " of ", sums.n_matrices,
                           " of ", QuotedName(name));
    }
    n_missing += entry.missing.size();
    matrix.entries[name] = std::move(entry);
  }
  if (missing == MissingImportance::kRefuse && n_missing > 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        n_missing, n_missing == 1 ? " matrix has" : " matrices have",
        " no importance data, ", first,
        " first: no token of the text reached them; a longer or more varied "
        "text may; reading ",
        collection.path));
  }
  return matrix;
}

absl::StatusOr<ImportanceMatrix> ReadImportance(absl::string_view path,
                                                MissingImportance missing) {
  ASSIGN_OR_RETURN(const ImportanceCollection collection,
                   ReadImportanceSums(path));
  return MeanSquares(collection, missing);
}

}  // namespace narrow
