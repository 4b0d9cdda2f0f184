// Tested by: block_calibrator_test, observe_request_test.

#include "calibration/blockwise/block_stream.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "calibration/weights.h"
#include "formats/base/checksum.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Weights read at once for a checksum.
constexpr int64_t kPrintedNumbers = int64_t{1} << 20;

constexpr char kRunning[] = "calibrating, where a window is a sample";

}  // namespace

absl::StatusOr<std::unique_ptr<BlockStream>> BlockStream::Create(
    const Checkpoint* model, OverlaySource* overlay, ThreadPool* pool,
    const HiddenShape& shape, const BlockStreamOptions& options) {
  std::unique_ptr<BlockStream> stream(
      new BlockStream(model, overlay, pool, options));
  ASSIGN_OR_RETURN(stream->runner_, ModelRunner::Create(model, options.runner));
  ASSIGN_OR_RETURN(stream->store_,
                   HiddenStore::Create(shape, options.max_bytes,
                                       options.spill_folder, pool));
  return stream;
}

// Of the block's attention weights as the overlay shows them.
absl::StatusOr<uint64_t> BlockStream::AttentionPrint(int64_t block) const {
  Checksum print;
  const BlockSites sites = runner_->SitesOfBlock(block);
  for (const std::vector<std::string>* names : {&sites[0], &sites[1]}) {
    for (const std::string& name : *names) {
      const CheckpointTensor* tensor = model_->Find(name);
      const int64_t n_rows = tensor->meta.n_rows();
      const int64_t n_cols = tensor->meta.n_cols();
      const int64_t step = std::max<int64_t>(1, kPrintedNumbers / n_cols);
      std::vector<float> rows(
          static_cast<size_t>(std::min(step, n_rows) * n_cols));
      for (int64_t r = 0; r < n_rows; r += step) {
        const int64_t n = std::min(step, n_rows - r);
        RETURN_IF_ERROR(ReadRows(*model_, *tensor, r, n, rows.data()));
        print.Add(rows.data(), static_cast<size_t>(n * n_cols) * sizeof(float));
      }
    }
  }
  return print.value();
}

absl::StatusOr<Route> BlockStream::WholeRoute(int64_t block) {
  Route route;
  if (reached_ != Place::kMiddle) {
    return route;
  }
  uint64_t print = attention_print_;
  if (!options_.original) {
    ASSIGN_OR_RETURN(print, AttentionPrint(block));
  }
  if (print == attention_print_) {
    route.from = Place::kMiddle;
    route.attention = false;
  }
  return route;
}

absl::StatusOr<Route> BlockStream::ObservedRoute(int64_t block,
                                                 size_t first_site,
                                                 size_t last_site,
                                                 int64_t max_bytes) {
  Route route;
  if (first_site >= 2) {
    ASSIGN_OR_RETURN(route, WholeRoute(block));
  }
  route.feed_forward = last_site >= 2;
  if (route.feed_forward) {
    route.feed_forward_end = last_site == 2 ? PartEnd::kInput : PartEnd::kInner;
  } else {
    route.attention_end = last_site == 0 ? PartEnd::kInput : PartEnd::kInner;
  }
  if (options_.original) {
    // Its weights stay, so parts are run to their end, once.
    if (last_site == 3) {
      route.feed_forward_end = PartEnd::kOutput;
      route.keep = Place::kEnd;
    } else if (last_site >= 1 && route.attention) {
      route.attention_end = PartEnd::kOutput;
      route.keep = Place::kMiddle;
    }
  } else if (first_site >= 2 && route.attention) {
    // Who asks for these alone has replaced attention's weights.
    route.keep = Place::kMiddle;
    ASSIGN_OR_RETURN(attention_print_, AttentionPrint(block));
  }
  if (route.keep != Place::kStart) {
    // What was there is overwritten, sample by sample.
    reached_ = Place::kStart;
    if (ahead_ == nullptr) {
      ASSIGN_OR_RETURN(
          ahead_,
          HiddenStore::Create(store_->shape(), std::max<int64_t>(0, max_bytes),
                              options_.spill_folder, pool_));
    }
  }
  return route;
}

absl::Status BlockStream::Run(int64_t block, const Route& route, int64_t first,
                              int64_t n, Observer* observer,
                              HiddenStates* hidden) {
  const HiddenStore& from = route.from == Place::kStart ? *store_ : *ahead_;
  RETURN_IF_ERROR(from.Read(first, n, hidden));
  const OriginalsShown shown(overlay_, options_.original);
  if (route.attention) {
    RETURN_IF_ERROR(Annotate(
        runner_->RunAttention(block, route.attention_end, observer, hidden),
        kRunning));
    if (route.keep == Place::kMiddle) {
      RETURN_IF_ERROR(ahead_->Write(first, n, hidden->values.data()));
    }
  }
  if (route.feed_forward) {
    RETURN_IF_ERROR(
        Annotate(runner_->RunFeedForward(block, route.feed_forward_end,
                                         observer, hidden),
                 kRunning));
    if (route.keep == Place::kEnd) {
      RETURN_IF_ERROR(ahead_->Write(first, n, hidden->values.data()));
    }
  }
  return absl::OkStatus();
}

bool BlockStream::SwapEnd() {
  if (reached_ != Place::kEnd) {
    return false;
  }
  std::swap(store_, ahead_);
  reached_ = Place::kStart;
  return true;
}

}  // namespace narrow
