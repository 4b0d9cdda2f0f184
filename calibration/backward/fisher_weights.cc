// Tested by: fisher_weights_test.

#include "calibration/backward/fisher_weights.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/backward/gradient_norms.h"
#include "calibration/backward/model_gradient.h"
#include "calibration/blockwise/store/hidden_store.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Tokens that go through a block together: enough for many threads and for
// every expert, few beside a block's weights. Constant, as moments are summed
// group by group.
constexpr int64_t kGroupTokens = 4096;

// Hidden states of a batch that are worth keeping: more only save decoding a
// block's weights again, which is little work beside that of one group.
constexpr int64_t kMostBatchBytes = int64_t{1} << 30;

int64_t GroupSamples(const CalibrationSamples& samples) {
  return std::max<int64_t>(1, kGroupTokens / samples.sample_tokens);
}

absl::Status CheckInputs(const Checkpoint& model,
                         const CalibrationSamples& samples,
                         const FisherOptions& options) {
  RETURN_IF_ERROR(
      CheckSamples(samples, model.config().vocab_size, model.path()));
  const size_t n = samples.ids.size();
  if (!options.labels.empty() && options.labels.size() != n) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.labels.size(), " labels for ", n, " calibration tokens"));
  }
  if (!(options.power >= 0) || !std::isfinite(options.power)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the power of token weights is ", options.power, ", not 0 or more"));
  }
  return absl::OkStatus();
}

class Computation {
 public:
  Computation(const CalibrationSamples& samples, const FisherOptions& options,
              double embedding_scale, bool tied,
              const FisherProgressFn& progress, ModelGradient* gradient,
              GradientNorms* norms, OutputMoments* moments)
      : samples_(samples),
        options_(options),
        embedding_scale_(embedding_scale),
        tied_(tied),
        progress_(progress),
        gradient_(gradient),
        norms_(norms),
        moments_(moments),
        group_(GroupSamples(samples)) {
    // Samples behind the last that counts give nothing.
    for (int64_t t = static_cast<int64_t>(samples.counts.size()); t-- > 0;) {
      if (samples.counts[static_cast<size_t>(t)] != 0) {
        n_samples_ = t / samples.sample_tokens + 1;
        break;
      }
    }
    shape_.sample_tokens = samples.sample_tokens;
    shape_.hidden_size = gradient->runner()->hidden_size();
  }

  absl::Status Run(std::vector<int32_t>* labels, double* loss);

 private:
  absl::Status RunBatch(int64_t first, int64_t n, std::vector<int32_t>* labels,
                        double* loss);
  absl::Status Forward(int64_t first, int64_t n, HiddenStore* store);
  absl::Status Loss(int64_t first, int64_t n, const HiddenStore& store,
                    std::vector<int32_t>* labels, double* loss);
  absl::Status Reverse(int64_t first, int64_t n, const HiddenStore& store);
  // Of the embedding, of tokens from `first_token` on.
  absl::Status AddOutputInputs(int64_t first_token, HiddenStates* hidden);
  absl::Status AddEmbeddingGradients(int64_t first_token, int64_t n_tokens,
                                     const float* gradients);
  // factor_of(t) times row t of tokens that count, t counted from
  // `first_token`, to the moments of `name`.
  template <typename FactorOf>
  absl::Status AddMoments(absl::string_view name, int64_t first_token,
                          int64_t n_tokens, const float* rows,
                          FactorOf factor_of);
  // Calls body(sample, samples) for the batch's groups, counted from its
  // first sample.
  template <typename Body>
  absl::Status ForEachGroup(int64_t n, double work, Body body);
  int64_t BatchSamples() const;
  float* GradientOf(int64_t sample) {
    return gradients_.data() + sample * shape_.sample_numbers();
  }

