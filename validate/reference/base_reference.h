// llama-perplexity's base file as the reference; everything is borrowed.

#ifndef NARROW_VALIDATE_REFERENCE_BASE_REFERENCE_H_
#define NARROW_VALIDATE_REFERENCE_BASE_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "validate/llama_base/base_file.h"
#include "validate/reference/reference.h"

namespace narrow {

class BaseReference : public Reference {
 public:
  BaseReference(const BaseFile* base, ThreadPool* pool)
      : base_(base), pool_(pool) {}

  // The file has all there is.
  absl::Status Prepare(int64_t, const ScoreProgressFn&) override {
    return absl::OkStatus();
  }

  absl::Status Load(int64_t first_row,
                    absl::Span<const int32_t> targets) override {
    base_->Release(first_row_, static_cast<int64_t>(targets_.size()));
    first_row_ = first_row;
    targets_ = targets;
    return absl::OkStatus();
  }

  absl::Status Compare(float* logits, int64_t n_vocab,
                       TokenComparison* results) override {
    std::vector<absl::Status> statuses(targets_.size());
    pool_->ParallelFor(static_cast<int64_t>(targets_.size()), [&](int64_t r) {
      const size_t i = static_cast<size_t>(r);
      const auto token = base_->Compare(first_row_ + r, logits + r * n_vocab,
                                        n_vocab, targets_[i]);
      statuses[i] = token.status();
      if (token.ok()) {
        results[r] = *token;
      }
    });
    for (const absl::Status& status : statuses) {
      RETURN_IF_ERROR(status);
    }
    return absl::OkStatus();
  }

  int64_t row_bytes() const override { return 0; }

 private:
  const BaseFile* const base_;
  ThreadPool* const pool_;
  // Loaded.
  int64_t first_row_ = 0;
  absl::Span<const int32_t> targets_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_REFERENCE_BASE_REFERENCE_H_
