// Tested by: block_calibrator_test.

#include "calibration/blockwise/block_calibrator.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "calibration/blockwise/block_state.h"
#include "calibration/blockwise/checksum.h"
#include "calibration/blockwise/hidden_store.h"
#include "calibration/blockwise/input_recorder.h"
#include "calibration/blockwise/stats_collector.h"
#include "calibration/weights.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Hidden states that go through a block together: enough rows for every
// expert, and few beside the block's weights. A share of what may be kept.
constexpr int64_t kMostGroupBytes = int64_t{256} << 20;
constexpr int64_t kLeastGroupBytes = int64_t{16} << 20;
constexpr int64_t kGroupShare = 8;
// Inputs of the original model's layers that are kept to be compared.
constexpr int64_t kMostRecordedBytes = int64_t{512} << 20;
// Weights read at once for a checksum.
constexpr int64_t kPrintedNumbers = int64_t{1} << 20;

constexpr char kRunning[] = "calibrating, where a window is a sample";

// While it lives, the overlay shows the original weights.
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

// Hidden states going through the model, and what runs it.
struct Stream {
  bool original = false;  // with the original's weights
  std::unique_ptr<HiddenStore> store;
  std::unique_ptr<ModelRunner> runner;
  // Those of the present block further on: at `reached`, unless that is
  // kStart. kMiddle holds for attention weights of this checksum.
  std::unique_ptr<HiddenStore> ahead;
  Place reached = Place::kStart;
  uint64_t attention_print = 0;
};

// What of a block one call runs of a stream.
struct Route {
  Place from = Place::kStart;  // of store or, kMiddle, ahead
  bool attention = true, feed_forward = true;
  PartEnd attention_end = PartEnd::kOutput;
  PartEnd feed_forward_end = PartEnd::kOutput;
  // Where it ends, to be kept ahead; kStart: it is not kept.
  Place keep = Place::kStart;
};

absl::Status CheckSamples(const CalibrationSamples& samples,
                          const Checkpoint& model) {
  const int64_t width = samples.sample_tokens;
  if (width < 1 || samples.ids.empty()) {
    return absl::InvalidArgumentError("there is no calibration sample");
  }
  if (static_cast<int64_t>(samples.ids.size()) % width != 0 ||
      samples.counts.size() != samples.ids.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        samples.ids.size(), " ids and ", samples.counts.size(),
        " counts are no whole calibration samples of ", width, " tokens"));
  }
  if (std::all_of(samples.counts.begin(), samples.counts.end(),
                  [](uint8_t count) { return count == 0; })) {
    return absl::InvalidArgumentError(
        absl::StrCat("no token of the ", samples.n_samples(),
                     " calibration samples counts: all are padding or masked"));
  }
  const int64_t n_vocab = model.config().vocab_size;
  for (size_t i = 0; i < samples.ids.size(); ++i) {
    if (samples.ids[i] < 0 || samples.ids[i] >= n_vocab) {
      return absl::InvalidArgumentError(absl::StrCat(
          "token ", static_cast<int64_t>(i) % width, " of calibration sample ",
          static_cast<int64_t>(i) / width, " is number ", samples.ids[i],
          ", but the model's vocabulary has ", n_vocab,
          ": the samples were made with another tokenizer; reading ",
          model.path()));
    }
  }
  return absl::OkStatus();
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
    return next_block_ < n_blocks() ? main_.runner->SitesOfBlock(next_block_)
                                    : BlockSites();
  }
  absl::StatusOr<BlockStats> Observe(
      const ObserveRequest& request,
      const CalibrationProgressFn& progress) override;
  absl::Status Advance(const CalibrationProgressFn& progress) override;
  absl::StatusOr<BlockStats> ObserveOutput(
      const ObserveRequest& request) override;
  absl::Status Save(const std::string& path,
                    uint64_t fingerprint) const override;
  absl::Status Restore(const std::string& path, uint64_t fingerprint) override;

 private:
  absl::StatusOr<Stream> NewStream(bool original);
  absl::Status AddOriginal();
  absl::Status CheckUsable() const;
  absl::Status CheckRequest(const ObserveRequest& request,
                            const BlockSites& sites);
  absl::Status CheckWeights(const TokenWeights& weights) const;
  absl::StatusOr<std::vector<TokenUse>> UsesOf(
      const ObserveRequest& request) const;
  absl::Status CheckCancelled() const;
  int64_t GroupSamples(bool recorded) const;
  int64_t MemoryBytes() const;
  absl::StatusOr<uint64_t> PrintOf(const CalibrationSamples& samples) const;

  absl::StatusOr<uint64_t> AttentionPrint() const;
  absl::Status PrepareAhead(Stream* stream);
  absl::StatusOr<Route> WholeRoute(Stream* stream, bool attention_needed);
  absl::StatusOr<Route> ObservedRoute(Stream* stream, size_t first_site,
                                      size_t last_site);
  absl::Status RunRoute(const Stream& stream, const Route& route, int64_t first,
                        int64_t n, Observer* observer,
                        HiddenStates* hidden) const;
  absl::Status AdvanceStream(Stream* stream, double from, double share,
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
  // The one whose inputs are observed, and where cross moments are asked for
  // the original's.
  Stream main_;
  Stream original_;
  // Working memory of a group.
  HiddenStates hidden_, original_hidden_;
  InputRecorder recorder_;
};

