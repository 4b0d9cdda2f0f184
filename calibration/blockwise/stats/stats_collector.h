// Gathers LayerStats while a block runs.
//
//   StatsCollector collector(&model, &pool, request, rows_per_column);
//   collector.BeginGroup(first_sample, sample_tokens, uses, nullptr);
//   RETURN_IF_ERROR(runner->RunBlock(b, &collector, &hidden));
//   ASSIGN_OR_RETURN(BlockStats stats, collector.Finish());
//
// Rows of tokens that do not count are passed over. The others are gathered
// into whole blocks of kGramBlockRows, so that neither groups nor masks move
// the borders of sums; column sums are in double, row after row.
//
// Token weights. A row's products are weighted, not the row; extremes are of
// rows as they are. Layers fed by one input whose weights differ are gathered
// each for itself.
//
// Cross moments: `original` has the same group's inputs in the original
// model, x, and the residual stream there, r. An expert's row whose token the
// original model sent to other experts has no partner and counts as x = z, no
// drift.
//
// Experts. One with n rows (with token weights, rows that weigh n together),
// n < m = rows_per_column * n_cols by count, has a Gram matrix that is singular
// or nearly so, and solvers would fit what is noise. With S the sums over its
// own rows, A those over the N rows of all experts (a token counts once for
// each expert it was sent to), it gets
//
//   S' = max(1, n) * ((1 - a) * S / n  +  a * A / N),     a = 1 - n / m,
//
// (a from the numbers of rows)
//
// a mixture of means, times n so that S' is comparable with an expert's that
// was not shrunk, and MeanSquare stays what it says. Linear shrinkage (Ledoit
// and Wolf, "A well-conditioned estimator for large-dimensional covariance
// matrices", 2004) with the common matrix as its target, since that has the
// scales of the same columns; its optimal weight falls with n and reaches
// nothing where the expert's own rows suffice: a straight line is used, which
// needs no fourth moments and has no jump. Without any rows a = 1: the common
// statistics. Largest and smallest values are mixed likewise.
//
// Rows that lie on a device are summed there (device_sums.h), by the device's
// chains, with the same bits; Fetch brings the sums back. Where its memory is
// short for the sums of an input, its rows are copied and summed here, which
// `note` is told.
//
// Belongs to one thread, and uses the pool's.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STATS_STATS_COLLECTOR_H_
#define NARROW_CALIBRATION_BLOCKWISE_STATS_STATS_COLLECTOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/blockwise/layer_stats.h"
#include "calibration/blockwise/observe_request.h"
#include "calibration/blockwise/stats/device_sums.h"
#include "calibration/blockwise/stats/input_recorder.h"
#include "calibration/blockwise/stats/input_sums.h"
#include "calibration/blockwise/stats/token_use.h"
#include "calibration/model_runner.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/parallel.h"
#include "kernels/device.h"

namespace narrow {

class StatsCollector : public Observer {
 public:
  // Pointers, the request's too, must outlive the collector. Which tokens are
  // held out is what BeginGroup says.
  StatsCollector(const Checkpoint* model, ThreadPool* pool,
                 const ObserveRequest& request, double expert_rows_per_column);
  ~StatsCollector() override;

  // The rows that follow are of samples from `first_sample` on; `uses` has
  // one value for each of their tokens. Both pointers are read until the next
  // group; `original` is needed for cross moments and residuals only.
  void BeginGroup(int64_t first_sample, int64_t sample_tokens,
                  const TokenUse* uses, InputRecorder* original);

  // DataLoss names tensor, expert, sample, token and column of a number that
  // is not finite.
  absl::Status OnInput(const LayerInput& input) override;
  absl::StatusOr<bool> OnDevice(const DeviceInput& there) override;
  void set_note(std::function<void(absl::string_view)> note) {
    note_ = std::move(note);
  }
  // For rows on a device, where last digits may differ; nullptr: they may not.
  void set_fast(FastGrams* fast) { fast_ = fast; }
  // Whether rows came since BeginGroup: it cannot be begun again.
  bool has_rows_of_group() const { return has_rows_of_group_; }

  // Brings sums that lie on a device here, before Finish.
  absl::Status Fetch();
  // Every tensor asked for and seen; of stacked ones, every expert. The
  // collector is empty afterwards.
  BlockStats Finish();

 private:
  // Of one matrix: on the host, or on a device until Fetch.
  struct Sums {
    std::unique_ptr<InputSums> here;
    std::unique_ptr<DeviceSums> there;
    std::optional<LayerStats> fetched;
  };
  // One input: the layers that it feeds share it.
  struct Input {
    std::vector<std::string> names;
    int64_t n_cols = 0;
    int64_t residual_cols = 0;  // 0: none is gathered
    bool stacked = false;
    bool weighted = false;
    std::vector<Sums> sums;  // one a matrix; none where no row was seen
  };

  bool IsAsked(const LayerInput& input) const;
  absl::StatusOr<Input*> Enter(const LayerInput& input, int64_t number);
  // The rows of a call that are summed, and those held out.
  void Split(const LayerInput& input);
  absl::Status AddHere(const LayerInput& input, Input* entered);
  // Whether the sums of the input's rows are, or now will be, on the device.
  absl::StatusOr<bool> SumThere(const DeviceInput& there, Input* entered);
  absl::Status AddThere(const DeviceInput& there, DeviceSums* sums);
  absl::Status CopyAndAdd(const DeviceInput& there, Input* entered);
  absl::StatusOr<RowsThere> Locate(const DeviceInput& there);
  absl::Status CheckThere(const DeviceInput& there);
  std::unique_ptr<InputSums> NewSums(const Input& input) const;
  bool ShareWeights(const std::string& a, const std::string& b) const;
  absl::Status CheckRows(const LayerInput& input, int64_t first,
                         int64_t n) const;
  absl::Status Gather(const LayerInput& input, absl::Span<const int64_t> rows,
                      const RowPlaces& places);
  absl::Status NotFinite(const LayerInput& input, int64_t row,
                         const float* x) const;
  std::vector<std::shared_ptr<const LayerStats>> FinishInput(Input* input);
  std::shared_ptr<const LayerStats> Shrink(const LayerStats& own,
                                           const LayerStats& all) const;

  const Checkpoint* const model_;
  ThreadPool* const pool_;
  const StatsNeeds needs_;
  const std::set<std::string> names_;  // asked for; empty: all
  const TokenWeights* const weights_;
  const double expert_rows_per_column_;
  int64_t first_sample_ = 0, sample_tokens_ = 1;
  const TokenUse* uses_ = nullptr;
  InputRecorder* original_ = nullptr;
  FastGrams* fast_ = nullptr;
  std::function<void(absl::string_view)> note_;
  bool has_rows_of_group_ = false;

  std::vector<Input> inputs_;
  std::map<std::string, size_t> index_;  // into inputs_
  SameRows same_;
  size_t last_ = 0;
  // Rows of the present call.
  std::vector<int64_t> summed_, held_out_;
  // And on a device: places and weights of both, flags of rows that are not
  // finite.
  DeviceStream* stream_ = nullptr;
  DeviceBuffer places_;
  std::vector<int64_t> indices_;
  std::vector<float> weights_of_rows_;
  std::vector<float> rows_copy_, residual_copy_;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_STATS_STATS_COLLECTOR_H_
