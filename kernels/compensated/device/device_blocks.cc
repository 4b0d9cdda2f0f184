#include "kernels/compensated/device/device_blocks.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/quant_type.h"
#include "kernels/compensated/device/run_task.h"
#include "kernels/compensated/parts/improve_block.h"
#include "kernels/linalg/device/device_chains.h"

namespace narrow {

using block_tasks::kStrip;
using block_tasks::MeasureTask;
using block_tasks::Run;
using block_tasks::SubtractTask;
using block_tasks::TransposeTask;

namespace {

// Columns whose errors wait until all others hear of them: products that are
// deep enough to be worth reading and writing what they are added to.
constexpr int64_t kFar = 128;
// Fewer rows than these are not worth a device.
constexpr int64_t kLeastRows = 16;

}  // namespace

absl::Status DeviceCodecBlocks::Allocate(int64_t n_bytes,
                                         DeviceBuffer* buffer) const {
  const size_t size = static_cast<size_t>(n_bytes);
  if (buffer->n_bytes() < size) {
    *buffer = DeviceBuffer();
    ASSIGN_OR_RETURN(*buffer, device_.Allocate(size, what_));
  }
  return absl::OkStatus();
}

absl::Status DeviceCodecBlocks::CopyTo(const void* from, int64_t n_bytes,
                                       DeviceBuffer* to) {
  if (n_bytes == 0) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Allocate(n_bytes, to));
  RETURN_IF_ERROR(stream_.Copy(from, static_cast<size_t>(n_bytes), to->data()));
  return stream_.Synchronize(what_);
}

absl::StatusOr<std::unique_ptr<DeviceCodecBlocks>> DeviceCodecBlocks::New(
    const Device& device, const BlockCodec& codec, int64_t n, const float* gram,
    ThreadPool* pool, absl::string_view what) {
  std::unique_ptr<DeviceCodecBlocks> blocks(
      new DeviceCodecBlocks(device, codec, n, pool, what));
  ASSIGN_OR_RETURN(blocks->stream_, device.NewStream());
  DeviceStream* const stream = &blocks->stream_;
  ASSIGN_OR_RETURN(blocks->rows_,
                   DeviceCodecRows::New(device, codec, n, stream));
  if (codec.uses_importance && HasDeviceCode(codec.type)) {
    ASSIGN_OR_RETURN(blocks->tables_,
                     DeviceTables::Copy(device, codec.type, stream));
  }
  RETURN_IF_ERROR(blocks->CopyTo(gram, 4 * n * n, &blocks->gram_));
  DeviceForms& forms = blocks->forms_;
  forms.h = blocks->gram_.as<float>();
  forms.h_stride = n;
  forms.h_step = codec.block * (n + 1);
  RETURN_IF_ERROR(blocks->MakeForms(gram, &forms));
  return blocks;
}

// Sums and inverses as the processor has them; `host_h` is what forms->h is a
// copy of.
absl::Status DeviceCodecBlocks::MakeForms(const float* host_h,
                                          DeviceForms* forms) {
  std::vector<float> sums;
  std::vector<float> inverses;
  for (int64_t b = 0; b < rows_->n_blocks(); ++b) {
    const BlockForm form =
        MakeBlockForm(codec_, rows_->host_rules(), host_h + b * forms->h_step,
                      forms->h_stride);
    sums.insert(sums.end(), form.sums.begin(), form.sums.end());
    inverses.insert(inverses.end(), form.inverses.begin(), form.inverses.end());
  }
  RETURN_IF_ERROR(
      CopyTo(sums.data(), 4 * static_cast<int64_t>(sums.size()), &forms->sums));
  return CopyTo(inverses.data(), 4 * static_cast<int64_t>(inverses.size()),
                &forms->inverses);
}

absl::StatusOr<std::unique_ptr<DeviceFeedFactor>> DeviceCodecBlocks::Upload(
    const FeedFactor& factor) {
  auto copy = std::make_unique<DeviceFeedFactor>();
  copy->host = &factor;
  const auto upload = [&](const auto& from, DeviceBuffer* to) {
    return CopyTo(from.data(),
                  static_cast<int64_t>(from.size() * sizeof(from[0])), to);
  };
  RETURN_IF_ERROR(upload(factor.m, &copy->m));
  RETURN_IF_ERROR(upload(factor.metric, &copy->metric));
  if (!factor.order.empty()) {
    RETURN_IF_ERROR(upload(factor.order, &copy->order));
    return copy;
  }
  RETURN_IF_ERROR(upload(factor.pivots, &copy->pivots));
  RETURN_IF_ERROR(upload(factor.block_metric, &copy->prices));
  copy->forms.h = copy->prices.as<float>();
  copy->forms.h_stride = block();
  copy->forms.h_step = block() * block();
  RETURN_IF_ERROR(MakeForms(factor.block_metric.data(), &copy->forms));
  return copy;
}