// Of what hidden states depend on. Of the weights, three rows a tensor: all
// would take long, and another model differs in any.
absl::StatusOr<uint64_t> Calibrator::PrintOf(
    const CalibrationSamples& samples) const {
  const OriginalsShown shown(overlay_, true);
  Checksum print;
  print.Add(static_cast<int64_t>(HashSamples(samples)));
  print.Add(options_.order == CalibrationOrder::kOriginal ? 1 : 0);
  print.Add(static_cast<int64_t>(options_.runner.precision));
  const std::string& arch = model_->config().arch;
  print.Add(arch.data(), arch.size());
  for (const CheckpointTensor& tensor : model_->tensors()) {
    print.Add(tensor.meta.name.data(), tensor.meta.name.size());
    print.Add(static_cast<int64_t>(tensor.stored));
    for (const int64_t size : tensor.meta.shape) {
      print.Add(size);
    }
    if (FindCodec(tensor.stored) == nullptr) {
      continue;  // the model does not run with it
    }
    const int64_t n_rows = tensor.meta.n_rows();
    std::vector<float> row(static_cast<size_t>(tensor.meta.n_cols()));
    for (const int64_t r : {int64_t{0}, n_rows / 2, n_rows - 1}) {
      if (r >= 0 && r < n_rows) {
        RETURN_IF_ERROR(ReadRows(*model_, tensor, r, 1, row.data()));
        print.Add(row.data(), row.size() * sizeof(float));
      }
    }
  }
  return print.value();
}

absl::StatusOr<Stream> Calibrator::NewStream(bool original) {
  Stream stream;
  stream.original = original;
  ASSIGN_OR_RETURN(stream.runner, ModelRunner::Create(model_, options_.runner));
  // Two streams share the limit.
  const int64_t limit = options_.keep_original
                            ? options_.hidden_bytes / 2
                            : options_.hidden_bytes - MemoryBytes();
  ASSIGN_OR_RETURN(
      stream.store,
      HiddenStore::Create(shape_, limit, options_.spill_folder, &pool_));
  return stream;
}

absl::Status Calibrator::Start(const CalibrationSamples& samples) {
  RETURN_IF_ERROR(CheckSamples(samples, *model_));
  const bool originals = options_.order == CalibrationOrder::kOriginal;
  ASSIGN_OR_RETURN(print_, PrintOf(samples));
  const OriginalsShown shown(overlay_, originals);
  ASSIGN_OR_RETURN(main_, NewStream(originals));
  const int64_t width = shape_.sample_tokens;
  const int64_t step = GroupSamples(/*recorded=*/false);
  for (int64_t first = 0; first < shape_.n_samples; first += step) {
    RETURN_IF_ERROR(CheckCancelled());
    const int64_t n = std::min(step, shape_.n_samples - first);
    hidden_.first_window = first;
    RETURN_IF_ERROR(
        main_.runner->Embed(absl::MakeConstSpan(samples.ids)
                                .subspan(static_cast<size_t>(first * width),
                                         static_cast<size_t>(n * width)),
                            width, &hidden_));
    RETURN_IF_ERROR(main_.store->Write(first, n, hidden_.values.data()));
  }
  if (options_.keep_original && !originals) {
    RETURN_IF_ERROR(AddOriginal());
  }
  return absl::OkStatus();
}