  const CalibrationSamples& samples_;
  const FisherOptions& options_;
  const double embedding_scale_;
  const bool tied_;  // the embedding is the output matrix, and is asked for
  const FisherProgressFn& progress_;
  ModelGradient* const gradient_;
  GradientNorms* const norms_;
  OutputMoments* const moments_;
  const int64_t group_;    // samples
  int64_t n_samples_ = 0;  // all that count are before
  HiddenShape shape_;
  std::vector<float> gradients_;  // of the batch, at some block's output
  double work_ = 0, all_work_ = 1;
};

// Work of one sample in a block's forward pass is 1.
constexpr double kReverseWork = 2.5;

int64_t Computation::BatchSamples() const {
  // States at the input of every block, at the last one's output, and
  // gradients.
  const int64_t bytes = shape_.sample_bytes() * (gradient_->n_blocks() + 2);
  const int64_t groups = std::max<int64_t>(
      1, std::min(options_.hidden_bytes, kMostBatchBytes) / bytes / group_);
  return std::min(n_samples_, groups * group_);
}

absl::Status Computation::Run(std::vector<int32_t>* labels, double* loss) {
  const int64_t n_samples = n_samples_;
  // A block has some 12 hidden^2 weights.
  const double loss_work =
      static_cast<double>(gradient_->runner()->vocab_size()) /
      (6.0 * static_cast<double>(shape_.hidden_size));
  all_work_ = static_cast<double>(n_samples) *
              (static_cast<double>(gradient_->n_blocks()) * (1 + kReverseWork) +
               loss_work);
  const int64_t batch = BatchSamples();
  for (int64_t first = 0; first < n_samples; first += batch) {
    RETURN_IF_ERROR(
        RunBatch(first, std::min(batch, n_samples - first), labels, loss));
  }
  return absl::OkStatus();
}

absl::Status Computation::RunBatch(int64_t first, int64_t n,
                                   std::vector<int32_t>* labels, double* loss) {
  // Block after block, sample after sample.
  HiddenShape all = shape_;
  all.n_samples = n * (gradient_->n_blocks() + 1);
  ASSIGN_OR_RETURN(
      const auto store,
      HiddenStore::Create(all, options_.hidden_bytes, options_.spill_folder,
                          gradient_->pool()));
  gradients_.resize(static_cast<size_t>(n * shape_.sample_numbers()));
  RETURN_IF_ERROR(Forward(first, n, store.get()));
  RETURN_IF_ERROR(Loss(first, n, *store, labels, loss));
  return Reverse(first, n, *store);
}

template <typename Body>
absl::Status Computation::ForEachGroup(int64_t n, double work, Body body) {
  for (int64_t at = 0; at < n; at += group_) {
    if (options_.cancelled != nullptr && options_.cancelled->load()) {
      return absl::CancelledError("stopped while weighing tokens");
    }
    const int64_t n_group = std::min(group_, n - at);
    RETURN_IF_ERROR(body(at, n_group));
    work_ += work * static_cast<double>(n_group);
    if (progress_) {
      progress_(std::min(1.0, work_ / all_work_));
    }
  }
  return absl::OkStatus();
}

absl::Status Computation::Forward(int64_t first, int64_t n,
                                  HiddenStore* store) {
  ModelRunner* runner = gradient_->runner();
  HiddenStates hidden;
  RETURN_IF_ERROR(
      ForEachGroup(n, 0, [&](int64_t at, int64_t n_group) -> absl::Status {
        const auto ids = absl::MakeConstSpan(samples_.ids)
                             .subspan((first + at) * shape_.sample_tokens,
                                      n_group * shape_.sample_tokens);
        RETURN_IF_ERROR(runner->Embed(ids, shape_.sample_tokens, &hidden));
        RETURN_IF_ERROR(runner->Fetch(&hidden));
        return store->Write(at, n_group, hidden.values.data());
      }));
  for (int64_t b = 0; b < gradient_->n_blocks(); ++b) {
    RETURN_IF_ERROR(
        ForEachGroup(n, 1, [&](int64_t at, int64_t n_group) -> absl::Status {
          RETURN_IF_ERROR(store->Read(b * n + at, n_group, &hidden));
          hidden.first_window = first + at;
          RETURN_IF_ERROR(runner->RunBlock(b, /*observer=*/nullptr, &hidden));
          RETURN_IF_ERROR(runner->Fetch(&hidden));
          return store->Write((b + 1) * n + at, n_group, hidden.values.data());
        }));
    gradient_->ForgetWeights();
  }
  return absl::OkStatus();
}

