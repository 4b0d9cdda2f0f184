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

  absl::Status Compare(int64_t first_row, absl::Span<const int32_t> targets,
                       float* logits, int64_t n_vocab,
                       TokenComparison* results) override {
    const int64_t n_rows = static_cast<int64_t>(targets.size());
    std::vector<absl::Status> statuses(targets.size());
    pool_->ParallelFor(n_rows, [&](int64_t r) {
      const size_t i = static_cast<size_t>(r);
      const auto token = base_->Compare(first_row + r, logits + r * n_vocab,
                                        n_vocab, targets[i]);
      statuses[i] = token.status();
      if (token.ok()) {
        results[r] = *token;
      }
    });
    base_->Release(first_row, n_rows);
    for (const absl::Status& status : statuses) {
      RETURN_IF_ERROR(status);
    }
    return absl::OkStatus();
  }

  int64_t row_bytes() const override { return 0; }

 private:
  const BaseFile* const base_;
  ThreadPool* const pool_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_REFERENCE_BASE_REFERENCE_H_