// At block 0, where both streams are the same.
absl::Status Calibrator::AddOriginal() {
  ASSIGN_OR_RETURN(Stream made, NewStream(/*original=*/true));
  const int64_t step = GroupSamples(/*recorded=*/false);
  for (int64_t first = 0; first < shape_.n_samples; first += step) {
    const int64_t n = std::min(step, shape_.n_samples - first);
    RETURN_IF_ERROR(main_.store->Read(first, n, &hidden_));
    RETURN_IF_ERROR(made.store->Write(first, n, hidden_.values.data()));
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
    RETURN_IF_ERROR(CheckWeights(*request.weights));
  }
  if (!request.needs.original() || original_.store != nullptr) {
    return absl::OkStatus();
  }
  if (options_.order == CalibrationOrder::kOriginal) {
    return absl::InvalidArgumentError(
        "corrections of the drift need inputs from the quantized blocks; with "
        "those of the original model there is none");
  }
  if (next_block_ > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cross moments at block ", next_block_,
                     " need the original's hidden states from block 0 on"));
  }
  return AddOriginal();
}

absl::Status Calibrator::CheckWeights(const TokenWeights& weights) const {
  for (const auto& [name, values] : weights.layers) {
    if (values == nullptr) {
      continue;
    }
    if (values->size() != counts_.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the layer ", name, " has ", values->size(), " token weights, the ",
          shape_.n_samples, " samples have ", counts_.size(), " tokens"));
    }
    double sum = 0;
    for (size_t i = 0; i < values->size(); ++i) {
      const float weight = (*values)[i];
      if (!std::isfinite(weight) || weight < 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            "the weight of token ", i % shape_.sample_tokens, " of sample ",
            i / shape_.sample_tokens, " for ", name, " is ", weight));
      }
      sum += counts_[i] != 0 ? static_cast<double>(weight) : 0;
    }
    if (sum == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("all tokens that count have weight 0 for ", name));
    }
  }
  for (const auto& [key, values] : weights.experts) {
    if (values == nullptr) {
      continue;
    }
    const std::vector<int64_t>& tokens = values->tokens;
    const TokenWeights::Values& of_tokens = values->weights;
    if (tokens.size() != of_tokens.size() ||
        std::adjacent_find(tokens.begin(), tokens.end(),
                           std::greater_equal<int64_t>()) != tokens.end() ||
        !std::all_of(of_tokens.begin(), of_tokens.end(), [](float weight) {
          return std::isfinite(weight) && weight >= 0;
        })) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the weights of expert ", key.second, " of ", key.first, " are for ",
          tokens.size(), " tokens and ", of_tokens.size(),
          ": they must be one a token, tokens rising, finite and not "
          "negative"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenUse>> Calibrator::UsesOf(
    const ObserveRequest& request) const {
  std::vector<TokenUse> uses(counts_.size());
  std::vector<size_t> held_out;
  const int64_t every = request.held_out_every;
  bool any = false;
  for (size_t i = 0; i < counts_.size(); ++i) {
    const int64_t sample = static_cast<int64_t>(i) / shape_.sample_tokens;
    if (counts_[i] == 0) {
      continue;
    }
    if (every > 0 && sample % every == every - 1) {
      held_out.push_back(i);
    } else {
      uses[i] = TokenUse::kSummed;
      any = true;
    }
  }
  if (!any) {
    return absl::InvalidArgumentError(absl::StrCat(
        "of ", shape_.n_samples, " calibration samples one of ", every,
        " is held out, and no other has tokens that count"));
  }
  const size_t n_all = held_out.size();
  const size_t n_kept = std::min(
      n_all, static_cast<size_t>(std::max<int64_t>(0, request.held_out_rows)));
  for (size_t k = 0; k < n_kept; ++k) {
    uses[held_out[k * n_all / n_kept]] = TokenUse::kHeldOut;
  }
  return uses;
}

int64_t Calibrator::GroupSamples(bool recorded) const {
  const int64_t bytes = std::clamp(options_.hidden_bytes / kGroupShare,
                                   kLeastGroupBytes, kMostGroupBytes);
  int64_t n = options_.group_samples > 0 ? options_.group_samples
                                         : bytes / shape_.sample_bytes();
  if (recorded && options_.group_samples <= 0) {
    // Inputs of attention, its output, the feed-forward part and its output.
    const ModelConfig& c = model_->config();
    const int64_t n_experts = std::max<int64_t>(1, c.n_experts_used);
    const int64_t inner = c.n_experts > 0 ? c.expert_ffn_size : c.ffn_size;
    // The residual stream twice.
    const int64_t width = (4 + n_experts) * c.hidden_size +
                          c.n_heads * c.head_dim + n_experts * inner;
    const int64_t sample_bytes =
        width * shape_.sample_tokens * static_cast<int64_t>(sizeof(float));
    n = std::min(n, kMostRecordedBytes / std::max<int64_t>(1, sample_bytes));
  }
  return std::clamp<int64_t>(n, 1, shape_.n_samples);
}

void Calibrator::ForgetWeights() const {
  main_.runner->ForgetWeights();
  if (original_.runner != nullptr) {
    original_.runner->ForgetWeights();
  }
}

int64_t Calibrator::MemoryBytes() const {
  int64_t bytes = 0;
  for (const Stream* stream : {&main_, &original_}) {
    for (const auto* store : {&stream->store, &stream->ahead}) {
      bytes += *store == nullptr ? 0 : (*store)->memory_bytes();
    }
  }
  return bytes;
}

// Of the present block's attention weights as the overlay shows them.
absl::StatusOr<uint64_t> Calibrator::AttentionPrint() const {
  Checksum print;
  const BlockSites sites = SitesOfBlock();
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

absl::Status Calibrator::PrepareAhead(Stream* stream) {
  stream->reached = Place::kStart;
  if (stream->ahead == nullptr) {
    ASSIGN_OR_RETURN(
        stream->ahead,
        HiddenStore::Create(
            shape_, std::max<int64_t>(0, options_.hidden_bytes - MemoryBytes()),
            options_.spill_folder, &pool_));
  }
  return absl::OkStatus();
}

// The whole block, less the attention part if that has been computed with the
// weights that it has now, and is not `needed` for itself.
absl::StatusOr<Route> Calibrator::WholeRoute(Stream* stream,
                                             bool attention_needed) {
  Route route;
  if (attention_needed || stream->reached != Place::kMiddle) {
    return route;
  }
  uint64_t print = stream->attention_print;
  if (!stream->original) {
    ASSIGN_OR_RETURN(print, AttentionPrint());
  }
  if (print == stream->attention_print) {
    route.from = Place::kMiddle;
    route.attention = false;
  }
  return route;
}

// What has to run so that sites first_site ... last_site are seen.
absl::StatusOr<Route> Calibrator::ObservedRoute(Stream* stream,
                                                size_t first_site,
                                                size_t last_site) {
  ASSIGN_OR_RETURN(Route route, WholeRoute(stream, first_site < 2));
  route.feed_forward = last_site >= 2;
  if (route.feed_forward) {
    route.feed_forward_end = last_site == 2 ? PartEnd::kInput : PartEnd::kInner;
  } else {
    route.attention_end = last_site == 0 ? PartEnd::kInput : PartEnd::kInner;
  }
  if (stream->original) {
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
    ASSIGN_OR_RETURN(stream->attention_print, AttentionPrint());
  }
  if (route.keep != Place::kStart) {
    RETURN_IF_ERROR(PrepareAhead(stream));
  }
  return route;
}

// `hidden` is working memory.
absl::Status Calibrator::RunRoute(const Stream& stream, const Route& route,
                                  int64_t first, int64_t n, Observer* observer,
                                  HiddenStates* hidden) const {
  const HiddenStore& from =
      route.from == Place::kStart ? *stream.store : *stream.ahead;
  RETURN_IF_ERROR(from.Read(first, n, hidden));
  const OriginalsShown shown(overlay_, stream.original);
  if (route.attention) {
    RETURN_IF_ERROR(
        Annotate(stream.runner->RunAttention(next_block_, route.attention_end,
                                             observer, hidden),
                 kRunning));
    if (route.keep == Place::kMiddle) {
      RETURN_IF_ERROR(stream.ahead->Write(first, n, hidden->values.data()));
    }
  }
  if (route.feed_forward) {
    RETURN_IF_ERROR(
        Annotate(stream.runner->RunFeedForward(
                     next_block_, route.feed_forward_end, observer, hidden),
                 kRunning));
    if (route.keep == Place::kEnd) {
      RETURN_IF_ERROR(stream.ahead->Write(first, n, hidden->values.data()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<BlockStats> Calibrator::Observe(
    const ObserveRequest& request, const CalibrationProgressFn& progress) {
  if (next_block_ >= n_blocks()) {
    return absl::FailedPreconditionError(
        absl::StrCat("all ", n_blocks(), " blocks have been observed"));
  }
  const BlockSites sites = SitesOfBlock();
  RETURN_IF_ERROR(CheckRequest(request, sites));
  ASSIGN_OR_RETURN(const std::vector<TokenUse> uses, UsesOf(request));
  ForgetWeights();
  size_t first_site = 0, last_site = sites.size() - 1;
  if (!request.layers.empty()) {
    const auto asked = [&](const std::vector<std::string>& names) {
      return std::find_first_of(names.begin(), names.end(),
                                request.layers.begin(),
                                request.layers.end()) != names.end();
    };
    while (!asked(sites[first_site])) {
      ++first_site;
    }
    while (!asked(sites[last_site])) {
      --last_site;
    }
  }
  const bool two = request.needs.original();
  ASSIGN_OR_RETURN(const Route route,
                   ObservedRoute(&main_, first_site, last_site));
  Route original_route;
  if (two) {
    ASSIGN_OR_RETURN(original_route,
                     ObservedRoute(&original_, first_site, last_site));
  }
  StatsCollector collector(model_, &pool_, request,
                           options_.expert_rows_per_column);
  recorder_.Ask(request.layers, request.needs.residual);
  const int64_t step = GroupSamples(two);
  for (int64_t first = 0; first < shape_.n_samples; first += step) {
    RETURN_IF_ERROR(CheckCancelled());
    const int64_t n = std::min(step, shape_.n_samples - first);
    if (two) {
      recorder_.Clear();
      RETURN_IF_ERROR(RunRoute(original_, original_route, first, n, &recorder_,
                               &original_hidden_));
    }
    collector.BeginGroup(first, shape_.sample_tokens,
                         uses.data() + first * shape_.sample_tokens,
                         two ? &recorder_ : nullptr);
    RETURN_IF_ERROR(RunRoute(main_, route, first, n, &collector, &hidden_));
    if (progress) {
      progress(static_cast<double>(first + n) /
               static_cast<double>(shape_.n_samples));
    }
  }
  if (route.keep != Place::kStart) {
    main_.reached = route.keep;
  }
  if (original_route.keep != Place::kStart) {
    original_.reached = original_route.keep;
  }
  ForgetWeights();
  recorder_ = InputRecorder();
  return collector.Finish();
}

absl::Status Calibrator::AdvanceStream(Stream* stream, double from,
                                       double share,
                                       const CalibrationProgressFn& progress) {
  if (stream->reached == Place::kEnd) {
    std::swap(stream->store, stream->ahead);
    stream->reached = Place::kStart;
    if (progress) {
      progress(from + share);
    }
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const Route route,
                   WholeRoute(stream, /*attention_needed=*/false));
  const int64_t step = GroupSamples(/*recorded=*/false);
  for (int64_t first = 0; first < shape_.n_samples; first += step) {
    RETURN_IF_ERROR(CheckCancelled());
    const int64_t n = std::min(step, shape_.n_samples - first);
    RETURN_IF_ERROR(RunRoute(*stream, route, first, n, nullptr, &hidden_));
    RETURN_IF_ERROR(stream->store->Write(first, n, hidden_.values.data()));
    if (progress) {
      progress(from + share * static_cast<double>(first + n) /
                          static_cast<double>(shape_.n_samples));
    }
  }
  stream->reached = Place::kStart;
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
  const bool two = original_.store != nullptr;
  RETURN_IF_ERROR(AdvanceStream(&main_, 0, two ? 0.5 : 1, progress));
  if (two) {
    RETURN_IF_ERROR(AdvanceStream(&original_, 0.5, 0.5, progress));
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
  constexpr char kOutput[] = "output.weight";
  RETURN_IF_ERROR(CheckRequest(request, {{{kOutput}}}));
  ASSIGN_OR_RETURN(const std::vector<TokenUse> uses, UsesOf(request));
  StatsCollector collector(model_, &pool_, request,
                           options_.expert_rows_per_column);
  const bool two = request.needs.original();
  const int64_t step = GroupSamples(two);
  for (int64_t first = 0; first < shape_.n_samples; first += step) {
    RETURN_IF_ERROR(CheckCancelled());
    const int64_t n = std::min(step, shape_.n_samples - first);
    LayerInput input;
    input.name = kOutput;
    input.n_rows = n * shape_.sample_tokens;
    input.n_cols = shape_.hidden_size;
    recorder_.Clear();
    if (two) {
      RETURN_IF_ERROR(original_.store->Read(first, n, &original_hidden_));
      RETURN_IF_ERROR(original_.runner->FinalNorm(&original_hidden_));
      input.rows = original_hidden_.values.data();
      RETURN_IF_ERROR(recorder_.OnInput(input));
    }
    RETURN_IF_ERROR(main_.store->Read(first, n, &hidden_));
    RETURN_IF_ERROR(main_.runner->FinalNorm(&hidden_));
    input.rows = hidden_.values.data();
    collector.BeginGroup(first, shape_.sample_tokens,
                         uses.data() + first * shape_.sample_tokens,
                         two ? &recorder_ : nullptr);
    RETURN_IF_ERROR(collector.OnInput(input));
  }
  recorder_ = InputRecorder();
  return collector.Finish();
}

absl::Status Calibrator::Save(const std::string& path,
                              uint64_t fingerprint) const {
  RETURN_IF_ERROR(CheckUsable());
  BlockStateHeader header;
  header.fingerprint = fingerprint;
  header.samples_and_model = print_;
  header.next_block = next_block_;
  header.shape = shape_;
  std::vector<const HiddenStore*> streams = {main_.store.get()};
  if (original_.store != nullptr) {
    streams.push_back(original_.store.get());
  }
  header.n_streams = static_cast<int64_t>(streams.size());
  return WriteBlockState(header, streams, path);
}

absl::Status Calibrator::Restore(const std::string& path,
                                 uint64_t fingerprint) {
  ASSIGN_OR_RETURN(const auto state, BlockStateFile::Open(path));
  const BlockStateHeader& header = state->header();
  const auto other = [&](absl::string_view what) {
    return absl::DataLossError(
        absl::StrCat("the state of calibration is of a run with ", what,
                     "; reading ", path));
  };
  if (header.fingerprint != fingerprint) {
    return other("another model or other options");
  }
  if (header.samples_and_model != print_ ||
      header.shape.n_samples != shape_.n_samples ||
      header.shape.sample_tokens != shape_.sample_tokens ||
      header.shape.hidden_size != shape_.hidden_size ||
      header.next_block > n_blocks()) {
    return other("another model or other samples");
  }
  if (header.n_streams < (original_.store == nullptr ? 1 : 2)) {
    return other("no hidden states of the original model");
  }
  if (header.n_streams == 2 && original_.store == nullptr) {
    if (options_.order == CalibrationOrder::kOriginal) {
      return other("inputs from the quantized blocks");
    }
    ASSIGN_OR_RETURN(original_, NewStream(/*original=*/true));
  }
  partly_advanced_ = true;
  std::vector<HiddenStore*> streams = {main_.store.get()};
  if (header.n_streams == 2) {
    streams.push_back(original_.store.get());
  }
  RETURN_IF_ERROR(state->ReadInto(streams));
  main_.reached = original_.reached = Place::kStart;
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
