// The hidden states of all calibration samples between two blocks: in memory
// as far as a limit allows, the others compressed in a file without a name.
//
//   ASSIGN_OR_RETURN(auto store, HiddenStore::Create(shape, 1 << 30, "",
//   &pool)); RETURN_IF_ERROR(store->Write(0, n, hidden.values.data()));
//   RETURN_IF_ERROR(store->Read(0, n, &hidden));
//
// What is read is what was written, bit for bit. A sample in the file has a
// slot of fixed place, so that it can be replaced; the unused end of a slot
// takes no space. Belongs to one thread; uses the pool's, which must outlive
// the store.

#ifndef NARROW_CALIBRATION_BLOCKWISE_STORE_HIDDEN_STORE_H_
#define NARROW_CALIBRATION_BLOCKWISE_STORE_HIDDEN_STORE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calibration/model_runner.h"
#include "formats/base/parallel.h"
#include "formats/base/temp_file.h"

namespace narrow {

struct HiddenShape {
  int64_t n_samples = 0;
  int64_t sample_tokens = 0;
  int64_t hidden_size = 0;

  int64_t sample_numbers() const { return sample_tokens * hidden_size; }
  int64_t sample_bytes() const {
    return sample_numbers() * static_cast<int64_t>(sizeof(float));
  }
};

class HiddenStore {
 public:
  // Whole samples in memory up to `max_bytes`, the first ones. The file is in
  // `spill_folder` (temp_file.h), and made only if needed.
  static absl::StatusOr<std::unique_ptr<HiddenStore>> Create(
      const HiddenShape& shape, int64_t max_bytes,
      absl::string_view spill_folder, ThreadPool* pool);

  const HiddenShape& shape() const { return shape_; }
  int64_t memory_bytes() const {
    return static_cast<int64_t>(memory_.size() * sizeof(float));
  }
  int64_t n_spilled() const { return shape_.n_samples - n_in_memory_; }

  // Samples [first, first + n). Read sets all of `hidden`.
  absl::Status Read(int64_t first, int64_t n, HiddenStates* hidden) const;
  absl::Status Write(int64_t first, int64_t n, const float* values);

  // Numbers of samples [first, first + n), where they lie; nullptr unless all
  // of them are in memory.
  float* InMemory(int64_t first, int64_t n) {
    return first + n <= n_in_memory_ ? InMemory(first) : nullptr;
  }

  // From now on of another width, in the same memory; what was there is lost.
  // REQUIRES: hidden_size no larger than at Create.
  void SetWidth(int64_t hidden_size);

  // The same as CompressFloats and DecompressFloats have them.
  absl::Status ReadCompressed(int64_t first, int64_t n,
                              std::vector<std::vector<uint8_t>>* out) const;
  absl::Status WriteCompressed(int64_t sample, absl::Span<const uint8_t> bytes);

 private:
  HiddenStore(const HiddenShape& shape, int64_t n_in_memory, ThreadPool* pool)
      : shape_(shape),
        n_in_memory_(n_in_memory),
        pool_(pool),
        memory_(static_cast<size_t>(n_in_memory * shape.sample_numbers())),
        file_bytes_(static_cast<size_t>(shape.n_samples)) {}

  float* InMemory(int64_t sample) {
    return memory_.data() + sample * shape_.sample_numbers();
  }
  const float* InMemory(int64_t sample) const {
    return memory_.data() + sample * shape_.sample_numbers();
  }
  int64_t SlotOffset(int64_t sample) const;
  absl::Status ReadSlot(int64_t sample, std::vector<uint8_t>* bytes) const;
  absl::Status WriteSlot(int64_t sample, absl::Span<const uint8_t> bytes);

  HiddenShape shape_;
  int64_t n_in_memory_;
  ThreadPool* const pool_;
  std::vector<float> memory_;
  std::unique_ptr<TempFile> file_;
  std::vector<int64_t> file_bytes_;  // of each sample, if in the file
};

}  // namespace narrow

#endif  // NARROW_CALIBRATION_BLOCKWISE_STORE_HIDDEN_STORE_H_
