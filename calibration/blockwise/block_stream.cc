// Tested by: block_calibrator_test, observe_request_test.

#include "calibration/blockwise/block_stream.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "calibration/weights/weights.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Weights read at once for a checksum.
constexpr int64_t kPrintedNumbers = int64_t{1} << 20;

constexpr char kRunning[] = "calibrating, where a window is a sample";

// The sites whose weights make what is kept at a place.
size_t SitesBefore(Place place) {
  return place == Place::kAttended ? 1 : place == Place::kMiddle ? 2 : 3;
}

// Shows an observer all there is to see, and copies what goes into a part's
// last matrix.
class InnerCopier : public Observer {
 public:
  // `rows`: [tokens of the hidden states, columns of `name`].
  InnerCopier(const std::string* name, Observer* observer, ThreadPool* pool,
              float* rows)
      : name_(*name), observer_(observer), pool_(pool), rows_(rows) {}

  absl::Status OnInput(const LayerInput& input) override {
    if (input.name == name_) {
      float* const to = rows_ + input.first_token * input.n_cols;
      const int64_t n_all = input.n_rows * input.n_cols;
      pool_->ParallelFor((n_all + kCopied - 1) / kCopied, [&](int64_t task) {
        const int64_t first = task * kCopied;
        std::copy_n(input.rows + first, std::min(kCopied, n_all - first),
                    to + first);
      });
    }
    return observer_ == nullptr ? absl::OkStatus() : observer_->OnInput(input);
  }

  absl::StatusOr<bool> OnDevice(const DeviceInput& there) override {
    const LayerInput& input = there.input;
    ASSIGN_OR_RETURN(const bool taken, observer_ == nullptr
                                           ? absl::StatusOr<bool>(true)
                                           : observer_->OnDevice(there));
    if (taken && input.name == name_) {
      RETURN_IF_ERROR(there.stream->Copy(
          input.rows,
          static_cast<size_t>(input.n_rows * input.n_cols) * sizeof(float),
          rows_ + input.first_token * input.n_cols));
      RETURN_IF_ERROR(there.stream->Synchronize(name_));
    }
    return taken;
  }

 private:
  static constexpr int64_t kCopied = int64_t{1} << 16;  // numbers a task

  const std::string& name_;
  Observer* const observer_;
  ThreadPool* const pool_;
  float* const rows_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlockStream>> BlockStream::Create(
    const Checkpoint* model, OverlaySource* overlay, ThreadPool* pool,
    const HiddenShape& shape, const BlockStreamOptions& options) {
  std::unique_ptr<BlockStream> stream(
      new BlockStream(model, overlay, pool, options));
  RunnerOptions runner = options.runner;
  // All samples go through one block before any goes through the next.
  runner.prefetch_weights = false;
  ASSIGN_OR_RETURN(stream->runner_, ModelRunner::Create(model, runner));
  ASSIGN_OR_RETURN(stream->store_,
                   HiddenStore::Create(shape, options.max_bytes,
                                       options.spill_folder, pool));
  return stream;
}

int64_t BlockStream::InnerCols(int64_t block) const {
  const ModelRunner::InnerCols cols = runner_->InnerColsOfBlock(block);
  return std::max(cols.attention, cols.feed_forward);
}

// Of a site's weights as the overlay shows them.
absl::StatusOr<uint64_t> BlockStream::SitePrint(int64_t block,
                                                size_t site) const {
  Checksum print;
  const BlockSites sites = runner_->SitesOfBlock(block);
  for (const std::string& name : sites[site]) {
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
  return print.value();
}

bool BlockStream::Has(Place place) const {
  switch (place) {
    case Place::kAttended:
      return inner_place_ == place;
    case Place::kMiddle:
    case Place::kEnd:
      return ahead_place_ == place;
    case Place::kGated:
      return inner_place_ == place && ahead_place_ == Place::kMiddle;
    case Place::kStart:
      return true;
  }
  return false;
}

// Whether what is kept at `place` is of the weights that are shown now.
absl::StatusOr<bool> BlockStream::WeightsStay(int64_t block,
                                              Place place) const {
  for (size_t site = 0; !options_.original && site < SitesBefore(place);
       ++site) {
    ASSIGN_OR_RETURN(const uint64_t print, SitePrint(block, site));
    if (print != prints_[site]) {
      return false;
    }
  }
  return true;
}

// The furthest place up to `limit` from which the block can go on.
absl::StatusOr<Place> BlockStream::Latest(int64_t block, Place limit) {
  for (const Place place : {Place::kGated, Place::kMiddle, Place::kAttended}) {
    if (place <= limit && Has(place)) {
      ASSIGN_OR_RETURN(const bool stay, WeightsStay(block, place));
      if (stay) {
        return place;
      }
    }
  }
  return Place::kStart;
}

absl::StatusOr<Route> BlockStream::WholeRoute(int64_t block) {
  Route route;
  ASSIGN_OR_RETURN(route.from, Latest(block, Place::kGated));
  route.attention = route.from < Place::kMiddle;
  return route;
}

absl::StatusOr<Route> BlockStream::ObservedRoute(int64_t block,
                                                 size_t first_site,
                                                 size_t last_site,
                                                 int64_t max_bytes) {
  Route route;
  if (first_site >= 2) {
    ASSIGN_OR_RETURN(route.from, Latest(block, Place::kMiddle));
  }
  route.attention = route.from < Place::kMiddle;
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
      route.keep_end = true;
    } else if (last_site >= 1 && route.attention) {
      route.attention_end = PartEnd::kOutput;
      route.keep_middle = true;
    }
  } else {
    // Who asks for no earlier site has replaced the weights of those before.
    route.keep_attended = first_site == 1 && last_site == 1;
    route.keep_middle = first_site >= 2 && route.attention;
    // The rows of one place are in memory at a time.
    route.keep_gated = first_site == 3 && route.from != Place::kAttended &&
                       runner_->InnerColsOfBlock(block).feed_forward > 0;
  }
  RETURN_IF_ERROR(PrepareToKeep(block, route, max_bytes));
  return route;
}

