// Hidden states of one model going through its blocks, the original's or those
// of the quantized one, and what of the present block has been computed.
//
//   ASSIGN_OR_RETURN(const Route route,
//                    stream->ObservedRoute(block, site, site, max_bytes));
//   for each group of samples:
//     RETURN_IF_ERROR(stream->Run(block, route, first, n, &observer, &hidden));
//   stream->Kept(route);
//
// The states before the block are in store(). What is computed from them is
// kept where a later call of the same block will want it:
//   - of the original, whose weights stay, the states after the attention part
//     or after the block, whenever they are computed;
//   - of the quantized model, which is observed site by site, what has just
//     become final: the rows that go into attention's output matrix once the
//     inputs of the part are no longer asked for, the states after that matrix,
//     and the rows that go into the last one (not those of experts). So a
//     block's matrices are multiplied once, those of the quantized model by
//     what will be in the file.
// What is kept is used as long as the weights that made it have the same
// checksum. With a runner on a device the states of a group go there, and come
// back where they are kept. Belongs to one thread.

#ifndef NARROW_CALIBRATION_BLOCKWISE_BLOCK_STREAM_H_
#define NARROW_CALIBRATION_BLOCKWISE_BLOCK_STREAM_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/blockwise/store/hidden_store.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "formats/overlay_source.h"

namespace narrow {

// How far a block has been computed. kAttended and kGated: up to the inputs of
// a part's last matrix, which are kept beside the hidden states before it.
enum class Place { kStart, kAttended, kMiddle, kGated, kEnd };

// What of a block one call runs, and what of it is kept.
struct Route {
  Place from = Place::kStart;
  // With `attention` false, and from kMiddle on, that part is not run; the same
  // of the other one.
  bool attention = true, feed_forward = true;
  PartEnd attention_end = PartEnd::kOutput;
  PartEnd feed_forward_end = PartEnd::kOutput;
  bool keep_attended = false, keep_middle = false, keep_gated = false,
       keep_end = false;

  // Whether rows beside the hidden states are read or kept.
  bool has_inner() const {
    return keep_attended || keep_gated || from == Place::kAttended ||
           from == Place::kGated;
  }
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
           (ahead_ == nullptr ? 0 : ahead_->memory_bytes()) +
           (inner_ == nullptr ? 0 : inner_->memory_bytes());
  }
  // Of the rows beside the hidden states, the wider ones.
  int64_t InnerCols(int64_t block) const;

  // All of the block, less what is known of it.
  absl::StatusOr<Route> WholeRoute(int64_t block);
  // What has to run so that sites first_site ... last_site are seen. What is
  // kept may take max_bytes more of memory.
  absl::StatusOr<Route> ObservedRoute(int64_t block, size_t first_site,
                                      size_t last_site, int64_t max_bytes);
  // `hidden` becomes those of samples [first, first + n) where the route ends,
  // on the device of the runner if it has one. ResourceExhausted is of its
  // memory: fewer samples may go.
  absl::Status Run(int64_t block, const Route& route, int64_t first, int64_t n,
                   Observer* observer, HiddenStates* hidden);
  // States wherever they are, until the next call.
  absl::StatusOr<const float*> ValuesOf(const HiddenStates& hidden);
  // All samples have been run.
  void Kept(const Route& route);
  // If the states after the block are known, they become those of store().
  bool SwapEnd();
  void ForgetAhead() { ahead_place_ = inner_place_ = Place::kStart; }

 private:
  BlockStream(const Checkpoint* model, OverlaySource* overlay, ThreadPool* pool,
              const BlockStreamOptions& options)
      : model_(model), overlay_(overlay), pool_(pool), options_(options) {}
  bool Has(Place place) const;
  absl::StatusOr<Place> Latest(int64_t block, Place limit);
  absl::StatusOr<uint64_t> SitePrint(int64_t block, size_t site) const;
  absl::StatusOr<bool> WeightsStay(int64_t block, Place place) const;
  absl::Status PrepareToKeep(int64_t block, const Route& route,
                             int64_t max_bytes);
  absl::StatusOr<const float*> ReadInner(int64_t first, int64_t n);
  absl::Status RunToInner(int64_t block, bool attention, int64_t first,
                          int64_t n, Observer* observer, HiddenStates* hidden);
  absl::Status RunAttention(int64_t block, const Route& route, int64_t first,
                            int64_t n, Observer* observer,
                            HiddenStates* hidden);
  absl::Status RunFeedForward(int64_t block, const Route& route, int64_t first,
                              int64_t n, Observer* observer,
                              HiddenStates* hidden);

  const Checkpoint* const model_;
  OverlaySource* const overlay_;
  ThreadPool* const pool_;
  const BlockStreamOptions options_;
  std::unique_ptr<HiddenStore> store_;
  std::unique_ptr<ModelRunner> runner_;
  // Of the present block: hidden states at kMiddle or kEnd, and the rows of
  // kAttended or kGated; kStart: there are none.
  std::unique_ptr<HiddenStore> ahead_, inner_;
  Place ahead_place_ = Place::kStart, inner_place_ = Place::kStart;
  // Checksums of the weights of each site that made these.
  std::array<uint64_t, 3> prints_ = {};
  int64_t inner_width_ = 0;    // that inner_ has room for
  HiddenStates inner_rows_;    // of a group, unless they lie in memory
  std::vector<float> values_;  // of states on a device
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_BLOCK_STREAM_H_
