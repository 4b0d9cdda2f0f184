// Hidden states of one model going through its blocks, the original's or those
// of the quantized one, and what of the present block has been computed.
//
//   ASSIGN_OR_RETURN(const Route route,
//                    stream->ObservedRoute(block, site, site, max_bytes));
//   for each group of samples:
//     RETURN_IF_ERROR(stream->Run(block, route, first, n, &observer, &hidden));
//   stream->Kept(route);
//
// The states before the block are in store(). Those after its attention part
// or after all of it are kept apart, ahead, where a later call of the same
// block will want them: of the original, whose weights stay, whenever they are
// computed; of the quantized model after attention, once its inputs are no
// longer asked for, and used as long as attention's weights have the same
// checksum. Belongs to one thread.

#ifndef NARROW_CALIBRATION_BLOCKWISE_BLOCK_STREAM_H_
#define NARROW_CALIBRATION_BLOCKWISE_BLOCK_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/blockwise/hidden_store.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "formats/overlay_source.h"

namespace narrow {

// While it lives, the overlay (may be null) shows the original weights, if
// `on`.
class OriginalsShown {
 public:
  OriginalsShown(OverlaySource* overlay, bool on)
      : overlay_(on ? overlay : nullptr) {
    if (overlay_ != nullptr) {
      overlay_->ShowOriginals(true);
    }
  }
  ~OriginalsShown() {
    if (overlay_ != nullptr) {
      overlay_->ShowOriginals(false);
    }
  }
  OriginalsShown(const OriginalsShown&) = delete;
  OriginalsShown& operator=(const OriginalsShown&) = delete;

 private:
  OverlaySource* const overlay_;
};

// How far hidden states are in a block.
enum class Place { kStart, kMiddle, kEnd };  // kMiddle: attention is added

// What of a block one call runs.
struct Route {
  Place from = Place::kStart;
  bool attention = true, feed_forward = true;
  PartEnd attention_end = PartEnd::kOutput;
  PartEnd feed_forward_end = PartEnd::kOutput;
  // Where it ends, to be kept ahead; kStart: it is not kept.
  Place keep = Place::kStart;
};

struct BlockStreamOptions {
  bool original = false;  // with the original's weights
  int64_t max_bytes = 0;  // of the states before the block, in memory
  std::string spill_folder;
  RunnerOptions runner;
};

class BlockStream {
 public:
  // What is pointed to must outlive the stream; `overlay` may be null.
  static absl::StatusOr<std::unique_ptr<BlockStream>> Create(
      const Checkpoint* model, OverlaySource* overlay, ThreadPool* pool,
      const HiddenShape& shape, const BlockStreamOptions& options);

  HiddenStore* store() const { return store_.get(); }
  ModelRunner* runner() const { return runner_.get(); }
  int64_t memory_bytes() const {
    return store_->memory_bytes() +
           (ahead_ == nullptr ? 0 : ahead_->memory_bytes());
  }

  // All of the block, less an attention part that has been computed.
  absl::StatusOr<Route> WholeRoute(int64_t block);
  // What has to run so that sites first_site ... last_site are seen. States
  // ahead may take max_bytes of memory.
  absl::StatusOr<Route> ObservedRoute(int64_t block, size_t first_site,
                                      size_t last_site, int64_t max_bytes);
  // `hidden` becomes those of samples [first, first + n) where the route ends.
  absl::Status Run(int64_t block, const Route& route, int64_t first, int64_t n,
                   Observer* observer, HiddenStates* hidden);
  // All samples have been run.
  void Kept(const Route& route) {
    reached_ = route.keep == Place::kStart ? reached_ : route.keep;
  }
  // If the states after the block are known, they become those of store().
  bool SwapEnd();
  void ForgetAhead() { reached_ = Place::kStart; }

 private:
  BlockStream(const Checkpoint* model, OverlaySource* overlay, ThreadPool* pool,
              const BlockStreamOptions& options)
      : model_(model), overlay_(overlay), pool_(pool), options_(options) {}
  absl::StatusOr<uint64_t> AttentionPrint(int64_t block) const;

  const Checkpoint* const model_;
  OverlaySource* const overlay_;
  ThreadPool* const pool_;
  const BlockStreamOptions options_;
  std::unique_ptr<HiddenStore> store_;
  std::unique_ptr<ModelRunner> runner_;
  // States of the present block further on: at reached_, unless that is
  // kStart. Of attention weights of this checksum.
  std::unique_ptr<HiddenStore> ahead_;
  Place reached_ = Place::kStart;
  uint64_t attention_print_ = 0;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_BLOCK_STREAM_H_