int64_t DeviceCodecBlocks::row_bytes() const {
  return n_ / block() * Geometry(codec_.type).block_bytes;
}

int64_t DeviceCodecBlocks::group_size() const {
  return std::max<int64_t>(block(), kFar / block() * block());
}

DeviceCodecBlocks::Far DeviceCodecBlocks::GroupAt(int64_t begin) const {
  return {begin, std::min(n_, begin + group_size())};
}

void DeviceCodecBlocks::Free() {
  rows_->Free();
  for (DeviceBuffer* buffer :
       {&first_, &second_, &third_, &told_, &entry_, &values_, &gradient_,
        &direction_, &curvature_, &unit_, &strip_, &sums_, &bytes_, &failed_,
        &mean_squares_}) {
    *buffer = DeviceBuffer();
  }
}

absl::Status DeviceCodecBlocks::Reserve(int64_t n_rows) {
  const auto reserve = [&]() -> absl::Status {
    RETURN_IF_ERROR(rows_->Reserve(n_rows));
    for (DeviceBuffer* buffer : {&first_, &second_, &third_}) {
      RETURN_IF_ERROR(Allocate(4 * n_ * ld(), buffer));
    }
    RETURN_IF_ERROR(Allocate(4 * group_size() * ld(), &told_));
    for (DeviceBuffer* buffer :
         {&entry_, &values_, &gradient_, &direction_, &curvature_}) {
      RETURN_IF_ERROR(Allocate(4 * block() * ld(), buffer));
    }
    RETURN_IF_ERROR(Allocate(4 * kMaxUnit * ld(), &unit_));
    RETURN_IF_ERROR(Allocate(4 * kStrip * ld(), &strip_));
    RETURN_IF_ERROR(Allocate(16 * n_rows, &sums_));
    RETURN_IF_ERROR(
        Allocate(n_rows * Geometry(codec_.type).block_bytes, &bytes_));
    // Flags, and behind them their number.
    RETURN_IF_ERROR(Allocate(ld() + 4, &failed_));
    return Allocate(4 * n_rows, &mean_squares_);
  };
  const absl::Status status = reserve();
  if (!status.ok()) {
    Free();  // it would be missing for fewer rows
  }
  return status;
}

absl::Status DeviceCodecBlocks::InParts(
    int64_t n_rows,
    const std::function<absl::Status(int64_t first, int64_t n)>& body) {
  for (int64_t first = 0; first < n_rows;) {
    const int64_t left = n_rows - first;
    const int64_t wanted = at_once_ > 0 ? std::min(at_once_, left) : left;
    ASSIGN_OR_RETURN(const int64_t n,
                     WithSmallerBatches(
                         wanted, std::min(wanted, kLeastRows),
                         [&](int64_t rows) { return Reserve(rows); },
                         [&](int64_t rows, absl::string_view why) {
                           memory_note_ = absl::StrCat("solved ", rows,
                                                       " rows at once: ", why);
                         }));
    if (n < wanted) {
      at_once_ = n;
    }
    RETURN_IF_ERROR(body(first, n));
    first += n;
  }
  return absl::OkStatus();
}

// To first_, at places; third_ holds the rows meanwhile.
absl::Status DeviceCodecBlocks::SetTargets(const float* targets,
                                           const int32_t* order) {
  const block_tasks::Rows size = rows_->size();
  float* const rows = third_.as<float>();
  RETURN_IF_ERROR(
      stream_.Copy(targets, static_cast<size_t>(4 * size.n_rows * n_), rows));
  RETURN_IF_ERROR(
      Run(TransposeTask{size, n_, rows, order, first_.as<float>(), false},
          &stream_));
  return stream_.Synchronize(what_);
}

absl::Status DeviceCodecBlocks::AddProducts(Update update, const float* h,
                                            int64_t h_stride, int64_t begin,
                                            int64_t n, int64_t first,
                                            int64_t end, const float* changes,
                                            float* out) {
  chain::Product<float> product;
  product.update = update;
  product.m = end - first;
  product.n = rows_->size().n_rows;
  product.k = n;
  product.left = {h + begin * h_stride + first, 1, h_stride};
  product.right = {changes, 1, ld()};
  product.out = out + first * ld();
  product.out_row = ld();
  return RunChainProduct(product, &stream_);
}

