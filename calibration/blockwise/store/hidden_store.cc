// Tested by: hidden_store_test.

#include "calibration/blockwise/store/hidden_store.h"

#include <algorithm>
#include <cassert>

#include "absl/functional/function_ref.h"
#include "calibration/blockwise/store/float_compression.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Slots begin at multiples of a page, so that samples share none.
constexpr int64_t kPageBytes = 4096;

// body(i) for i in [0, n); the first error.
absl::Status ForEach(ThreadPool* pool, int64_t n,
                     absl::FunctionRef<absl::Status(int64_t)> body) {
  std::vector<absl::Status> results(static_cast<size_t>(n));
  pool->ParallelFor(
      n, [&](int64_t i) { results[static_cast<size_t>(i)] = body(i); });
  for (const absl::Status& result : results) {
    RETURN_IF_ERROR(result);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<HiddenStore>> HiddenStore::Create(
    const HiddenShape& shape, int64_t max_bytes, absl::string_view spill_folder,
    ThreadPool* pool) {
  assert(shape.n_samples > 0 && shape.sample_bytes() > 0);
  const int64_t n_in_memory = std::min(
      shape.n_samples, std::max<int64_t>(0, max_bytes) / shape.sample_bytes());
  auto store =
      std::unique_ptr<HiddenStore>(new HiddenStore(shape, n_in_memory, pool));
  if (store->n_spilled() > 0) {
    ASSIGN_OR_RETURN(store->file_, TempFile::Create(spill_folder));
  }
  return store;
}

void HiddenStore::SetWidth(int64_t hidden_size) {
  assert(hidden_size > 0);
  shape_.hidden_size = hidden_size;
  n_in_memory_ =
      std::min(shape_.n_samples,
               static_cast<int64_t>(memory_.size()) / shape_.sample_numbers());
}

int64_t HiddenStore::SlotOffset(int64_t sample) const {
  const int64_t slot_bytes =
      (MaxCompressedBytes(shape_.sample_numbers()) + kPageBytes - 1) /
      kPageBytes * kPageBytes;
  return (sample - n_in_memory_) * slot_bytes;
}

absl::Status HiddenStore::ReadSlot(int64_t sample,
                                   std::vector<uint8_t>* bytes) const {
  bytes->resize(static_cast<size_t>(file_bytes_[static_cast<size_t>(sample)]));
  return file_->ReadAt(SlotOffset(sample), absl::MakeSpan(*bytes));
}

absl::Status HiddenStore::WriteSlot(int64_t sample,
                                    absl::Span<const uint8_t> bytes) {
  file_bytes_[static_cast<size_t>(sample)] = static_cast<int64_t>(bytes.size());
  return file_->WriteAt(SlotOffset(sample), bytes);
}

absl::Status HiddenStore::Read(int64_t first, int64_t n,
                               HiddenStates* hidden) const {
  const int64_t numbers = shape_.sample_numbers();
  hidden->n_windows = n;
  hidden->window_tokens = shape_.sample_tokens;
  hidden->hidden_size = shape_.hidden_size;
  hidden->first_window = first;
  hidden->on_device = DeviceBuffer();
  hidden->values.resize(static_cast<size_t>(n * numbers));
  return ForEach(pool_, n, [&](int64_t i) -> absl::Status {
    const int64_t sample = first + i;
    float* to = hidden->values.data() + i * numbers;
    if (sample < n_in_memory_) {
      std::copy_n(InMemory(sample), numbers, to);
      return absl::OkStatus();
    }
    std::vector<uint8_t> bytes;
    RETURN_IF_ERROR(ReadSlot(sample, &bytes));
    return DecompressFloats(bytes, numbers, to);
  });
}

absl::Status HiddenStore::Write(int64_t first, int64_t n, const float* values) {
  const int64_t numbers = shape_.sample_numbers();
  return ForEach(pool_, n, [&](int64_t i) -> absl::Status {
    const int64_t sample = first + i;
    const float* from = values + i * numbers;
    if (sample < n_in_memory_) {
      std::copy_n(from, numbers, InMemory(sample));
      return absl::OkStatus();
    }
    std::vector<uint8_t> bytes;
    CompressFloats(from, numbers, &bytes);
    return WriteSlot(sample, bytes);
  });
}

absl::Status HiddenStore::ReadCompressed(
    int64_t first, int64_t n, std::vector<std::vector<uint8_t>>* out) const {
  out->resize(static_cast<size_t>(n));
  return ForEach(pool_, n, [&](int64_t i) -> absl::Status {
    const int64_t sample = first + i;
    std::vector<uint8_t>* bytes = &(*out)[static_cast<size_t>(i)];
    if (sample < n_in_memory_) {
      CompressFloats(InMemory(sample), shape_.sample_numbers(), bytes);
      return absl::OkStatus();
    }
    return ReadSlot(sample, bytes);
  });
}

absl::Status HiddenStore::WriteCompressed(int64_t sample,
                                          absl::Span<const uint8_t> bytes) {
  if (sample < n_in_memory_) {
    return DecompressFloats(bytes, shape_.sample_numbers(), InMemory(sample));
  }
  return WriteSlot(sample, bytes);
}

}  // namespace narrow
