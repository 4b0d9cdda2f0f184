#include "kernels/matmul/matmul.h"

#include <omp.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu.h"
#include "kernels/linalg/tile/tile_kernels.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace narrow {
namespace {

using dnnl::memory;

// Rows for which the weights' layout is chosen; it then serves all counts.
constexpr int64_t kTypicalRows = 128;
// Without AVX-512, the order in which oneDNN sums a row depends on the number
// of rows. So there every call has one of two numbers of rows that agree, the
// typical one and this, filled up where there are fewer. (matmul_test, run
// with NARROW_ISA=avx2 and scalar.)
constexpr int64_t kFewRows = 16;
constexpr size_t kAlignment = 64;

// oneDNN parallelises with OpenMP inside a call; here tiles are the unit of
// work, so each call stays on its thread.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  const int before_;
};

const dnnl::engine& CpuEngine() {
  static const dnnl::engine* const engine = [] {
    // NARROW_ISA lowers oneDNN's instruction set too.
    if (CpuIsa() == Isa::kAvx2) {
      (void)dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    } else if (CpuIsa() == Isa::kScalar) {
      (void)dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    }
    return new dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return *engine;
}

// A stream of oneDNN's and scratch memory belong to one thread.
dnnl::stream& ThreadStream() {
  static thread_local dnnl::stream stream(CpuEngine());
  return stream;
}

void* ThreadScratch(size_t n_bytes) {
  static thread_local std::vector<uint8_t> scratch;
  if (scratch.size() < n_bytes + kAlignment) {
    scratch.resize(n_bytes + kAlignment);
  }
  const uintptr_t address = reinterpret_cast<uintptr_t>(scratch.data());
  return reinterpret_cast<void*>((address + kAlignment - 1) &
                                 ~(kAlignment - 1));
}

memory::data_type DataType(ProductType type) {
  return type == ProductType::kBf16 ? memory::data_type::bf16
                                    : memory::data_type::f32;
}

struct RowsProduct {
  dnnl::matmul primitive;
  memory::desc rows, tile, scratch;
};

dnnl::matmul::primitive_desc Describe(ProductType type, int64_t n_rows,
                                      const memory::desc& weights,
                                      bool accumulate) {
  const int64_t n_inputs = weights.dims()[0], n_cols = weights.dims()[1];
  const memory::desc rows({n_rows, n_inputs}, DataType(type),
                          memory::format_tag::ab);
  const memory::desc tile({n_rows, n_cols}, memory::data_type::f32,
                          memory::format_tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(rows, weights, tile),
                                      attributes, CpuEngine());
}

}  // namespace

struct PanelProduct {
  PanelProduct(ProductType type, memory::desc weights, bool any_rows)
      : type(type), weights(std::move(weights)), any_rows(any_rows) {}

  const RowsProduct& ForRows(int64_t n_rows, bool accumulate) {
    const std::pair<int64_t, bool> key(n_rows, accumulate);
    {
      std::shared_lock<std::shared_mutex> lock(mutex);
      const auto it = by_rows.find(key);
      if (it != by_rows.end()) {
        return it->second;
      }
    }
    std::unique_lock<std::shared_mutex> lock(mutex);
    auto it = by_rows.find(key);
    if (it == by_rows.end()) {
      const OneThread one_thread;
      const auto described = Describe(type, n_rows, weights, accumulate);
      it = by_rows
               .emplace(key,
                        RowsProduct{dnnl::matmul(described),
                                    described.src_desc(), described.dst_desc(),
                                    described.scratchpad_desc()})
               .first;
    }
    return it->second;
  }

  const ProductType type;
  const memory::desc weights;
  const bool any_rows;  // results of a row do not depend on the others
  std::shared_mutex mutex;
  std::map<std::pair<int64_t, bool>, RowsProduct> by_rows;  // guarded
};

struct Matmul::Shapes {
  std::mutex mutex;
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<PanelProduct>> all;
};

Matmul::Matmul(ProductType type)
    : type_(type), shapes_(std::make_unique<Shapes>()) {}

Matmul::~Matmul() = default;

