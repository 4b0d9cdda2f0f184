// Importance matrices: the mean square of every input column of every linear
// layer, as quantizers use it.
//
//   ASSIGN_OR_RETURN(auto matrix, ReadImportance("imatrix.gguf"));
//   const ImportanceEntry* e = matrix.Find("blk.0.attn_q.weight");
//
// Plain values.

#ifndef NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_H_
#define NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calibration/importance/importance_sums.h"

namespace narrow {

struct ImportanceEntry {
  std::vector<float> mean_sq;  // [n_matrices, n_cols]
  // Matrices (experts) that saw no token, and so have what the policy says.
  std::vector<int64_t> missing;
};

struct ImportanceMatrix {
  std::string path;
  std::vector<std::string> datasets;  // the texts it was made from
  int64_t n_chunks = 0;
  std::map<std::string, ImportanceEntry> entries;  // by GGUF tensor name

  const ImportanceEntry* Find(absl::string_view name) const;
};

// What becomes of a matrix that saw no token.
enum class MissingImportance {
  kUniform,  // ones, as llama-quantize has it
  // The mean over all rows that the tensor's other matrices saw; ones if none
  // saw any.
  kLayer,
  kRefuse,  // an error
};

// Means of sums, in float32 by a float32 count, as llama-quantize computes
// them. FailedPrecondition names the first matrix without data where the
// policy refuses, and says how many there are.
absl::StatusOr<ImportanceMatrix> MeanSquares(
    const ImportanceCollection& collection, MissingImportance missing);

// The means of a file in either format. DataLoss for a damaged file and for
// values that are negative, infinite or not numbers, named.
absl::StatusOr<ImportanceMatrix> ReadImportance(
    absl::string_view path,
    MissingImportance missing = MissingImportance::kUniform);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_H_
