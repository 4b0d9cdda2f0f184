// A block of a transformer as the forward pass of calibration/device runs it,
// and a slice of the output matrix; from them, a model's tokens a second. The
// weights are there already.

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/base/status.h"
#include "kernels/attention/device/device_attention.h"
#include "kernels/device_bench/forward_bench.h"
#include "kernels/matmul/device/device_products.h"
#include "kernels/rows/device/device_rows.h"

namespace narrow {
namespace {

using row_threads::GateTask;
using row_threads::MixTask;
using row_threads::NormTask;
using row_threads::RotateTask;
using row_threads::RowScore;
using row_threads::ScoreTask;

class BlockBench {
 public:
  BlockBench(const ForwardSizes& sizes, Bench* bench, DeviceProducts* products)
      : sizes_(sizes),
        bench_(*bench),
        products_(*products),
        stream_(bench->stream()),
        head_dim_(sizes.width / sizes.n_heads),
        kv_width_(sizes.n_kv_heads * head_dim_),
        qkv_width_(sizes.width + 2 * kv_width_) {}

  absl::Status Begin() {
    const int64_t n = sizes_.n_tokens;
    const int64_t widest = std::max({sizes_.width, qkv_width_, sizes_.inner});
    for (DeviceBuffer* floats : {&hidden_, &a_, &b_}) {
      ASSIGN_OR_RETURN(*floats, bench_.Allocate(4 * n * widest));
      RETURN_IF_ERROR(stream_->Fill(0, floats->n_bytes(), floats->data()));
    }
    for (DeviceBuffer* halves : {&x_, &y_}) {
      ASSIGN_OR_RETURN(*halves, bench_.Allocate(2 * n * widest));
      RETURN_IF_ERROR(stream_->Fill(0, halves->n_bytes(), halves->data()));
    }
    const std::vector<int32_t> targets(static_cast<size_t>(n), 1);
    ASSIGN_OR_RETURN(targets_, bench_.Allocate(4 * n));
    RETURN_IF_ERROR(
        stream_->Copy(targets.data(), targets_.n_bytes(), targets_.data()));
    for (DeviceBuffer* scores : {&slices_, &scores_}) {
      ASSIGN_OR_RETURN(
          *scores, bench_.Allocate(n * static_cast<int64_t>(sizeof(RowScore))));
      RETURN_IF_ERROR(stream_->Fill(0, scores->n_bytes(), scores->data()));
    }
    return stream_->Synchronize("bench");
  }

  absl::Status Block() {
    RETURN_IF_ERROR(Norm());
    RETURN_IF_ERROR(Multiply(x_, qkv_width_, sizes_.width, &a_));
    RETURN_IF_ERROR(Attend());
    RETURN_IF_ERROR(Multiply(x_, sizes_.width, sizes_.width, &b_));
    RETURN_IF_ERROR(Add(b_));
    RETURN_IF_ERROR(Norm());
    RETURN_IF_ERROR(Multiply(x_, sizes_.inner, sizes_.width, &a_));
    RETURN_IF_ERROR(Multiply(x_, sizes_.inner, sizes_.width, &b_));
    RETURN_IF_ERROR(RunRows(GateTask{a_.as<float>(),
                                     b_.as<float>(),
                                     row_threads::Gate::kSilu,
                                     sizes_.n_tokens * sizes_.inner,
                                     {nullptr, y_.as<uint16_t>()}},
                            stream_));
    RETURN_IF_ERROR(Multiply(y_, sizes_.width, sizes_.inner, &b_));
    return Add(b_);
  }

  absl::Status Slice() {
    const int64_t n_tokens = std::min(sizes_.slice, sizes_.full_vocab);
    tile::Product product = ProductOf(x_, n_tokens, sizes_.width);
    product.out = bench_.out();
    RETURN_IF_ERROR(products_.Multiply(product, stream_));
    return RunRows(ScoreTask{bench_.out(), targets_.as<int32_t>(),
                             sizes_.n_tokens, n_tokens, 0, 256, 2048,
                             slices_.as<RowScore>(), scores_.as<RowScore>()},
                   stream_);
  }

  // Operations of products and of attention over half of all pairs.
  double BlockOperations() const {
    const double weights =
        static_cast<double>(sizes_.width) *
        static_cast<double>(qkv_width_ + sizes_.width + 3 * sizes_.inner);
    return static_cast<double>(sizes_.n_tokens) *
           (2 * weights +
            4.0 * static_cast<double>(sizes_.sequence / 2 * sizes_.width));
  }
  double SliceOperations() const {
    return 2.0 * static_cast<double>(sizes_.n_tokens * sizes_.width) *
           static_cast<double>(std::min(sizes_.slice, sizes_.full_vocab));
  }