absl::Status Computation::Loss(int64_t first, int64_t n,
                               const HiddenStore& store,
                               std::vector<int32_t>* labels, double* loss) {
  HiddenStates hidden;
  const double work = static_cast<double>(gradient_->runner()->vocab_size()) /
                      (6.0 * static_cast<double>(shape_.hidden_size));
  RETURN_IF_ERROR(
      ForEachGroup(n, work, [&](int64_t at, int64_t n_group) -> absl::Status {
        const int64_t token = (first + at) * shape_.sample_tokens;
        RETURN_IF_ERROR(
            store.Read(gradient_->n_blocks() * n + at, n_group, &hidden));
        norms_->BeginGroup(token);
        RETURN_IF_ERROR(gradient_->Loss(hidden, samples_.counts.data() + token,
                                        token, labels->data() + token,
                                        GradientOf(at), loss, norms_));
        return tied_ ? AddOutputInputs(token, &hidden) : absl::OkStatus();
      }));
  gradient_->ForgetWeights();
  return absl::OkStatus();
}

template <typename FactorOf>
absl::Status Computation::AddMoments(absl::string_view name,
                                     int64_t first_token, int64_t n_tokens,
                                     const float* rows, FactorOf factor_of) {
  const int64_t n = shape_.hidden_size;
  std::vector<float> scaled;
  int64_t n_rows = 0;
  for (int64_t t = 0; t < n_tokens; ++t) {
    if (samples_.counts[static_cast<size_t>(first_token + t)] == 0) {
      continue;
    }
    const float factor = factor_of(t);
    for (int64_t i = 0; i < n; ++i) {
      scaled.push_back(factor * rows[t * n + i]);
    }
    ++n_rows;
  }
  return n_rows == 0 ? absl::OkStatus()
                     : moments_->Add(name, -1, scaled.data(), n_rows, n,
                                     gradient_->pool());
}

absl::Status Computation::AddOutputInputs(int64_t first_token,
                                          HiddenStates* hidden) {
  ModelRunner* runner = gradient_->runner();
  RETURN_IF_ERROR(runner->FinalNorm(hidden));
  RETURN_IF_ERROR(runner->Fetch(hidden));
  const float* const norms = norms_->NormsOf("output.weight");
  return AddMoments(
      kOutputInputMoments, first_token,
      hidden->n_windows * hidden->window_tokens, hidden->values.data(),
      [norms, first_token](int64_t t) { return norms[first_token + t]; });
}

absl::Status Computation::AddEmbeddingGradients(int64_t first_token,
                                                int64_t n_tokens,
                                                const float* gradients) {
  const float scale = static_cast<float>(embedding_scale_);
  return AddMoments(kEmbeddingMoments, first_token, n_tokens, gradients,
                    [scale](int64_t) { return scale; });
}

absl::Status Computation::Reverse(int64_t first, int64_t n,
                                  const HiddenStore& store) {
  HiddenStates input;
  for (int64_t b = gradient_->n_blocks(); b-- > 0;) {
    RETURN_IF_ERROR(ForEachGroup(
        n, kReverseWork, [&](int64_t at, int64_t n_group) -> absl::Status {
          RETURN_IF_ERROR(store.Read(b * n + at, n_group, &input));
          input.first_window = first + at;
          norms_->BeginGroup((first + at) * shape_.sample_tokens);
          RETURN_IF_ERROR(gradient_->Block(b, input, norms_, GradientOf(at)));
          if (b == 0) {
            const int64_t n_tokens = n_group * shape_.sample_tokens;
            norms_->AddSquares("token_embd.weight", GradientOf(at), n_tokens,
                               shape_.hidden_size, embedding_scale_);
            return options_.embedding ? AddEmbeddingGradients(
                                            (first + at) * shape_.sample_tokens,
                                            n_tokens, GradientOf(at))
                                      : absl::OkStatus();
          }
          return absl::OkStatus();
        }));
    gradient_->ForgetWeights();
    if (moments_ != nullptr) {
      RETURN_IF_ERROR(moments_->Flush());
    }
  }
  return absl::OkStatus();
}

