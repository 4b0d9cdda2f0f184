// Tested by: block_calibrator_test.

#include "calibration/blockwise/block_calibrator.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "calibration/blockwise/block_stream.h"
#include "calibration/blockwise/group_samples.h"
#include "calibration/blockwise/states_print.h"
#include "calibration/blockwise/stats/input_recorder.h"
#include "calibration/blockwise/stats/stats_collector.h"
#include "calibration/blockwise/stats/token_use.h"
#include "calibration/blockwise/store/block_state.h"
#include "calibration/blockwise/store/hidden_store.h"
#include "calibration/weights/weights.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "kernels/device.h"
#include "kernels/linalg/device/fast_linalg.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr char kOutput[] = "output.weight";

// The first and the last site that layers are asked for of; all without any.
std::pair<size_t, size_t> SitesAsked(const ObserveRequest& request,
                                     const BlockSites& sites) {
  size_t first = sites.size(), last = 0;
  for (size_t site = 0; site < sites.size(); ++site) {
    const std::vector<std::string>& names = sites[site];
    const bool asked =
        request.layers.empty() ||
        std::find_first_of(names.begin(), names.end(), request.layers.begin(),
                           request.layers.end()) != names.end();
    if (asked) {
      first = std::min(first, site);
      last = site;
    }
  }
  return {first, last};
}

class Calibrator : public BlockCalibrator {
 public:
  Calibrator(const Checkpoint* model, OverlaySource* overlay,
             const CalibrationSamples& samples,
             const CalibrationOptions& options)
      : model_(model),
        overlay_(overlay),
        counts_(samples.counts),
        options_(options),
        pool_(options.runner.n_threads) {
    shape_.n_samples = samples.n_samples();
    shape_.sample_tokens = samples.sample_tokens;
    shape_.hidden_size = model->config().hidden_size;
  }

  absl::Status Start(const CalibrationSamples& samples);

  int64_t n_blocks() const override { return model_->config().n_layers; }
  int64_t next_block() const override { return next_block_; }
  BlockSites SitesOfBlock() const override {
    return next_block_ < n_blocks() ? main_->runner()->SitesOfBlock(next_block_)
                                    : BlockSites();
  }
  absl::StatusOr<BlockStats> Observe(
      const ObserveRequest& request,
      const CalibrationProgressFn& progress) override;
  absl::Status Advance(const CalibrationProgressFn& progress) override;
  absl::StatusOr<BlockStats> ObserveOutput(
      const ObserveRequest& request) override;
  absl::Status ReadStates(int64_t first, int64_t n,
                          HiddenStates* states) const override;
  absl::Status Save(const std::string& path,
                    uint64_t fingerprint) const override;
  absl::Status Restore(const std::string& path, uint64_t fingerprint) override;

 private:
  absl::StatusOr<std::unique_ptr<BlockStream>> NewStream(bool original);
  absl::Status Embed(ModelRunner* runner, const CalibrationSamples& samples,
                     BlockStream* stream);
  absl::Status AddOriginal();
  absl::Status CheckUsable() const;
  absl::Status CheckRequest(const ObserveRequest& request,
                            const BlockSites& sites);
  absl::Status CheckCancelled() const;
  absl::Status InGroups(
      int64_t step, const std::function<absl::Status(int64_t, int64_t)>& run,
      const std::function<bool()>& may_repeat);
  absl::Status ObserveGroup(const Route& route, const Route* original_route,
                            int64_t first, int64_t n, const TokenUse* uses,
                            StatsCollector* collector);
  absl::Status ShowOutput(BlockStream* stream, HiddenStates* hidden,
                          int64_t first, int64_t n, Observer* observer);
  int64_t GroupSamples(bool recorded, const Route* route = nullptr) const;
  int64_t MemoryBytes() const;
  BlockStateHeader NewHeader(uint64_t fingerprint) const;

  absl::Status AdvanceStream(BlockStream* stream, double from, double share,
                             const CalibrationProgressFn& progress);
  void ForgetWeights() const;

  const Checkpoint* const model_;
  OverlaySource* const overlay_;
  const std::vector<uint8_t> counts_;
  const CalibrationOptions options_;
  mutable ThreadPool pool_;
  HiddenShape shape_;
  uint64_t print_ = 0;  // of samples and model
  int64_t next_block_ = 0;
  bool partly_advanced_ = false;
  // Samples that a device's memory has allowed at once.
  int64_t most_samples_ = std::numeric_limits<int64_t>::max();
  // The one whose inputs are observed, and where cross moments are asked for
  // the original's.
  std::unique_ptr<BlockStream> main_;
  std::unique_ptr<BlockStream> original_;
  // Working memory of a group.
  HiddenStates hidden_, original_hidden_;
  InputRecorder recorder_;
  // Where the output matrix's inputs go to a device, how often they did.
  DeviceStream output_stream_;
  int64_t n_outputs_ = 0;
  // With a device and Precision::kFast.
  std::unique_ptr<FastLinalg> fast_;
};