// Memory for what a route keeps. What was there will be overwritten, sample by
// sample, and what does not fit the new checksums is forgotten.
absl::Status BlockStream::PrepareToKeep(int64_t block, const Route& route,
                                        int64_t max_bytes) {
  const bool inner = route.keep_attended || route.keep_gated;
  const bool ahead = route.keep_middle || route.keep_end;
  if (!inner && !ahead) {
    return absl::OkStatus();
  }
  if (ahead || route.from == Place::kStart) {
    ahead_place_ = Place::kStart;
  }
  if (inner || route.from == Place::kStart) {
    inner_place_ = Place::kStart;
  }
  const size_t n_sites = SitesBefore(route.keep_gated    ? Place::kGated
                                     : route.keep_middle ? Place::kMiddle
                                                         : Place::kAttended);
  for (size_t site = 0; !options_.original && site < n_sites; ++site) {
    ASSIGN_OR_RETURN(prints_[site], SitePrint(block, site));
  }
  const auto make = [&](int64_t width, std::unique_ptr<HiddenStore>* store) {
    HiddenShape shape = store_->shape();
    shape.hidden_size = width;
    auto made = HiddenStore::Create(shape, std::max<int64_t>(0, max_bytes),
                                    options_.spill_folder, pool_);
    if (made.ok()) {
      *store = *std::move(made);
      max_bytes -= (*store)->memory_bytes();
    }
    return made.status();
  };
  if (ahead && ahead_ == nullptr) {
    RETURN_IF_ERROR(make(store_->shape().hidden_size, &ahead_));
  }
  if (inner) {
    const ModelRunner::InnerCols cols = runner_->InnerColsOfBlock(block);
    const int64_t widest = std::max(cols.attention, cols.feed_forward);
    if (inner_ == nullptr || widest > inner_width_) {
      inner_.reset();
      RETURN_IF_ERROR(make(widest, &inner_));
      inner_width_ = widest;
    }
    inner_->SetWidth(route.keep_gated ? cols.feed_forward : cols.attention);
  }
  return absl::OkStatus();
}

void BlockStream::Kept(const Route& route) {
  if (route.keep_middle || route.keep_end) {
    ahead_place_ = route.keep_end ? Place::kEnd : Place::kMiddle;
  }
  if (route.keep_attended || route.keep_gated) {
    inner_place_ = route.keep_gated ? Place::kGated : Place::kAttended;
  }
}

