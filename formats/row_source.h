// Rows of a matrix that no file holds as numbers: packed ones, which are
// decoded when asked for, and those that a solver has just made.
//
// Implementations are safe from any thread.

#ifndef NARROW_FORMATS_ROW_SOURCE_H_
#define NARROW_FORMATS_ROW_SOURCE_H_

#include <cstdint>

#include "absl/status/status.h"

namespace narrow {

struct PackedModule;  // formats/packing/packing.h

class RowSource {
 public:
  virtual ~RowSource() = default;
  // Rows [first_row, first_row + n_rows) as float32, [n_rows, n_cols].
  virtual absl::Status ReadRows(int64_t first_row, int64_t n_rows,
                                float* out) const = 0;
  // Bytes of files that the rows are made of; 0: none.
  virtual int64_t n_stored_bytes() const { return 0; }
  // The layer whose planes the rows are decoded from; nullptr: none.
  virtual const PackedModule* packed() const { return nullptr; }
};

}  // namespace narrow

#endif  // NARROW_FORMATS_ROW_SOURCE_H_