absl::StatusOr<const PanelProduct*> Matmul::ProductFor(int64_t n_cols,
                                                       int64_t n_inputs) {
  std::lock_guard<std::mutex> lock(shapes_->mutex);
  std::unique_ptr<PanelProduct>& product = shapes_->all[{n_cols, n_inputs}];
  if (product == nullptr) {
    // oneDNN's C++ interface throws; this is the one place where it can, as
    // later calls repeat a description that was accepted here.
    try {
      const OneThread one_thread;
      const memory::desc any({n_inputs, n_cols}, DataType(type_),
                             memory::format_tag::any);
      const auto described = Describe(type_, kTypicalRows, any, false);
      product = std::make_unique<PanelProduct>(
          type_, described.weights_desc(),
          absl::StartsWith(described.impl_info_str(), "brg:avx512"));
      product->ForRows(1, true);
    } catch (const dnnl::error& error) {
      product = nullptr;
      return absl::InternalError(absl::StrCat("oneDNN has no product for ",
                                              n_inputs, " inputs and ", n_cols,
                                              " outputs: ", error.what()));
    }
  }
  return product.get();
}

absl::Status Matmul::ChooseLayout(PackedMatrix* matrix, size_t* panel_bytes) {
  if (type_ == ProductType::kReproducible) {
    *panel_bytes =
        sizeof(float) * static_cast<size_t>(TileKernelsForCpu().PackedSize(
                            matrix->panel_cols(0), matrix->n_inputs_));
    return absl::OkStatus();
  }
  for (const int64_t panel : {int64_t{0}, matrix->n_panels() - 1}) {
    const absl::StatusOr<const PanelProduct*> product =
        ProductFor(matrix->panel_cols(panel), matrix->n_inputs_);
    if (!product.ok()) {
      return product.status();
    }
    (matrix->panel_cols(panel) == matrix->panel_cols_ ? matrix->full_
                                                      : matrix->last_) =
        *product;
    *panel_bytes = std::max(*panel_bytes, (*product)->weights.get_size());
  }
  return absl::OkStatus();
}

absl::StatusOr<PackedMatrix> Matmul::NewMatrix(int64_t n_outputs,
                                               int64_t n_inputs,
                                               int64_t panel_cols) {
  assert(n_outputs > 0 && n_inputs > 0 && panel_cols > 0);
  PackedMatrix matrix;
  matrix.n_outputs_ = n_outputs;
  matrix.n_inputs_ = n_inputs;
  matrix.panel_cols_ = panel_cols;
  size_t panel_bytes = 0;
  const absl::Status chosen = ChooseLayout(&matrix, &panel_bytes);
  if (!chosen.ok()) {
    return chosen;
  }
  panel_bytes = (panel_bytes + kAlignment - 1) / kAlignment * kAlignment;
  matrix.panel_bytes_ = static_cast<int64_t>(panel_bytes);
  matrix.n_bytes_ = panel_bytes * static_cast<size_t>(matrix.n_panels());
  matrix.bytes_.reset(
      static_cast<uint8_t*>(std::aligned_alloc(kAlignment, matrix.n_bytes_)));
  if (matrix.bytes_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for a matrix of ", n_outputs, " x ", n_inputs,
                     ", ", matrix.n_bytes_, " bytes"));
  }
  return matrix;
}

void Matmul::PackPanel(const float* rows, int64_t panel,
                       PackedMatrix* matrix) const {
  if (type_ == ProductType::kReproducible) {
    TileKernelsForCpu().pack_f32(
        rows, matrix->n_inputs_, OperandLayout::kByIndex,
        matrix->panel_cols(panel), matrix->n_inputs_, matrix->floats(panel));
    return;
  }
  const PanelProduct& product = *matrix->product(panel);
  const memory::desc plain({matrix->n_inputs_, matrix->panel_cols(panel)},
                           memory::data_type::f32, memory::format_tag::ba);
  const OneThread one_thread;
  memory from(plain, CpuEngine(), const_cast<float*>(rows));
  memory to(product.weights, CpuEngine(),
            matrix->bytes_.get() + panel * matrix->panel_bytes_);
  dnnl::reorder(from, to).execute(ThreadStream(), from, to);
}

