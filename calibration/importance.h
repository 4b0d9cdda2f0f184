// Importance matrices: the mean square of every input column of every linear
// layer, as llama-imatrix writes them, in both of its formats.
//
//   ASSIGN_OR_RETURN(auto matrix, ReadImportance("imatrix.gguf"));
//   const ImportanceEntry* e = matrix.Find("blk.0.attn_q.weight");
//
// Plain values.

#ifndef NARROW_CALIBRATION_IMPORTANCE_H_
#define NARROW_CALIBRATION_IMPORTANCE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

struct ImportanceEntry {
  // [n_matrices, n_cols]; a matrix (an expert) that saw no token has ones.
  std::vector<float> mean_sq;
};

struct ImportanceMatrix {
  std::string path;
  std::vector<std::string> datasets;  // the texts it was made from
  int64_t n_chunks = 0;
  std::map<std::string, ImportanceEntry> entries;  // by GGUF tensor name

  const ImportanceEntry* Find(absl::string_view name) const;
};

// The format is told by the file's first bytes. DataLoss for a damaged file
// and for values that are negative, infinite or not numbers, named.
absl::StatusOr<ImportanceMatrix> ReadImportance(absl::string_view path);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_IMPORTANCE_H_