absl::StatusOr<std::unique_ptr<BlockStream>> Calibrator::NewStream(
    bool original) {
  // Two streams share the limit.
  const int64_t limit = options_.keep_original
                            ? options_.hidden_bytes / 2
                            : options_.hidden_bytes - MemoryBytes();
  BlockStreamOptions stream;
  stream.original = original;
  stream.max_bytes = limit;
  stream.spill_folder = options_.spill_folder;
  stream.runner = options_.runner;
  return BlockStream::Create(model_, overlay_, &pool_, shape_, stream);
}

absl::Status Calibrator::Start(const CalibrationSamples& samples) {
  RETURN_IF_ERROR(
      CheckSamples(samples, model_->config().vocab_size, model_->path()));
  const bool originals = options_.order == CalibrationOrder::kOriginal;
  {
    const OriginalsShown shown(overlay_, true);
    ASSIGN_OR_RETURN(print_, PrintOfStates(*model_, samples, originals,
                                           options_.runner.precision));
  }
  const OriginalsShown shown(overlay_, originals);
  if (options_.runner.device.has_value() &&
      options_.runner.precision == Precision::kFast) {
    ASSIGN_OR_RETURN(fast_, FastLinalg::Open(*options_.runner.device));
  }
  ASSIGN_OR_RETURN(main_, NewStream(originals));
  if (options_.embedding == nullptr || originals) {
    RETURN_IF_ERROR(Embed(main_->runner(), samples, main_.get()));
    return options_.keep_original && !originals ? AddOriginal()
                                                : absl::OkStatus();
  }
  {
    RunnerOptions here = options_.runner;
    here.device.reset();  // rows are read and multiplied, no more
    ASSIGN_OR_RETURN(const auto runner,
                     ModelRunner::Create(options_.embedding, here));
    RETURN_IF_ERROR(Embed(runner.get(), samples, main_.get()));
  }
  if (options_.keep_original) {
    ASSIGN_OR_RETURN(original_, NewStream(/*original=*/true));
    const OriginalsShown original(overlay_, true);
    return Embed(original_->runner(), samples, original_.get());
  }
  return absl::OkStatus();
}

// The samples' tokens by the runner's embedding, to the beginning of a stream.
absl::Status Calibrator::Embed(ModelRunner* runner,
                               const CalibrationSamples& samples,
                               BlockStream* stream) {
  const int64_t width = shape_.sample_tokens;
  return InGroups(
      GroupSamples(/*recorded=*/false),
      [&](int64_t first, int64_t n) -> absl::Status {
        hidden_.first_window = first;
        RETURN_IF_ERROR(
            runner->Embed(absl::MakeConstSpan(samples.ids)
                              .subspan(static_cast<size_t>(first * width),
                                       static_cast<size_t>(n * width)),
                          width, &hidden_));
        ASSIGN_OR_RETURN(const float* values, stream->ValuesOf(hidden_));
        hidden_.on_device = DeviceBuffer();
        return stream->store()->Write(first, n, values);
      },
      [] { return true; });
}

// At block 0, where both streams are the same.
absl::Status Calibrator::AddOriginal() {
  ASSIGN_OR_RETURN(auto made, NewStream(/*original=*/true));
  const int64_t step = GroupSamples(/*recorded=*/false);
  for (int64_t first = 0; first < shape_.n_samples; first += step) {
    const int64_t n = std::min(step, shape_.n_samples - first);
    RETURN_IF_ERROR(main_->store()->Read(first, n, &hidden_));
    RETURN_IF_ERROR(made->store()->Write(first, n, hidden_.values.data()));
  }
  original_ = std::move(made);
  return absl::OkStatus();
}

absl::Status Calibrator::CheckCancelled() const {
  if (options_.cancelled != nullptr && options_.cancelled->load()) {
    return absl::CancelledError(absl::StrCat("calibration stopped at block ",
                                             next_block_, " of ", n_blocks()));
  }
  return absl::OkStatus();
}