// Rows of samples [first, first + n), until the next call.
absl::StatusOr<const float*> BlockStream::ReadInner(int64_t first, int64_t n) {
  const float* rows = inner_->InMemory(first, n);
  if (rows == nullptr) {
    RETURN_IF_ERROR(inner_->Read(first, n, &inner_rows_));
    rows = inner_rows_.values.data();
  }
  return rows;
}

// One part up to kInner, its inner rows kept.
absl::Status BlockStream::RunToInner(int64_t block, bool attention,
                                     int64_t first, int64_t n,
                                     Observer* observer, HiddenStates* hidden) {
  float* rows = inner_->InMemory(first, n);
  const bool in_memory = rows != nullptr;
  if (!in_memory) {
    inner_rows_.values.resize(
        static_cast<size_t>(n * inner_->shape().sample_numbers()));
    rows = inner_rows_.values.data();
  }
  const BlockSites sites = runner_->SitesOfBlock(block);
  InnerCopier copier(&sites[attention ? 1 : 3][0], observer, pool_, rows);
  RETURN_IF_ERROR(
      attention
          ? runner_->RunAttention(block, PartEnd::kInner, &copier, hidden)
          : runner_->RunFeedForward(block, PartEnd::kInner, &copier, hidden));
  return in_memory ? absl::OkStatus() : inner_->Write(first, n, rows);
}

absl::Status BlockStream::RunAttention(int64_t block, const Route& route,
                                       int64_t first, int64_t n,
                                       Observer* observer,
                                       HiddenStates* hidden) {
  if (route.from == Place::kAttended) {
    ASSIGN_OR_RETURN(const float* rows, ReadInner(first, n));
    return runner_->EndAttention(block, rows, hidden);
  }
  return route.keep_attended
             ? RunToInner(block, /*attention=*/true, first, n, observer, hidden)
             : runner_->RunAttention(block, route.attention_end, observer,
                                     hidden);
}

absl::Status BlockStream::RunFeedForward(int64_t block, const Route& route,
                                         int64_t first, int64_t n,
                                         Observer* observer,
                                         HiddenStates* hidden) {
  if (route.from == Place::kGated) {
    ASSIGN_OR_RETURN(const float* rows, ReadInner(first, n));
    return runner_->EndFeedForward(block, rows, hidden);
  }
  return route.keep_gated
             ? RunToInner(block, /*attention=*/false, first, n, observer,
                          hidden)
             : runner_->RunFeedForward(block, route.feed_forward_end, observer,
                                       hidden);
}

absl::StatusOr<const float*> BlockStream::ValuesOf(const HiddenStates& hidden) {
  if (hidden.on_device.data() == nullptr) {
    return hidden.values.data();
  }
  values_.resize(hidden.on_device.n_bytes() / sizeof(float));
  RETURN_IF_ERROR(runner_->CopyStates(hidden, values_.data()));
  return values_.data();
}

absl::Status BlockStream::Run(int64_t block, const Route& route, int64_t first,
                              int64_t n, Observer* observer,
                              HiddenStates* hidden) {
  const HiddenStore& from = route.from < Place::kMiddle ? *store_ : *ahead_;
  RETURN_IF_ERROR(from.Read(first, n, hidden));
  const OriginalsShown shown(overlay_, options_.original);
  if (route.attention) {
    RETURN_IF_ERROR(Annotate(
        RunAttention(block, route, first, n, observer, hidden), kRunning));
    if (route.keep_middle) {
      ASSIGN_OR_RETURN(const float* values, ValuesOf(*hidden));
      RETURN_IF_ERROR(ahead_->Write(first, n, values));
    }
  }
  if (route.feed_forward) {
    RETURN_IF_ERROR(Annotate(
        RunFeedForward(block, route, first, n, observer, hidden), kRunning));
    if (route.keep_end) {
      ASSIGN_OR_RETURN(const float* values, ValuesOf(*hidden));
      RETURN_IF_ERROR(ahead_->Write(first, n, values));
    }
  }
  return absl::OkStatus();
}

bool BlockStream::SwapEnd() {
  if (ahead_place_ != Place::kEnd) {
    return false;
  }
  std::swap(store_, ahead_);
  ForgetAhead();
  return true;
}

}  // namespace narrow
