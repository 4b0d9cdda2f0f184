// Tested by: importance_sums_test.

#include "calibration/importance/importance_sums.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Counts that stand for several matrices become counts of each.
void SplitIntoMatrices(int64_t n_matrices, ImportanceSums* sums) {
  if (sums->n_matrices == 1 && n_matrices > 1) {
    sums->n_matrices = n_matrices;
    sums->n_cols /= n_matrices;
    sums->counts.resize(static_cast<size_t>(n_matrices), sums->counts[0]);
  }
}

bool CanAdd(const ImportanceSums& a, const ImportanceSums& b) {
  return a.sum_sq.size() == b.sum_sq.size() &&
         (a.n_matrices == b.n_matrices || a.n_matrices == 1 ||
          b.n_matrices == 1);
}

void AddSums(ImportanceSums from, ImportanceSums* to) {
  if (to->counts.empty()) {
    *to = std::move(from);
    return;
  }
  SplitIntoMatrices(to->n_matrices, &from);
  SplitIntoMatrices(from.n_matrices, to);
  for (size_t i = 0; i < to->sum_sq.size(); ++i) {
    to->sum_sq[i] += from.sum_sq[i];
  }
  for (size_t m = 0; m < to->counts.size(); ++m) {
    to->counts[m] += from.counts[m];
  }
  if (from.sum.empty() || to->sum.empty()) {
    to->sum.clear();
    return;
  }
  for (size_t i = 0; i < to->sum.size(); ++i) {
    to->sum[i] += from.sum[i];
  }
}

std::string Sizes(const ImportanceSums& sums) {
  return absl::StrCat("[", sums.n_matrices, ", ", sums.n_cols, "]");
}

}  // namespace

void SetChunkSize(int64_t chunk_size, ImportanceCollection* collection) {
  assert(chunk_size > 0);
  if (collection->chunk_size > 0) {
    return;
  }
  collection->chunk_size = chunk_size;
  for (auto& [name, sums] : collection->entries) {
    for (double& value : sums.sum_sq) {
      value *= static_cast<double>(chunk_size);
    }
    for (int64_t& count : sums.counts) {
      count *= chunk_size;
    }
  }
}

absl::Status AddImportance(const ImportanceCollection& from,
                           ImportanceCollection* to) {
  assert(from.chunk_size > 0 && to->chunk_size > 0);
  for (const auto& [name, sums] : from.entries) {
    const auto found = to->entries.find(name);
    if (found != to->entries.end() && !CanAdd(sums, found->second)) {
      return absl::InvalidArgumentError(
          absl::StrCat("importance of ", QuotedName(name), " is ", Sizes(sums),
                       " in ", from.path, " and ", Sizes(found->second), " in ",
                       to->path, ": they are of different models"));
    }
  }
  int64_t most = 0;
  for (const auto& [name, sums] : from.entries) {
    AddSums(sums, &to->entries[name]);
  }
  for (const auto& [name, sums] : to->entries) {
    most = std::max(most,
                    *std::max_element(sums.counts.begin(), sums.counts.end()));
  }
  // To the nearest, since files may have had other sizes.
  to->n_chunks = (most + to->chunk_size / 2) / to->chunk_size;
  to->datasets.insert(to->datasets.end(), from.datasets.begin(),
                      from.datasets.end());
  return absl::OkStatus();
}

absl::StatusOr<ImportanceCollection> CombineImportance(
    const ImportanceCollection& a, const ImportanceCollection& b) {
  ImportanceCollection both = a;
  RETURN_IF_ERROR(AddImportance(b, &both));
  return both;
}

}  // namespace narrow