// Layers of the model that see one input and are no router, by block.
std::vector<std::vector<std::string>> SharedInputs(const ModelRunner& runner) {
  std::vector<std::vector<std::string>> sets;
  for (int64_t b = 0; b < runner.n_blocks(); ++b) {
    for (std::vector<std::string> names : runner.SitesOfBlock(b)) {
      names.erase(std::remove_if(names.begin(), names.end(),
                                 [](const std::string& name) {
                                   return absl::StrContains(name, "gate_inp");
                                 }),
                  names.end());
      if (names.size() > 1) {
        sets.push_back(std::move(names));
      }
    }
  }
  return sets;
}

// On options.device, or on the processor.
absl::StatusOr<FisherWeights> ComputeWith(const Checkpoint* model,
                                          const CalibrationSamples& samples,
                                          const FisherOptions& options,
                                          const FisherProgressFn& progress) {
  GradientOptions gradient_options;
  gradient_options.n_threads = options.n_threads;
  gradient_options.max_cached_bytes = options.max_cached_bytes;
  gradient_options.seed = options.seed;
  gradient_options.device = options.device;
  gradient_options.n_windows = GroupSamples(samples);
  gradient_options.window_tokens = samples.sample_tokens;
  gradient_options.on_device_note = options.on_device_note;
  ASSIGN_OR_RETURN(const auto gradient,
                   ModelGradient::Create(model, gradient_options));
  const bool tied =
      options.embedding && model->Find("output.weight") == nullptr;
  std::shared_ptr<OutputMoments> moments;
  if (options.max_moment_outputs > 0 || options.embedding) {
    ASSIGN_OR_RETURN(moments, OutputMoments::Create(options.spill_folder));
  }
  GradientNorms norms(&samples.counts, gradient->pool(), moments.get(),
                      options.max_moment_outputs);
  Computation computation(samples, options, model->config().embedding_scale,
                          tied, progress, gradient.get(), &norms,
                          moments.get());
  FisherWeights result;
  result.labels = options.labels.empty()
                      ? std::vector<int32_t>(samples.ids.size(), -1)
                      : options.labels;
  double loss = 0;
  RETURN_IF_ERROR(computation.Run(&result.labels, &loss));
  for (size_t t = 0; t < samples.counts.size(); ++t) {
    if (samples.counts[t] == 0) {
      result.labels[t] = -1;
    }
  }
  result.mean_loss = loss / static_cast<double>(std::count_if(
                                samples.counts.begin(), samples.counts.end(),
                                [](uint8_t count) { return count != 0; }));
  result.output_squares = norms.OutputSquares();
  result.tokens = norms.Weights(options.power);
  if (options.per_input) {
    ShareWeights(SharedInputs(*gradient->runner()), &result.tokens);
  }
  result.moments = std::move(moments);
  return result;
}

}  // namespace

absl::StatusOr<FisherWeights> ComputeFisherWeights(
    const Checkpoint* model, const CalibrationSamples& samples,
    const FisherOptions& options, const FisherProgressFn& progress) {
  RETURN_IF_ERROR(CheckInputs(*model, samples, options));
  auto weights = ComputeWith(model, samples, options, progress);
  if (!options.device.has_value() ||
      !absl::IsResourceExhausted(weights.status())) {
    return weights;
  }
  if (options.on_device_note) {
    options.on_device_note(absl::StrCat("tokens are weighed by the processor: ",
                                        weights.status().message()));
  }
  FisherOptions on_processor = options;
  on_processor.device.reset();
  return ComputeWith(model, samples, on_processor, progress);
}

}  // namespace narrow
