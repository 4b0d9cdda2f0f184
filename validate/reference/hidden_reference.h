// A model as the reference. It runs over each window once; its final hidden
// states are kept (cache/hidden_rows.h), and its logits computed again from
// them, slice by slice: once for all candidates that a slice is compared with.
//
//   HiddenReference reference(text, windows, rows.get(), runner, pool);
//
// Everything is borrowed.

#ifndef NARROW_VALIDATE_REFERENCE_HIDDEN_REFERENCE_H_
#define NARROW_VALIDATE_REFERENCE_HIDDEN_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "calibration/model_runner.h"
#include "formats/base/parallel.h"
#include "validate/cache/hidden_rows.h"
#include "validate/llama_base/base_file.h"
#include "validate/measures/compare_logits.h"
#include "validate/reference/reference.h"
#include "validate/windows.h"

namespace narrow {

class HiddenReference : public Reference {
 public:
  // `rows` has states of the first windows, or of none.
  HiddenReference(const TextTokens* text,
                  absl::Span<const ScoredWindow> windows, int64_t hidden_bytes,
                  HiddenRows* rows, ModelRunner* runner, ThreadPool* pool)
      : text_(text),
        windows_(windows),
        hidden_bytes_(hidden_bytes),
        rows_(rows),
        runner_(runner),
        pool_(pool) {}

  absl::Status Prepare(int64_t n_windows,
                       const ScoreProgressFn& progress) override;
  absl::Status Load(int64_t first_row,
                    absl::Span<const int32_t> targets) override;
  absl::Status Compare(float* logits, int64_t n_vocab,
                       TokenComparison* results) override;
  int64_t row_bytes() const override;

  // Appends all rows of the first n_windows windows to a base file. REQUIRES:
  // they are prepared.
  absl::Status WriteBase(int64_t n_windows, BaseWriter* writer);

  // Spent in the model by Prepare, and the tokens that went through it.
  double seconds() const { return seconds_; }
  int64_t n_run_tokens() const { return n_run_tokens_; }

  absl::StatusOr<bool> CompareThere(const float* states, ModelRunner* candidate,
                                    TokenComparison* results) override;

 private:
  absl::Status LoadHere();
  absl::Status Logits(int64_t first_row, int64_t n_rows);

  const TextTokens* const text_;
  const absl::Span<const ScoredWindow> windows_;
  const int64_t hidden_bytes_;
  HiddenRows* const rows_;
  ModelRunner* const runner_;
  ThreadPool* const pool_;
  double seconds_ = 0;
  int64_t n_run_tokens_ = 0;
  // Of the rows loaded last.
  std::vector<float> states_;
  std::vector<float> logits_;
  std::vector<ReferenceRow> loaded_;
  bool is_here_ = false;  // logits_ and loaded_ are of these rows
  // Where the runner is on a device: their logits there, unless they were not
  // asked for, or had no room.
  DeviceLogits there_, candidate_there_;
  bool is_there_ = false, fits_there_ = true;
  int64_t first_row_ = 0;
  absl::Span<const int32_t> targets_;
  int64_t n_loaded_ = 0;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_REFERENCE_HIDDEN_REFERENCE_H_
