// The forward pass of a decoder-only model, block by block.
//
//   ASSIGN_OR_RETURN(auto runner, ModelRunner::Create(&model, options));
//   HiddenStates hidden;
//   RETURN_IF_ERROR(runner->Embed(ids, window_tokens, &hidden));
//   for (int64_t i = 0; i < runner->n_blocks(); ++i)
//     RETURN_IF_ERROR(runner->RunBlock(i, observer, &hidden));
//   RETURN_IF_ERROR(runner->FinalNorm(&hidden));
//   RETURN_IF_ERROR(runner->LogProbs(rows, n_rows, targets, results));
//
// Weights are decoded one block at a time from whatever the checkpoint
// stores, so memory is bounded by one block plus the hidden states of the
// windows in flight. A runner belongs to one thread at a time and uses
// options.n_threads itself. The same inputs give the same numbers for any
// number of threads and any grouping of windows.

#ifndef NARROW_CALIBRATION_MODEL_RUNNER_H_
#define NARROW_CALIBRATION_MODEL_RUNNER_H_

#include <array>
#include <cassert>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/arch/checkpoint.h"
#include "kernels/device.h"

namespace narrow {

enum class Precision {
  kExact,  // float32 products
  kFast,   // bfloat16 products with float32 sums where the processor has
           // them, else the same as kExact
  // Float32 products whose every bit is fixed (kReproducible of
  // kernels/matmul/matmul.h): hidden states, logits and scores are the same
  // on every processor. For solvers, whose output bytes follow from them.
  kReproducible,
};

// Where the time of a runner went, in seconds; for benchmarks.
struct RunnerTimes {
  double embed = 0;
  double weights = 0;  // decoding and packing those of blocks
  double qkv = 0;      // norm, products and rotation of queries, keys, values
  double attention = 0;
  double attention_output = 0;
  double feed_forward = 0;
  double output = 0;  // the output matrix with its decoding, and scores
};

struct RunnerOptions {
  Precision precision = Precision::kFast;
  int n_threads = 0;  // < 1: all processors
  // Decoded weights kept between groups of windows, as far as they fit; all
  // others are decoded again for each group. 0: memory is bounded by one
  // block.
  int64_t max_cached_bytes = int64_t{5} << 28;  // 1.25 GiB
  // Added to, if not null; must outlive the runner. On a device: embed,
  // weights, attention with what belongs to it, feed_forward, output.
  RunnerTimes* times = nullptr;
  // Where it runs; none: the processor. There kExact is kReproducible, whose
  // numbers are the processor's, bit for bit.
  std::optional<Device> device;
  // On a device: weights of the next block are read while one is computed, and
  // stay there as far as memory allows. Not while rows of the model change
  // (formats/overlay_source.h): one block's are there at a time.
  bool prefetch_weights = true;
  // Told where the device's memory is short. May be empty.
  std::function<void(absl::string_view)> on_device_note;
};

// Rows that are about to be multiplied by a tensor. Borrows.
struct LayerInput {
  absl::string_view name;       // the tensor's GGUF name
  int expert = -1;              // -1: a dense layer
  const float* rows = nullptr;  // [n_rows, n_cols]
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  // Row r is of token tokens[r] of the hidden states that the block was given,
  // window * window_tokens + place in the window; of first_token + r where
  // `tokens` is empty (all but experts).
  int64_t first_token = 0;
  absl::Span<const int64_t> tokens;
  // [n_rows, residual_cols], the hidden states that the layer's output is
  // added to as it is. nullptr for layers whose output goes elsewhere, or
  // through a norm, a factor or an expert's weight before it is added.
  const float* residual = nullptr;
  int64_t residual_cols = 0;