// Calls run(first, n) for all samples, `step` of them at a time, or fewer from
// where a device's memory is short, as long as a call may be repeated.
absl::Status Calibrator::InGroups(
    int64_t step, const std::function<absl::Status(int64_t, int64_t)>& run,
    const std::function<bool()>& may_repeat) {
  for (int64_t first = 0; first < shape_.n_samples;) {
    RETURN_IF_ERROR(CheckCancelled());
    const int64_t n = std::min({step, shape_.n_samples - first, most_samples_});
    const absl::Status status = run(first, n);
    if (absl::IsResourceExhausted(status) && n > 1 && may_repeat() &&
        options_.runner.device.has_value()) {
      most_samples_ = n / 2;
      main_->runner()->Note(
          absl::StrCat("going on with ", most_samples_,
                       " samples at once: ", status.message()));
      continue;
    }
    RETURN_IF_ERROR(status);
    first += n;
  }
  return absl::OkStatus();
}

absl::Status Calibrator::CheckUsable() const {
  if (partly_advanced_) {
    return absl::FailedPreconditionError(
        absl::StrCat("an error left some calibration samples after block ",
                     next_block_, " and some before it"));
  }
  return absl::OkStatus();
}

// `sites`: those whose layers may be asked for.
absl::Status Calibrator::CheckRequest(const ObserveRequest& request,
                                      const BlockSites& sites) {
  RETURN_IF_ERROR(CheckUsable());
  if (!request.needs.any()) {
    return absl::InvalidArgumentError("no statistics are asked for");
  }
  for (const std::string& name : request.layers) {
    if (std::none_of(sites.begin(), sites.end(), [&](const auto& names) {
          return std::find(names.begin(), names.end(), name) != names.end();
        })) {
      return absl::InvalidArgumentError(
          absl::StrCat("statistics are asked for of ", name,
                       ", which is no linear layer of block ", next_block_));
    }
  }
  if (request.weights != nullptr) {
    RETURN_IF_ERROR(
        CheckTokenWeights(*request.weights, counts_, shape_.sample_tokens));
  }
  if (!request.needs.original() || original_ != nullptr) {
    return absl::OkStatus();
  }
  if (options_.order == CalibrationOrder::kOriginal) {
    return absl::InvalidArgumentError(
        "corrections of the drift need inputs from the quantized blocks; with "
        "those of the original model there is none");
  }
  if (next_block_ > 0 || options_.embedding != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("cross moments at block ", next_block_,
                     " need the original's hidden states from block 0 on"));
  }
  return AddOriginal();
}

// `recorded`: of two streams. `route`: what is run, if it is known.
int64_t Calibrator::GroupSamples(bool recorded, const Route* route) const {
  GroupLimits limits;
  limits.fixed = options_.group_samples;
  limits.hidden_bytes = options_.hidden_bytes;
  limits.recorded = recorded;
  if (route != nullptr && route->has_inner()) {
    limits.inner_cols = main_->InnerCols(next_block_);
  }
  return SamplesOfGroup(model_->config(), shape_, limits);
}

void Calibrator::ForgetWeights() const {
  main_->runner()->ForgetWeights();
  if (original_ != nullptr) {
    original_->runner()->ForgetWeights();
  }
}

int64_t Calibrator::MemoryBytes() const {
  int64_t bytes = 0;
  for (const auto* stream : {&main_, &original_}) {
    bytes += *stream == nullptr ? 0 : (*stream)->memory_bytes();
  }
  return bytes;
}

absl::StatusOr<BlockStats> Calibrator::Observe(
    const ObserveRequest& request, const CalibrationProgressFn& progress) {
  if (next_block_ >= n_blocks()) {
    return absl::FailedPreconditionError(
        absl::StrCat("all ", n_blocks(), " blocks have been observed"));
  }
  const BlockSites sites = SitesOfBlock();
  RETURN_IF_ERROR(CheckRequest(request, sites));
  ASSIGN_OR_RETURN(const std::vector<TokenUse> uses,
                   UsesOfTokens(request, counts_, shape_.sample_tokens));
  ForgetWeights();
  const std::pair<size_t, size_t> asked = SitesAsked(request, sites);
  const auto route_of = [&](BlockStream* stream) {
    return stream->ObservedRoute(next_block_, asked.first, asked.second,
                                 options_.hidden_bytes - MemoryBytes());
  };
  const bool two = request.needs.original();
  ASSIGN_OR_RETURN(const Route route, route_of(main_.get()));
  Route original_route;
  if (two) {
    ASSIGN_OR_RETURN(original_route, route_of(original_.get()));
  }
  StatsCollector collector(model_, &pool_, request,
                           options_.expert_rows_per_column);
  collector.set_note(options_.runner.on_device_note);
  collector.set_fast(fast_ != nullptr ? fast_->grams() : nullptr);
  recorder_.Ask(request.layers, request.needs.residual);
  RETURN_IF_ERROR(InGroups(
      GroupSamples(two, &route),
      [&](int64_t first, int64_t n) -> absl::Status {
        RETURN_IF_ERROR(ObserveGroup(
            route, two ? &original_route : nullptr, first, n,
            uses.data() + first * shape_.sample_tokens, &collector));
        if (progress) {
          progress(static_cast<double>(first + n) /
                   static_cast<double>(shape_.n_samples));
        }
        return absl::OkStatus();
      },
      [&] { return !collector.has_rows_of_group(); }));
  main_->Kept(route);
  if (two) {
    original_->Kept(original_route);
  }
  RETURN_IF_ERROR(collector.Fetch());
  ForgetWeights();
  recorder_ = InputRecorder();
  return collector.Finish();
}

