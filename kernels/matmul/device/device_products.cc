#include "kernels/matmul/device/device_products.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/matmul/device/product_launch.h"
#include "kernels/warp/host_block.h"

namespace narrow {

using tile::kDepth;
using tile::kThreads;
using tile::kTile;
using tile::Operand;
using tile::Product;

namespace {

// A tile as the card computes it, thread after thread.
void MultiplyTile(const Product& product, int64_t first_row,
                  int64_t first_col) {
  tile::Stripes stripes;
  std::vector<tile::Sums> sums(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    BeginSums(product, first_row, first_col, thread, &sums[thread]);
  }
  for (int64_t k = 0; k < product.depth; k += kDepth) {
    for (int thread = 0; thread < kThreads; ++thread) {
      LoadStripes(product, first_row, first_col, k, thread, &stripes);
    }
    for (int thread = 0; thread < kThreads; ++thread) {
      AddStripes(stripes, thread, &sums[thread]);
    }
  }
  for (int thread = 0; thread < kThreads; ++thread) {
    StoreSums(product, first_row, first_col, thread, sums[thread]);
  }
}

void MultiplyTiles(const Product& product) {
  for (int64_t row = 0; row < product.n_rows; row += kTile) {
    for (int64_t col = 0; col < product.n_cols; col += kTile) {
      MultiplyTile(product, row, col);
    }
  }
}

template <bool kLeftByDepth, bool kRightByDepth>
void RunTensorTiles(const tensor_tile::Task& task) {
  const auto stages = std::make_unique<tensor_tile::Stages>();
  for (int64_t i = 0; i < tensor_tile::NumBlocks(task); ++i) {
    // What was never written shows.
    std::memset(stages.get(), 0xff, sizeof(*stages));
    warp::HostBlock<tensor_tile::State> block(tensor_tile::kThreads);
    tensor_tile::RunTile<kLeftByDepth, kRightByDepth>(
        task, tensor_tile::PlaceOf(task, i), stages.get(), &block);
  }
}

// On tensor cores, or as they do it.
absl::Status MultiplyOnTensorCores(const tensor_tile::Task& task,
                                   DeviceStream* stream) {
  if (stream->kind() == DeviceKind::kCuda) {
    return tile::LaunchTensorProduct(task, stream->handle());
  }
  const bool left = tensor_tile::LiesByDepth(task.product.left);
  const bool right = tensor_tile::LiesByDepth(task.product.right);
  const auto run =
      left ? (right ? RunTensorTiles<true, true> : RunTensorTiles<true, false>)
           : (right ? RunTensorTiles<false, true>
                    : RunTensorTiles<false, false>);
  for (int64_t batch = 0; batch < task.product.n_batch; ++batch) {
    tensor_tile::Task one = task;
    one.product = OneOf(task.product, batch);
    run(one);
  }
  return absl::OkStatus();
}

template <class Task>
absl::Status RunEach(const Task& task, DeviceStream* stream) {
  if (task.n() == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return tile::LaunchEach(task, stream->handle());
  }
  for (int64_t i = 0; i < task.n(); ++i) {
    task.Run(i);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceProducts>> DeviceProducts::Open(
    const Device& device, std::string* note) {
  std::unique_ptr<DeviceProducts> products = OfOwnKernels();
  if (device.kind() != DeviceKind::kCuda) {
    return products;
  }
  absl::StatusOr<std::unique_ptr<CublasLt>> library = CublasLt::Open(device);
  if (library.ok()) {
    return Of(*std::move(library));
  }
  absl::StatusOr<Cublas> cublas = Cublas::Open();
  if (cublas.ok()) {
    products->cublas_.emplace(*std::move(cublas));
  }
  if (note != nullptr) {
    *note = absl::StrCat(library.status().message(),
                         "; products are slower by ", products->name());
  }
  return products;
}

std::unique_ptr<DeviceProducts> DeviceProducts::Of(
    std::unique_ptr<CublasLt> library) {
  std::unique_ptr<DeviceProducts> products = OfOwnKernels();
  products->cublas_lt_ = std::move(library);
  return products;
}

std::unique_ptr<DeviceProducts> DeviceProducts::OfOwnKernels() {
  return std::unique_ptr<DeviceProducts>(new DeviceProducts());
}

std::string DeviceProducts::name() const {
  return cublas_lt_ != nullptr ? cublas_lt_->name()
         : cublas_.has_value() ? cublas_->name()
                               : "own kernels";
}

absl::Status DeviceProducts::Multiply(const Product& product,
                                      DeviceStream* stream) {
  if (product.n_rows == 0 || product.n_cols == 0 || product.n_batch == 0) {
    return absl::OkStatus();
  }
  if (cublas_lt_ != nullptr && cublas_lt_->kind() == stream->kind()) {
    const absl::Status status = cublas_lt_->Multiply(product, stream);
    if (!absl::IsUnimplemented(status)) {
      return status;
    }
  }
  // cuBLAS adds its sums to what is there, but not to bfloat16.
  const bool library_can = product.n_batch == 1 && (product.bias == nullptr ||
                                                    product.halves == nullptr);
  if (cublas_.has_value() && library_can &&
      stream->kind() == DeviceKind::kCuda) {
    if (product.bias != nullptr) {
      RETURN_IF_ERROR(tile::LaunchBeginBias(product, stream->handle()));
    }
    return cublas_->Multiply(product, stream->handle());
  }
  tensor_tile::Task task;
  task.product = product;
  return tensor_tile::Fits(task) ? MultiplyOnTensorCores(task, stream)
                                 : MultiplyInOrder(product, stream);
}

absl::Status DeviceProducts::MultiplyInOrder(const Product& product,
                                             DeviceStream* stream) {
  if (product.n_rows == 0 || product.n_cols == 0 || product.n_batch == 0) {
    return absl::OkStatus();
  }
  if (stream->kind() == DeviceKind::kCuda) {
    return tile::LaunchProduct(product, stream->handle());
  }
  for (int64_t batch = 0; batch < product.n_batch; ++batch) {
    MultiplyTiles(OneOf(product, batch));
  }
  return absl::OkStatus();
}

absl::Status DeviceProducts::MultiplyGroups(const tensor_tile::Task& task,
                                            DeviceStream* stream) {
  if (task.n_tiles == 0 || task.product.n_cols == 0) {
    return absl::OkStatus();
  }
  if (!tensor_tile::Fits(task)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "grouped products need rows that begin at multiples of 16 bytes; "
        "strides are ",
        task.product.left.row, " and ", task.product.right.row, " numbers"));
  }
  return MultiplyOnTensorCores(task, stream);
}

absl::Status DeviceProducts::Split(const float* values, int64_t n, int part,
                                   uint16_t* out, DeviceStream* stream) {
  if (stream->kind() == DeviceKind::kCuda) {
    return n == 0 ? absl::OkStatus()
                  : tile::LaunchSplit(values, n, part, out, stream->handle());
  }
  for (int64_t i = 0; i < n; ++i) {
    out[i] = tile::PartOf(values[i], part);
  }
  return absl::OkStatus();
}

absl::Status DeviceProducts::Stack(const tile::StackTask& task,
                                   DeviceStream* stream) {
  return RunEach(task, stream);
}
absl::Status DeviceProducts::Round(const tile::RoundTask& task,
                                   DeviceStream* stream) {
  return RunEach(task, stream);
}
absl::Status DeviceProducts::AddPanel(const tile::PanelTask& task,
                                      DeviceStream* stream) {
  return RunEach(task, stream);
}

absl::Status DeviceProducts::AddWide(const float* values, int64_t n,
                                     double* sums, DeviceStream* stream) {
  if (stream->kind() == DeviceKind::kCuda) {
    return n == 0 ? absl::OkStatus()
                  : tile::LaunchAddWide(values, n, sums, stream->handle());
  }
  for (int64_t i = 0; i < n; ++i) {
    sums[i] += static_cast<double>(values[i]);
  }
  return absl::OkStatus();
}

namespace {

int64_t PanelWidth(int64_t n_cols, int64_t first) {
  return std::min(DeviceGram::kPanelCols, n_cols - first);
}

// Where panel `first` begins in the sums: panels before it are as high as the
// column behind their last.
int64_t PanelAt(int64_t first) {
  int64_t n = 0;
  for (int64_t at = 0; at < first; at += DeviceGram::kPanelCols) {
    n += (at + DeviceGram::kPanelCols) * DeviceGram::kPanelCols;
  }
  return n;
}

}  // namespace

DeviceGram::DeviceGram(DeviceProducts* products, int64_t n_cols,
                       GramPrecision precision)
    : products_(products), n_cols_(n_cols), precision_(precision) {}

absl::StatusOr<std::unique_ptr<DeviceGram>> DeviceGram::New(
    const Device& device, DeviceProducts* products, int64_t n_cols,
    GramPrecision precision) {
  std::unique_ptr<DeviceGram> gram(new DeviceGram(products, n_cols, precision));
  const std::string what = absl::StrCat("Gram matrix of ", n_cols, " columns");
  for (int part = 0; part < precision.n_parts; ++part) {
    ASSIGN_OR_RETURN(
        DeviceBuffer buffer,
        device.Allocate(static_cast<size_t>(2 * kBlockRows * n_cols), what));
    gram->parts_.push_back(std::move(buffer));
  }
  const int64_t last = (n_cols - 1) / kPanelCols * kPanelCols;
  const int64_t n_sums = PanelAt(last) + n_cols * PanelWidth(n_cols, last);
  ASSIGN_OR_RETURN(
      gram->panel_,
      device.Allocate(static_cast<size_t>(4 * n_cols * kPanelCols), what));
  ASSIGN_OR_RETURN(gram->sums_,
                   device.Allocate(static_cast<size_t>(8 * n_sums), what));
  ASSIGN_OR_RETURN(DeviceStream stream, device.NewStream());
  RETURN_IF_ERROR(stream.Fill(0, gram->sums_.n_bytes(), gram->sums_.data()));
  RETURN_IF_ERROR(stream.Synchronize(what));
  return gram;
}

absl::Status DeviceGram::AddBlock(const float* rows, int64_t n_rows,
                                  DeviceStream* stream) {
  const int n_parts = precision_.n_parts;
  for (int part = 0; part < n_parts; ++part) {
    RETURN_IF_ERROR(products_->Split(rows, n_rows * n_cols_, part,
                                     parts_[part].as<uint16_t>(), stream));
  }
  for (int64_t first = 0; first < n_cols_; first += kPanelCols) {
    const int64_t width = PanelWidth(n_cols_, first);
    const int64_t height = first + width;
    bool accumulate = false;
    // Small products first: they would be lost beside the large one.
    for (int sum = n_parts - 1; sum >= 0; --sum) {
      for (int a = 0; a <= sum; ++a) {
        const Operand left = {parts_[a].as<uint16_t>(), 1, n_cols_};
        const Operand right = {parts_[sum - a].as<uint16_t>() + first, 1,
                               n_cols_};
        RETURN_IF_ERROR(
            products_->Multiply({left, right, height, width, n_rows,
                                 panel_.as<float>(), width, accumulate},
                                stream));
        accumulate = true;
      }
    }
    RETURN_IF_ERROR(products_->AddWide(panel_.as<float>(), height * width,
                                       sums_.as<double>() + PanelAt(first),
                                       stream));
  }
  return absl::OkStatus();
}

absl::Status DeviceGram::Add(const float* rows, int64_t n_rows,
                             DeviceStream* stream) {
  for (int64_t row = 0; row < n_rows; row += kBlockRows) {
    RETURN_IF_ERROR(AddBlock(rows + row * n_cols_,
                             std::min(kBlockRows, n_rows - row), stream));
  }
  return absl::OkStatus();
}

absl::Status DeviceGram::Read(double* gram, DeviceStream* stream) {
  std::vector<double> sums(sums_.n_bytes() / sizeof(double));
  RETURN_IF_ERROR(stream->Copy(sums_.data(), sums_.n_bytes(), sums.data()));
  RETURN_IF_ERROR(stream->Synchronize("Gram matrix"));
  for (int64_t first = 0; first < n_cols_; first += kPanelCols) {
    const int64_t width = PanelWidth(n_cols_, first);
    const double* panel = &sums[PanelAt(first)];
    for (int64_t i = 0; i < first + width; ++i) {
      for (int64_t j = first; j < first + width; ++j) {
        if (i <= j) {
          gram[i * n_cols_ + j] = gram[j * n_cols_ + i] =
              panel[i * width + j - first];
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