 private:
  absl::Status Norm() {
    return RunRows(NormTask{hidden_.as<float>(),
                            bench_.in(),
                            sizes_.n_tokens,
                            sizes_.width,
                            1e-5f,
                            {nullptr, x_.as<uint16_t>()}},
                   stream_);
  }
  absl::Status Add(const DeviceBuffer& projected) {
    return RunRows(MixTask{projected.as<float>(), 1, 1, 0,
                           sizes_.n_tokens * sizes_.width, hidden_.as<float>()},
                   stream_);
  }
  tile::Product ProductOf(const DeviceBuffer& x, int64_t n_outputs,
                          int64_t n_inputs) const {
    return {{x.as<uint16_t>(), n_inputs, 1},
            {bench_.in_halves(), n_inputs, 1},
            sizes_.n_tokens,
            n_outputs,
            n_inputs,
            nullptr,
            n_outputs,
            false};
  }
  absl::Status Multiply(const DeviceBuffer& x, int64_t n_outputs,
                        int64_t n_inputs, DeviceBuffer* out) {
    tile::Product product = ProductOf(x, n_outputs, n_inputs);
    product.out = out->as<float>();
    return products_.Multiply(product, stream_);
  }

  // From queries, keys and values in `a_` to `x_`.
  absl::Status Attend() {
    float* const qkv = a_.as<float>();
    for (const auto& [at, n_heads] :
         {std::make_pair(int64_t{0}, sizes_.n_heads),
          std::make_pair(sizes_.width, sizes_.n_kv_heads)}) {
      RETURN_IF_ERROR(
          RunRows(RotateTask{qkv + at, bench_.in(), bench_.in(),
                             sizes_.n_tokens, n_heads, head_dim_, qkv_width_,
                             head_dim_ / 2, true, sizes_.sequence},
                  stream_));
    }
    RETURN_IF_ERROR(products_.Split(qkv, sizes_.n_tokens * qkv_width_, 0,
                                    y_.as<uint16_t>(), stream_));
    tensor_attention::Task task = {};
    task.q = y_.as<uint16_t>();
    task.k = task.q + sizes_.width;
    task.v = task.k + kv_width_;
    task.halves = x_.as<uint16_t>();
    task.q_stride = task.kv_stride = qkv_width_;
    task.out_stride = sizes_.width;
    task.n_sequences = sizes_.n_tokens / sizes_.sequence;
    task.n_tokens = sizes_.sequence;
    task.n_heads = sizes_.n_heads;
    task.group = sizes_.n_heads / sizes_.n_kv_heads;
    task.head_dim = head_dim_;
    task.scale = 0.088f;
    return RunTensorAttention(task, stream_);
  }

  const ForwardSizes sizes_;
  Bench& bench_;
  DeviceProducts& products_;
  DeviceStream* const stream_;
  const int64_t head_dim_;
  const int64_t kv_width_;
  const int64_t qkv_width_;
  DeviceBuffer hidden_, a_, b_;
  DeviceBuffer x_, y_;
  DeviceBuffer targets_, slices_, scores_;
};

}  // namespace

absl::StatusOr<double> BenchModel(const ForwardSizes& sizes, Bench* bench) {
  ASSIGN_OR_RETURN(auto products, DeviceProducts::Open(bench->device()));
  BlockBench block(sizes, bench, products.get());
  RETURN_IF_ERROR(block.Begin());
  const std::string tokens = absl::StrCat(sizes.n_tokens, " tokens");
  RETURN_IF_ERROR(bench->Operations(absl::StrCat("a block, ", tokens),
                                    block.BlockOperations(),
                                    [&] { return block.Block(); }));
  const double block_seconds = bench->last_seconds();
  RETURN_IF_ERROR(bench->Operations(absl::StrCat("a slice of logits, ", tokens),
                                    block.SliceOperations(),
                                    [&] { return block.Slice(); }));
  const auto n_layers = static_cast<double>(sizes.n_layers);
  const double n_slices =
      static_cast<double>(sizes.full_vocab) /
      static_cast<double>(std::min(sizes.slice, sizes.full_vocab));
  const double seconds =
      n_layers * block_seconds + n_slices * bench->last_seconds();
  const double operations =
      n_layers * block.BlockOperations() + n_slices * block.SliceOperations();
  const double peak = PeakOperations(bench->device().traits());
  bench->Sum(absl::StrCat("all ", sizes.n_layers, " blocks and logits"),
             operations / seconds * 1e-12, "TFLOP/s", peak * 1e-12);
  bench->summary()->AtLeast(
      "perplexity of a Llama-3-8B, weights on the card", 60,
      100 * bench->last_fraction(), "% of the bfloat16 roofline",
      absl::StrFormat(
          "%.1f TFLOP/s, %.0f tokens/s; products by %s", bench->last_rate(),
          static_cast<double>(sizes.n_tokens) / seconds, products->name()));
  return n_layers * block_seconds / static_cast<double>(sizes.n_tokens);
}

}  // namespace narrow
