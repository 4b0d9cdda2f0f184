// What an importance matrix is made of: for every linear layer, sums over the
// rows that went into it of each input column and of its square, in double,
// and how many rows there were. Sums add up, means do not: files are combined
// and continued here, and importance.h makes the means that quantizers use.
//
//   ASSIGN_OR_RETURN(ImportanceCollection a, ReadImportanceSums("a.gguf"));
//   ASSIGN_OR_RETURN(ImportanceCollection b, ReadImportanceSums("b.dat"));
//   SetChunkSize(512, &b);
//   RETURN_IF_ERROR(AddImportance(b, &a));
//   RETURN_IF_ERROR(WriteImportanceGguf(a, "both.gguf"));
//
// Plain values.

#ifndef NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_SUMS_H_
#define NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_SUMS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

// Of one tensor. A stacked tensor has a matrix an expert, each with a count of
// its own; others have one. Legacy files know no matrices: there, a stacked
// tensor is one matrix with the columns of all.
struct ImportanceSums {
  int64_t n_matrices = 0;
  int64_t n_cols = 0;
  std::vector<double> sum_sq;   // [n_matrices, n_cols]
  std::vector<double> sum;      // the same, or empty: not recorded
  std::vector<int64_t> counts;  // [n_matrices] rows; 0: no data
};

struct ImportanceCollection {
  std::string path;                   // where it was read
  std::vector<std::string> datasets;  // the texts it was made from
  int64_t n_chunks = 0;
  // Rows a chunk. 0 in what a legacy file gives, which does not record it:
  // counts are chunks then.
  int64_t chunk_size = 0;
  std::map<std::string, ImportanceSums> entries;  // by GGUF tensor name
};

// Both formats, told apart by the file's first bytes. DataLoss for a damaged
// file and for sums that are infinite, not numbers, or negative where squares
// were summed, named.
absl::StatusOr<ImportanceCollection> ReadImportanceSums(absl::string_view path);

// Counts in rows, where they were in chunks, of so many each; does nothing
// where the size is known. REQUIRES: chunk_size > 0.
void SetChunkSize(int64_t chunk_size, ImportanceCollection* collection);

// Adds sums, counts and texts of `from` to those of `to`; a count that stands
// for several matrices is that of each. Where either does not record sums of
// the columns themselves, neither does the result. n_chunks follows from the
// largest count and to->chunk_size. InvalidArgument, and `to` as it was, if a
// tensor's sizes differ. REQUIRES: SetChunkSize on both.
absl::Status AddImportance(const ImportanceCollection& from,
                           ImportanceCollection* to);
// The same as a new value.
absl::StatusOr<ImportanceCollection> CombineImportance(
    const ImportanceCollection& a, const ImportanceCollection& b);

// Files as llama-imatrix writes them; complete under their name or not at all.
// The legacy format holds means and the last text's name only: a tensor
// without any data is left out, a matrix without has ones. REQUIRES:
// SetChunkSize.
absl::Status WriteImportanceGguf(const ImportanceCollection& collection,
                                 absl::string_view path);
absl::Status WriteImportanceDat(const ImportanceCollection& collection,
                                absl::string_view path);

}  // namespace narrow

#endif  // NARROW_CALIBRATION_IMPORTANCE_IMPORTANCE_SUMS_H_