  int64_t token(int64_t row) const {
    return tokens.empty() ? first_token + row
                          : tokens[static_cast<size_t>(row)];
  }
};

// Where a layer's sums over its rows go on, in order of rows: of its columns,
// and of their squares, [n_cols] each.
struct ColumnSums {
  double* sums = nullptr;  // nullptr: rows are wanted
  double* squares = nullptr;
  bool have_them = false;  // the rows are in sums already
};

// A LayerInput whose rows and residual lie on a device.
struct DeviceInput {
  LayerInput input;
  // Calls with the same number show the same rows.
  int64_t number = 0;
  const Device* device = nullptr;
  // Where the rows' work is queued: they are there for what is put into it
  // during the call.
  DeviceStream* stream = nullptr;
};

// Sees the inputs of linear layers; for calibration statistics.
class Observer {
 public:
  virtual ~Observer() = default;
  // For rows that lie on a device: true if they are taken there. Otherwise the
  // calls below follow.
  virtual absl::StatusOr<bool> OnDevice(const DeviceInput& /*input*/) {
    return false;
  }
  // For rows that lie on a device: the sums that it goes on with, so that
  // rows need not be copied, after which OnSums is called in the place of
  // OnInput. `input.rows` tell only whether two layers see the same.
  virtual absl::StatusOr<ColumnSums> SumsOf(const LayerInput& /*input*/) {
    return ColumnSums();
  }
  virtual absl::Status OnSums(const LayerInput& /*input*/) {
    return absl::OkStatus();
  }
  // Called in a fixed order from one thread; calls that follow each other with
  // the same pointer, number of rows and expert but other names show the same
  // values, and a tensor's rows come window after window, token after token.
  virtual absl::Status OnInput(const LayerInput& input) = 0;
};

// How far a part of a block is run, attention or feed-forward. What is beyond
// is not computed, its weights are not read, and the hidden states stay as
// they were unless the end is kOutput.
enum class PartEnd {
  kInput,   // the part's first matrices see their input
  kInner,   // and the last one, what comes of it
  kOutput,  // and its output is added to the hidden states
};

// The matrices of a block that see one stage of its computation, in order:
// the inputs of the attention part, what goes into its output matrix, the
// inputs of the feed-forward part (the router's among them), what goes into
// its last matrix. GGUF names.
using BlockSites = std::array<std::vector<std::string>, 4>;

// Memory of a device that is not copied along. REQUIRES of copies: empty.
struct UncopiedBuffer : DeviceBuffer {
  UncopiedBuffer() = default;
  UncopiedBuffer(const UncopiedBuffer& other) : DeviceBuffer() {
    assert(other.data() == nullptr);
    (void)other;
  }
  UncopiedBuffer& operator=(const UncopiedBuffer& other) {
    assert(other.data() == nullptr);
    (void)other;
    DeviceBuffer::operator=(DeviceBuffer());
    return *this;
  }
  UncopiedBuffer(UncopiedBuffer&&) = default;
  UncopiedBuffer& operator=(UncopiedBuffer&&) = default;
  UncopiedBuffer& operator=(DeviceBuffer&& other) {
    DeviceBuffer::operator=(std::move(other));
    return *this;
  }
};

// n_windows sequences of window_tokens each, every one from position 0:
// values[window, token, hidden_size].
//
// A device's runner takes them to its memory and leaves them there: `values`
// is then empty, until the runner's Fetch. States that someone has filled or
// changed are on the host.
struct HiddenStates {
  int64_t n_windows = 0;
  int64_t window_tokens = 0;
  int64_t hidden_size = 0;
  int64_t first_window = 0;  // the number of the first, for messages
  std::vector<float> values;
  UncopiedBuffer on_device;

  const float* row(int64_t window, int64_t token) const {
    return values.data() + (window * window_tokens + token) * hidden_size;
  }
};

// What the model says of one position's next token.
struct TokenScore {
  double log_prob = 0;    // natural log of the target's probability
  int32_t top_token = 0;  // most probable token; the lowest id of equals
};

// Logits [n_rows, n_vocab] that lie on a device.
struct DeviceLogits {
  DeviceBuffer memory;
  int64_t n_rows = 0;
  int64_t n_vocab = 0;
};

class ModelRunner {
 public:
  // `model` must outlive the runner. Unimplemented if the family is unknown;
  // DataLoss or InvalidArgument if tensors are missing or misshapen;
  // ResourceExhausted if a device cannot hold the largest block.
  static absl::StatusOr<std::unique_ptr<ModelRunner>> Create(
      const Checkpoint* model, const RunnerOptions& options);
  virtual ~ModelRunner() = default;