void Matmul::PackTransposed(const float* columns, int64_t stride, int64_t panel,
                            PackedMatrix* matrix) const {
  if (type_ == ProductType::kReproducible) {
    TileKernelsForCpu().pack_f32(columns, stride, OperandLayout::kByDepth,
                                 matrix->panel_cols(panel), matrix->n_inputs_,
                                 matrix->floats(panel));
    return;
  }
  const PanelProduct& product = *matrix->product(panel);
  const memory::desc plain(
      memory::dims{matrix->n_inputs_, matrix->panel_cols(panel)},
      memory::data_type::f32, memory::dims{stride, 1});
  const OneThread one_thread;
  memory from(plain, CpuEngine(), const_cast<float*>(columns));
  memory to(product.weights, CpuEngine(),
            matrix->bytes_.get() + panel * matrix->panel_bytes_);
  dnnl::reorder(from, to).execute(ThreadStream(), from, to);
}

void Matmul::RunChains(const float* rows, int64_t n_rows,
                       const PackedMatrix& matrix, int64_t panel, float* tile,
                       bool accumulate) const {
  TileProduct<float> product;
  product.m = n_rows;
  product.n = matrix.panel_cols(panel);
  product.k = matrix.n_inputs_;
  product.a = rows;
  product.lda = matrix.n_inputs_;
  product.b = matrix.floats(panel);
  product.b_layout = OperandLayout::kPacked;
  product.c = tile;
  product.ldc = product.n;
  product.accumulate = accumulate;
  product.a_scratch = TileScratch<float>(0, AScratchSize(n_rows));
  TileKernelsForCpu().product(product);
}

void Matmul::Run(const void* rows, int64_t n_rows, const PackedMatrix& matrix,
                 int64_t panel, float* tile, bool accumulate) {
  if (matrix.product(panel)->any_rows) {
    RunRows(rows, n_rows, matrix, panel, tile, accumulate);
    return;
  }
  const int64_t n_cols = matrix.panel_cols(panel);
  const int64_t row_bytes =
      matrix.n_inputs_ * (type_ == ProductType::kBf16 ? 2 : 4);
  const uint8_t* row = static_cast<const uint8_t*>(rows);
  while (n_rows >= kFewRows) {
    const int64_t n = n_rows >= kTypicalRows ? kTypicalRows : kFewRows;
    RunRows(row, n, matrix, panel, tile, accumulate);
    row += n * row_bytes;
    tile += n * n_cols;
    n_rows -= n;
  }
  if (n_rows > 0) {
    std::vector<uint8_t> filled(static_cast<size_t>(kFewRows * row_bytes));
    std::memcpy(filled.data(), row, static_cast<size_t>(n_rows * row_bytes));
    std::vector<float> result(static_cast<size_t>(kFewRows * n_cols));
    if (accumulate) {
      std::copy_n(tile, n_rows * n_cols, result.data());
    }
    RunRows(filled.data(), kFewRows, matrix, panel, result.data(), accumulate);
    std::copy_n(result.data(), n_rows * n_cols, tile);
  }
}

void Matmul::RunRows(const void* rows, int64_t n_rows,
                     const PackedMatrix& matrix, int64_t panel, float* tile,
                     bool accumulate) {
  PanelProduct* product = const_cast<PanelProduct*>(matrix.product(panel));
  const RowsProduct& run = product->ForRows(n_rows, accumulate);
  const dnnl::engine& engine = CpuEngine();
  const OneThread one_thread;
  run.primitive.execute(
      ThreadStream(),
      {{DNNL_ARG_SRC, memory(run.rows, engine, const_cast<void*>(rows))},
       {DNNL_ARG_WEIGHTS,
        memory(product->weights, engine,
               matrix.bytes_.get() + panel * matrix.panel_bytes_)},
       {DNNL_ARG_DST, memory(run.tile, engine, tile)},
       {DNNL_ARG_SCRATCHPAD,
        memory(run.scratch, engine, ThreadScratch(run.scratch.get_size()))}});
}

void Matmul::Multiply(const float* rows, int64_t n_rows,
                      const PackedMatrix& matrix, int64_t panel, float* tile,
                      bool accumulate) {
  assert(type_ != ProductType::kBf16 && n_rows > 0);
  if (type_ == ProductType::kReproducible) {
    RunChains(rows, n_rows, matrix, panel, tile, accumulate);
    return;
  }
  Run(rows, n_rows, matrix, panel, tile, accumulate);
}

void Matmul::Multiply(const uint16_t* rows, int64_t n_rows,
                      const PackedMatrix& matrix, int64_t panel, float* tile,
                      bool accumulate) {
  assert(type_ == ProductType::kBf16 && n_rows > 0);
  Run(rows, n_rows, matrix, panel, tile, accumulate);
}

}  // namespace narrow
