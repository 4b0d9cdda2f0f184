// Products of activation rows with a weight matrix, on oneDNN or on our own
// kernels where no processor may change a bit, one tile at a time on the
// calling thread.
//
//   Matmul matmul(ProductType::kBf16);
//   ASSIGN_OR_RETURN(PackedMatrix w, matmul.NewMatrix(n_outputs, n_inputs));
//   for (p = 0; p < w.n_panels(); ++p)
//     matmul.PackPanel(rows_of_panel, p, &w);
//   matmul.Multiply(activations, n_rows, w, p, tile);
//
// A weight is [outputs, inputs]; its outputs are cut into panels of
// panel_cols, each a matrix of its own in the layout its kernel prefers.
// Callers share tiles out among threads themselves: what a tile computes
// depends neither on threads nor on the rows beside it, so results do not
// depend on how rows are grouped. Measured on Zen 5 (one core, K = 640 … 4096):
// f32 230 and bf16 450 GFLOP/s for any tile of 16 rows and up; OpenBLAS 0.3.21
// reaches 115 in f32 and has no bf16; reproducible products take some 5 %
// longer than those in f32.
//
// Matmul is safe from any thread; a PackedMatrix while nobody packs it.

#ifndef NARROW_KERNELS_MATMUL_MATMUL_H_
#define NARROW_KERNELS_MATMUL_MATMUL_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/status/statusor.h"

namespace narrow {

enum class ProductType {
  kF32,
  kBf16,  // operands rounded to bfloat16, sums in float32
  // Float32, every element one chain of fused multiply-adds over rising
  // inputs: the same bits on every processor, by kernels/linalg.
  kReproducible,
};

inline constexpr int64_t kPanelCols = 256;

// The oneDNN primitives of one panel shape.
struct PanelProduct;

class PackedMatrix {
 public:
  PackedMatrix() = default;

  int64_t n_outputs() const { return n_outputs_; }
  int64_t n_inputs() const { return n_inputs_; }
  int64_t n_panels() const {
    return (n_outputs_ + panel_cols_ - 1) / panel_cols_;
  }
  int64_t first_col(int64_t panel) const { return panel * panel_cols_; }
  int64_t panel_cols(int64_t panel) const {
    const int64_t left = n_outputs_ - panel * panel_cols_;
    return left < panel_cols_ ? left : panel_cols_;
  }
  size_t n_bytes() const { return n_bytes_; }

 private:
  friend class Matmul;
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };

  float* floats(int64_t panel) const {
    return reinterpret_cast<float*>(bytes_.get() + panel * panel_bytes_);
  }
  const PanelProduct* product(int64_t panel) const {
    return panel_cols(panel) == panel_cols_ ? full_ : last_;
  }

  int64_t n_outputs_ = 0;
  int64_t n_inputs_ = 0;
  int64_t panel_cols_ = kPanelCols;
  int64_t panel_bytes_ = 0;
  size_t n_bytes_ = 0;
  // nullptr for reproducible products.
  const PanelProduct* full_ = nullptr;
  const PanelProduct* last_ = nullptr;  // of the narrower last panel
  std::unique_ptr<uint8_t[], Free> bytes_;
};

class Matmul {
 public:
  explicit Matmul(ProductType type);
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  ProductType type() const { return type_; }

  // Memory for a matrix, not yet filled; it must not outlive this object.
  // ResourceExhausted if there is not enough; Internal names oneDNN's error.
  // REQUIRES: sizes above 0.
  absl::StatusOr<PackedMatrix> NewMatrix(int64_t n_outputs, int64_t n_inputs,
                                         int64_t panel_cols = kPanelCols);

  // Fills a panel from its rows, [panel_cols(panel), n_inputs].
  void PackPanel(const float* rows, int64_t panel, PackedMatrix* matrix) const;
  // From the transposed panel, [n_inputs, panel_cols(panel)], its rows
  // `stride` elements apart.
  void PackTransposed(const float* columns, int64_t stride, int64_t panel,
                      PackedMatrix* matrix) const;

  // tile[n_rows, panel_cols(panel)] = rows[n_rows, n_inputs] * panel^T, or is
  // increased by it, in kReproducible by going on with the chain. The overload
  // must be that of type(). REQUIRES: n_rows > 0.
  void Multiply(const float* rows, int64_t n_rows, const PackedMatrix& matrix,
                int64_t panel, float* tile, bool accumulate = false);
  void Multiply(const uint16_t* rows, int64_t n_rows,
                const PackedMatrix& matrix, int64_t panel, float* tile,
                bool accumulate = false);

 private:
  struct Shapes;

  absl::Status ChooseLayout(PackedMatrix* matrix, size_t* panel_bytes);
  absl::StatusOr<const PanelProduct*> ProductFor(int64_t n_cols,
                                                 int64_t n_inputs);
  void RunChains(const float* rows, int64_t n_rows, const PackedMatrix& matrix,
                 int64_t panel, float* tile, bool accumulate) const;
  void Run(const void* rows, int64_t n_rows, const PackedMatrix& matrix,
           int64_t panel, float* tile, bool accumulate);
  void RunRows(const void* rows, int64_t n_rows, const PackedMatrix& matrix,
               int64_t panel, float* tile, bool accumulate);

  const ProductType type_;
  const std::unique_ptr<Shapes> shapes_;
};

// The definition, sums in double: tile = rows * weights^T.
void MultiplyReference(const float* rows, int64_t n_rows, const float* weights,
                       int64_t n_outputs, int64_t n_inputs, float* tile);

}  // namespace narrow

#endif  // NARROW_KERNELS_MATMUL_MATMUL_H_