// Samples [first, first + n), whose tokens' uses begin at `uses`.
absl::Status Calibrator::ObserveGroup(const Route& route,
                                      const Route* original_route,
                                      int64_t first, int64_t n,
                                      const TokenUse* uses,
                                      StatsCollector* collector) {
  collector->BeginGroup(first, shape_.sample_tokens, uses,
                        original_route != nullptr ? &recorder_ : nullptr);
  if (original_route != nullptr) {
    recorder_.Clear();
    RETURN_IF_ERROR(original_->Run(next_block_, *original_route, first, n,
                                   &recorder_, &original_hidden_));
    original_hidden_.on_device = DeviceBuffer();
  }
  const absl::Status status =
      main_->Run(next_block_, route, first, n, collector, &hidden_);
  hidden_.on_device = DeviceBuffer();
  return status;
}

absl::Status Calibrator::AdvanceStream(BlockStream* stream, double from,
                                       double share,
                                       const CalibrationProgressFn& progress) {
  if (!stream->SwapEnd()) {
    ASSIGN_OR_RETURN(const Route route, stream->WholeRoute(next_block_));
    RETURN_IF_ERROR(InGroups(
        GroupSamples(/*recorded=*/false, &route),
        [&](int64_t first, int64_t n) -> absl::Status {
          RETURN_IF_ERROR(
              stream->Run(next_block_, route, first, n, nullptr, &hidden_));
          ASSIGN_OR_RETURN(const float* values, stream->ValuesOf(hidden_));
          hidden_.on_device = DeviceBuffer();
          RETURN_IF_ERROR(stream->store()->Write(first, n, values));
          if (progress) {
            progress(from + share * static_cast<double>(first + n) /
                                static_cast<double>(shape_.n_samples));
          }
          return absl::OkStatus();
        },
        [] { return true; }));
  } else if (progress) {
    progress(from + share);
  }
  stream->ForgetAhead();
  return absl::OkStatus();
}

absl::Status Calibrator::Advance(const CalibrationProgressFn& progress) {
  RETURN_IF_ERROR(CheckUsable());
  if (next_block_ >= n_blocks()) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no block after the ", n_blocks(), " there are"));
  }
  RETURN_IF_ERROR(CheckCancelled());
  ForgetWeights();
  partly_advanced_ = true;
  const bool two = original_ != nullptr;
  RETURN_IF_ERROR(AdvanceStream(main_.get(), 0, two ? 0.5 : 1, progress));
  if (two) {
    RETURN_IF_ERROR(AdvanceStream(original_.get(), 0.5, 0.5, progress));
  }
  partly_advanced_ = false;
  ForgetWeights();
  ++next_block_;
  return absl::OkStatus();
}

absl::StatusOr<BlockStats> Calibrator::ObserveOutput(
    const ObserveRequest& request) {
  if (next_block_ < n_blocks()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the output matrix comes after block ", n_blocks() - 1,
                     ", calibration is at block ", next_block_));
  }
  RETURN_IF_ERROR(CheckRequest(request, {{{kOutput}}}));
  ASSIGN_OR_RETURN(const std::vector<TokenUse> uses,
                   UsesOfTokens(request, counts_, shape_.sample_tokens));
  StatsCollector collector(model_, &pool_, request,
                           options_.expert_rows_per_column);
  const bool two = request.needs.original();
  collector.set_note(options_.runner.on_device_note);
  collector.set_fast(fast_ != nullptr ? fast_->grams() : nullptr);
  recorder_.Ask({}, /*residual=*/false);
  RETURN_IF_ERROR(InGroups(
      GroupSamples(two),
      [&](int64_t first, int64_t n) -> absl::Status {
        recorder_.Clear();
        collector.BeginGroup(first, shape_.sample_tokens,
                             uses.data() + first * shape_.sample_tokens,
                             two ? &recorder_ : nullptr);
        if (two) {
          RETURN_IF_ERROR(ShowOutput(original_.get(), &original_hidden_, first,
                                     n, &recorder_));
        }
        return ShowOutput(main_.get(), &hidden_, first, n, &collector);
      },
      [&] { return !collector.has_rows_of_group(); }));
  RETURN_IF_ERROR(collector.Fetch());
  recorder_ = InputRecorder();
  return collector.Finish();
}