  // Decoded weights that are kept are decoded anew when next needed: what the
  // checkpoint shows has changed (formats/overlay_source.h), or their memory
  // is wanted for other blocks.
  virtual void ForgetWeights() = 0;

  // Tells RunnerOptions::on_device_note.
  virtual void Note(absl::string_view /*text*/) const {}

  virtual int64_t n_blocks() const = 0;
  virtual int64_t hidden_size() const = 0;
  virtual int64_t vocab_size() const = 0;

  // Token embeddings of `ids`, [n_windows, window_tokens]. InvalidArgument
  // names an id outside the vocabulary.
  virtual absl::Status Embed(absl::Span<const int32_t> ids,
                             int64_t window_tokens, HiddenStates* hidden) = 0;
  // Takes hidden states that are on the device back to the host.
  virtual absl::Status Fetch(HiddenStates* /*hidden*/) {
    return absl::OkStatus();
  }
  // Copies them to the host, [n_windows, window_tokens, hidden_size], and
  // leaves them where they are.
  virtual absl::Status CopyStates(const HiddenStates& hidden, float* values);
  // One transformer block, in place; `observer` may be null.
  virtual absl::Status RunBlock(int64_t block, Observer* observer,
                                HiddenStates* hidden) = 0;
  // Its two parts: RunBlock is both, one after the other, up to kOutput.
  virtual absl::Status RunAttention(int64_t block, PartEnd end,
                                    Observer* observer,
                                    HiddenStates* hidden) = 0;
  virtual absl::Status RunFeedForward(int64_t block, PartEnd end,
                                      Observer* observer,
                                      HiddenStates* hidden) = 0;
  // What is left of a part that was run to kInner: its last matrix, whose
  // input then, as an observer saw it, is inner[rows of hidden, its columns].
  // The hidden states become those of the part run to kOutput, bit for bit.
  // REQUIRES of EndFeedForward: no experts.
  virtual absl::Status EndAttention(int64_t block, const float* inner,
                                    HiddenStates* hidden) = 0;
  virtual absl::Status EndFeedForward(int64_t block, const float* inner,
                                      HiddenStates* hidden) = 0;
  // Columns of the last matrix of either part; 0 with experts, whose rows are
  // not those of the hidden states.
  struct InnerCols {
    int64_t attention = 0, feed_forward = 0;
  };
  virtual InnerCols InnerColsOfBlock(int64_t block) const = 0;
  virtual BlockSites SitesOfBlock(int64_t block) const = 0;
  // Afterwards the states are on the host.
  virtual absl::Status FinalNorm(HiddenStates* hidden) = 0;

  // Logits [n_rows, vocab_size] of normed hidden rows, soft cap applied.
  virtual absl::Status Logits(const float* rows, int64_t n_rows,
                              float* logits) = 0;
  // The same, to stay on the runner's device; memory of `logits` is used again
  // if it suffices. Unimplemented without a device; ResourceExhausted where it
  // has no room for them.
  virtual absl::Status LogitsOnDevice(const float* /*rows*/, int64_t /*n_rows*/,
                                      DeviceLogits* /*logits*/) {
    return absl::UnimplementedError("the processor has no other memory");
  }
  // The device of LogitsOnDevice, or nullptr.
  virtual const Device* device() const { return nullptr; }
  // For each row, the score of its target; log-softmax with the maximum
  // subtracted, the sum of exponentials in double. Never holds more than a
  // bounded slice of logits.
  virtual absl::Status LogProbs(const float* rows, int64_t n_rows,
                                const int32_t* targets, TokenScore* scores) = 0;
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_MODEL_RUNNER_H_
