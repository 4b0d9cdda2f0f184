// Products of bfloat16 matrices with float32 sums on a device, and Gram
// matrices from them.
//
//   ASSIGN_OR_RETURN(auto products, DeviceProducts::Open(device, &note));
//   RETURN_IF_ERROR(products->Multiply(product, &stream));
//
// On a card with NVIDIA's libraries where there are any, cuBLASLt before
// cuBLAS, else with the kernel of tensor_tile.h where operands begin and
// continue at multiples of sixteen bytes, and that of tile_threads.h where they
// do not; on the CPU's device by those kernels' code. Pointers are the
// device's. One thread at a time.

#ifndef NARROW_KERNELS_MATMUL_DEVICE_DEVICE_PRODUCTS_H_
#define NARROW_KERNELS_MATMUL_DEVICE_DEVICE_PRODUCTS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "kernels/matmul/device/cublas.h"
#include "kernels/matmul/device/cublas_lt.h"
#include "kernels/matmul/device/stack_threads.h"
#include "kernels/matmul/device/tensor_tile.h"
#include "kernels/matmul/device/tile_threads.h"

namespace narrow {

class DeviceProducts {
 public:
  // `note`, if given, tells why a card goes without cuBLASLt.
  static absl::StatusOr<std::unique_ptr<DeviceProducts>> Open(
      const Device& device, std::string* note = nullptr);
  // The kernel of this project, for comparison.
  static std::unique_ptr<DeviceProducts> OfOwnKernels();
  // Products of the library's device by it.
  static std::unique_ptr<DeviceProducts> Of(std::unique_ptr<CublasLt> library);

  // "cuBLASLt 13.1.0", "cuBLAS 13.1.0" or "own kernels".
  std::string name() const;

  // See tile_threads.h; sizes of 0 leave nothing to do. What a library has
  // nothing for goes to the next.
  absl::Status Multiply(const tile::Product& product, DeviceStream* stream);
  // As tile_threads.h does it on any device: every element one chain of fused
  // multiply-adds.
  absl::Status MultiplyInOrder(const tile::Product& product,
                               DeviceStream* stream);
  // Products of groups of rows in one launch (row_groups.h), on the kernel of
  // tensor_tile.h. InvalidArgument where operands do not fit it.
  absl::Status MultiplyGroups(const tensor_tile::Task& task,
                              DeviceStream* stream);
  // Part `part` of n floats as bfloat16: tile::PartOf.
  absl::Status Split(const float* values, int64_t n, int part, uint16_t* out,
                     DeviceStream* stream);
  // See stack_threads.h.
  absl::Status Stack(const tile::StackTask& task, DeviceStream* stream);
  absl::Status Round(const tile::RoundTask& task, DeviceStream* stream);
  absl::Status AddPanel(const tile::PanelTask& task, DeviceStream* stream);
  // sums[i] += values[i].
  absl::Status AddWide(const float* values, int64_t n, double* sums,
                       DeviceStream* stream);

 private:
  DeviceProducts() = default;

  std::unique_ptr<CublasLt> cublas_lt_;
  std::optional<Cublas> cublas_;
};

// How exact a Gram matrix is: how many parts of bfloat16 a float becomes. A
// product of parts a and b counts if a + b < n_parts: 1 rounds the inputs to
// bfloat16 (relative error of an input 2^-9), 2 takes three products (2^-17)
// and 3 six (2^-24, that of float32).
struct GramPrecision {
  int n_parts = 3;
};

// Sums of outer products of rows, on a device.
//
//   ASSIGN_OR_RETURN(auto gram, DeviceGram::New(device, products, n_cols, {}));
//   RETURN_IF_ERROR(gram->Add(rows, n_rows, &stream));   // again and again
//   RETURN_IF_ERROR(gram->Read(sums, &stream));
//
// Blocks of kBlockRows rows are summed in float32, blocks in double, as
// AddGram of kernels/linalg/gram.h does; only what is on or above the
// diagonal, in panels, is computed.
class DeviceGram {
 public:
  static constexpr int64_t kBlockRows = 2048;
  static constexpr int64_t kPanelCols = 1024;

  static absl::StatusOr<std::unique_ptr<DeviceGram>> New(
      const Device& device, DeviceProducts* products, int64_t n_cols,
      GramPrecision precision);

  // Rows of the device, [n_rows, n_cols]. How rows are grouped into calls
  // matters to the last bits unless groups are multiples of kBlockRows.
  absl::Status Add(const float* rows, int64_t n_rows, DeviceStream* stream);
  // The sums to the host's memory, [n_cols, n_cols], both halves.
  absl::Status Read(double* gram, DeviceStream* stream);

 private:
  DeviceGram(DeviceProducts* products, int64_t n_cols, GramPrecision precision);
  absl::Status AddBlock(const float* rows, int64_t n_rows,
                        DeviceStream* stream);

  DeviceProducts* const products_;
  const int64_t n_cols_;
  const GramPrecision precision_;
  std::vector<DeviceBuffer> parts_;
  DeviceBuffer panel_;  // [n_cols, kPanelCols], float32
  DeviceBuffer sums_;   // panels of doubles, one after the other
};

}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_DEVICE_DEVICE_PRODUCTS_H_
