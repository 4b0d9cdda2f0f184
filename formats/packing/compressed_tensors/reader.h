// Reading of compressed-tensors: its packed modules in a source, and their
// rows. Called through kCompressedTensorsPacking.
//
// What older versions wrote is read too: integers of 3, 5, 6 and 7 bits with
// floor(32 / bits) codes a word, zero points that are not packed, groups named
// by column ("weight_g_idx").

#ifndef NARROW_FORMATS_PACKING_COMPRESSED_TENSORS_READER_H_
#define NARROW_FORMATS_PACKING_COMPRESSED_TENSORS_READER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/json/json.h"
#include "formats/packing/packing.h"
#include "formats/packing/quantized_matrix.h"
#include "formats/tensor.h"

namespace narrow {
namespace compressed_tensors {

absl::StatusOr<std::vector<PackedModule>> Find(const JsonValue& config,
                                               const TensorSource& source);

absl::StatusOr<QuantizedMatrix> Unpack(const PackedModule& module,
                                       int64_t first_row, int64_t n_rows);
bool LayoutOfCodes(const PackedModule& module, CodeLayout* layout);
absl::StatusOr<QuantizedMatrix> UnpackScales(const PackedModule& module,
                                             int64_t first_row, int64_t n_rows);

}  // namespace compressed_tensors
}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_COMPRESSED_TENSORS_READER_H_