absl::StatusOr<std::vector<RowError>> DeviceCodecBlocks::MeasurePart() {
  const block_tasks::Rows size = rows_->size();
  float* const difference = second_.as<float>();
  float* const products = third_.as<float>();
  RETURN_IF_ERROR(
      Run(SubtractTask{size, n_, difference, first_.as<float>(), difference},
          &stream_));
  RETURN_IF_ERROR(AddProducts(Update::kSet, gram_.as<float>(), n_, 0, n_, 0, n_,
                              difference, products));
  double* const sums = sums_.as<double>();
  RETURN_IF_ERROR(
      Run(MeasureTask{size, n_, difference, products, sums, sums + size.n_rows},
          &stream_));
  const size_t n_rows = static_cast<size_t>(size.n_rows);
  std::vector<double> host(2 * n_rows);
  RETURN_IF_ERROR(stream_.Copy(sums, 8 * host.size(), host.data()));
  RETURN_IF_ERROR(stream_.Synchronize(what_));
  std::vector<RowError> errors(n_rows);
  for (size_t row = 0; row < n_rows; ++row) {
    errors[row] = {host[row], host[n_rows + row]};
  }
  return errors;
}

absl::StatusOr<std::vector<RowError>> DeviceCodecBlocks::Measure(
    const float* targets, int64_t n_rows, const uint8_t* bytes) {
  std::vector<RowError> errors;
  RETURN_IF_ERROR(InParts(n_rows, [&](int64_t first, int64_t) -> absl::Status {
    RETURN_IF_ERROR(SetTargets(targets + first * n_, nullptr));
    if (bytes == nullptr) {
      RETURN_IF_ERROR(
          stream_.Fill(0, static_cast<size_t>(4 * n_ * ld()), second_.data()));
    } else {
      RETURN_IF_ERROR(
          rows_->Load(bytes + first * row_bytes(), pool_, &stream_));
      RETURN_IF_ERROR(rows_->Decode(0, n_, second_.as<float>(), &stream_));
    }
    ASSIGN_OR_RETURN(const std::vector<RowError> part, MeasurePart());
    errors.insert(errors.end(), part.begin(), part.end());
    return absl::OkStatus();
  }));
  return errors;
}

// Refits and sweeps of blocks, each of which tells the others of its group at
// once and all others when the group is over.
absl::Status DeviceCodecBlocks::DescendGroup(const DescendOptions& options,
                                             Far group) {
  const float* const h = gram_.as<float>();
  float* const gradient = third_.as<float>();
  for (int64_t begin = group.begin; begin < group.end; begin += block()) {
    float* const values = second_.as<float>() + begin * ld();
    const size_t n_bytes = static_cast<size_t>(4 * block() * ld());
    RETURN_IF_ERROR(stream_.Copy(values, n_bytes, entry_.data()));
    RETURN_IF_ERROR(Improve({&forms_, begin / block(), options.refit,
                             options.sweep, values, gradient + begin * ld()}));
    float* const changes = told_.as<float>() + (begin - group.begin) * ld();
    RETURN_IF_ERROR(Run(SubtractTask{rows_->size(), block(), values,
                                     entry_.as<float>(), changes},
                        &stream_));
    RETURN_IF_ERROR(AddProducts(Update::kAdd, h, n_, begin, block(),
                                group.begin, begin, changes, gradient));
    RETURN_IF_ERROR(AddProducts(Update::kAdd, h, n_, begin, block(),
                                begin + block(), group.end, changes, gradient));
  }
  const int64_t size = group.end - group.begin;
  RETURN_IF_ERROR(AddProducts(Update::kAdd, h, n_, group.begin, size, 0,
                              group.begin, told_.as<float>(), gradient));
  return AddProducts(Update::kAdd, h, n_, group.begin, size, group.end, n_,
                     told_.as<float>(), gradient);
}

absl::Status DeviceCodecBlocks::DescendPart(const DescendOptions& options,
                                            uint8_t* bytes) {
  RETURN_IF_ERROR(rows_->Load(bytes, pool_, &stream_));
  RETURN_IF_ERROR(rows_->Decode(0, n_, second_.as<float>(), &stream_));
  ASSIGN_OR_RETURN(const std::vector<RowError> was, MeasurePart());
  // (Differences have taken the values' place.)
  RETURN_IF_ERROR(rows_->Decode(0, n_, second_.as<float>(), &stream_));
  for (int round = 0; round < options.rounds; ++round) {
    for (int64_t begin = 0; begin < n_; begin += group_size()) {
      RETURN_IF_ERROR(DescendGroup(options, GroupAt(begin)));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<RowError> is, MeasurePart());
  std::vector<uint8_t> better(is.size());
  for (size_t row = 0; row < is.size(); ++row) {
    better[row] = is[row].gram < was[row].gram ? 1 : 0;
  }
  return rows_->Store(&better, bytes, pool_, &stream_);
}

absl::Status DeviceCodecBlocks::Descend(const float* targets, int64_t n_rows,
                                        const DescendOptions& options,
                                        uint8_t* bytes) {
  return InParts(n_rows, [&](int64_t first, int64_t) -> absl::Status {
    RETURN_IF_ERROR(SetTargets(targets + first * n_, nullptr));
    return DescendPart(options, bytes + first * row_bytes());
  });
}

}  // namespace narrow