// The states of samples [first, first + n), normed, as what goes into the
// output matrix; on the device where the runner has one.
absl::Status Calibrator::ShowOutput(BlockStream* stream, HiddenStates* hidden,
                                    int64_t first, int64_t n,
                                    Observer* observer) {
  RETURN_IF_ERROR(stream->store()->Read(first, n, hidden));
  RETURN_IF_ERROR(stream->runner()->FinalNorm(hidden));
  DeviceInput there;
  LayerInput& input = there.input;
  input.name = kOutput;
  input.rows = hidden->values.data();
  input.n_rows = n * shape_.sample_tokens;
  input.n_cols = shape_.hidden_size;
  if (!options_.runner.device.has_value()) {
    return observer->OnInput(input);
  }
  const Device& device = *options_.runner.device;
  const size_t n_bytes = hidden->values.size() * sizeof(float);
  ASSIGN_OR_RETURN(const DeviceBuffer rows, device.Allocate(n_bytes, kOutput));
  if (output_stream_.handle() == nullptr) {
    ASSIGN_OR_RETURN(output_stream_, device.NewStream());
  }
  RETURN_IF_ERROR(output_stream_.Copy(input.rows, n_bytes, rows.data()));
  input.rows = rows.as<float>();
  there.number = ++n_outputs_;
  there.device = &device;
  there.stream = &output_stream_;
  RETURN_IF_ERROR(observer->OnDevice(there).status());
  return output_stream_.Synchronize(kOutput);
}

absl::Status Calibrator::ReadStates(int64_t first, int64_t n,
                                    HiddenStates* states) const {
  RETURN_IF_ERROR(CheckUsable());
  return main_->store()->Read(first, n, states);
}

// Of the state as it is.
BlockStateHeader Calibrator::NewHeader(uint64_t fingerprint) const {
  BlockStateHeader header;
  header.fingerprint = fingerprint;
  header.samples_and_model = print_;
  header.next_block = next_block_;
  header.n_streams = original_ == nullptr ? 1 : 2;
  header.shape = shape_;
  return header;
}

absl::Status Calibrator::Save(const std::string& path,
                              uint64_t fingerprint) const {
  RETURN_IF_ERROR(CheckUsable());
  const BlockStateHeader header = NewHeader(fingerprint);
  std::vector<const HiddenStore*> streams = {main_->store()};
  if (original_ != nullptr) {
    streams.push_back(original_->store());
  }
  return WriteBlockState(header, streams, path);
}

absl::Status Calibrator::Restore(const std::string& path,
                                 uint64_t fingerprint) {
  ASSIGN_OR_RETURN(const auto state, BlockStateFile::Open(path));
  const BlockStateHeader& header = state->header();
  BlockStateHeader expected = NewHeader(fingerprint);
  expected.next_block = n_blocks();
  RETURN_IF_ERROR(CheckBlockState(header, expected, path));
  if (header.n_streams == 2 && original_ == nullptr) {
    if (options_.order == CalibrationOrder::kOriginal) {
      return OtherBlockState("inputs from the quantized blocks", path);
    }
    ASSIGN_OR_RETURN(original_, NewStream(/*original=*/true));
  }
  partly_advanced_ = true;
  std::vector<HiddenStore*> streams = {main_->store()};
  if (header.n_streams == 2) {
    streams.push_back(original_->store());
  }
  RETURN_IF_ERROR(state->ReadInto(streams));
  main_->ForgetAhead();
  if (original_ != nullptr) {
    original_->ForgetAhead();
  }
  ForgetWeights();
  next_block_ = header.next_block;
  partly_advanced_ = false;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockCalibrator>> BlockCalibrator::Create(
    const Checkpoint* model, OverlaySource* overlay,
    const CalibrationSamples& samples, const CalibrationOptions& options) {
  auto calibrator =
      std::make_unique<Calibrator>(model, overlay, samples, options);
  RETURN_IF_ERROR(calibrator->Start(samples));
  return std::unique_ptr<BlockCalibrator>(std::move(calibrator));
}

}  // namespace narrow
