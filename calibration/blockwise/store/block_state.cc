// Little-endian:
//
//   magic, 16 bytes | u64 fingerprint | u64 samples and model
//   | i64 next block | i64 streams | i64 samples | i64 tokens of a sample
//   | i64 hidden size | u64 Checksum of the bytes before
//   each stream's samples: i64 number of bytes | u64 Checksum of them
//     | the bytes, as CompressFloats makes them
//
// Tested by: block_state_test, block_calibrator_test.

#include "calibration/blockwise/store/block_state.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "calibration/blockwise/store/float_compression.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// The version is the last four.
constexpr absl::string_view kMagic = "narrow block0001";
// Compressed at once, by all threads.
constexpr int64_t kSamplesAtOnce = 16;
constexpr int64_t kMaxStreams = 2;

#pragma pack(push, 1)
struct DiskHeader {
  char magic[16];
  uint64_t fingerprint, samples_and_model;
  int64_t next_block, n_streams, n_samples, sample_tokens, hidden_size;
  uint64_t checksum;
};
struct DiskSample {
  int64_t n_bytes;
  uint64_t checksum;
};
#pragma pack(pop)
static_assert(sizeof(DiskHeader) == 80, "frozen within a version");
static_assert(sizeof(DiskSample) == 16, "frozen within a version");

template <typename T>
absl::Span<const uint8_t> BytesOf(const T& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof(value)};
}

uint64_t ChecksumOf(const void* bytes, size_t n) {
  Checksum sum;
  sum.Add(bytes, n);
  return sum.value();
}

uint64_t HeaderChecksum(const DiskHeader& header) {
  return ChecksumOf(&header, offsetof(DiskHeader, checksum));
}

using CompressedSamples = std::vector<std::vector<uint8_t>>;

absl::Status AppendSamples(const CompressedSamples& samples, OutputFile* file) {
  for (const std::vector<uint8_t>& bytes : samples) {
    const DiskSample sample = {static_cast<int64_t>(bytes.size()),
                               ChecksumOf(bytes.data(), bytes.size())};
    RETURN_IF_ERROR(file->Append(BytesOf(sample)));
    RETURN_IF_ERROR(file->Append(absl::Span<const uint8_t>(bytes)));
  }
  return absl::OkStatus();
}

// Some samples are written while the next are compressed.
absl::Status WriteStream(const HiddenStore& store, OutputFile* file) {
  const int64_t n_samples = store.shape().n_samples;
  CompressedSamples writing;
  std::future<absl::Status> written;
  absl::Status status;
  for (int64_t first = 0; status.ok() && first < n_samples;
       first += kSamplesAtOnce) {
    CompressedSamples next;
    status = store.ReadCompressed(
        first, std::min(kSamplesAtOnce, n_samples - first), &next);
    if (written.valid()) {
      status.Update(written.get());
    }
    if (status.ok()) {
      writing = std::move(next);
      written = std::async(std::launch::async, [&writing, file] {
        return AppendSamples(writing, file);
      });
    }
  }
  if (written.valid()) {
    status.Update(written.get());
  }
  return status;
}

}  // namespace

absl::Status WriteBlockState(const BlockStateHeader& header,
                             absl::Span<const HiddenStore* const> streams,
                             const std::string& path) {
  DiskHeader disk = {};
  std::memcpy(disk.magic, kMagic.data(), sizeof(disk.magic));
  disk.fingerprint = header.fingerprint;
  disk.samples_and_model = header.samples_and_model;
  disk.next_block = header.next_block;
  disk.n_streams = header.n_streams;
  disk.n_samples = header.shape.n_samples;
  disk.sample_tokens = header.shape.sample_tokens;
  disk.hidden_size = header.shape.hidden_size;
  disk.checksum = HeaderChecksum(disk);
  ASSIGN_OR_RETURN(auto file, OutputFile::Create(path));
  RETURN_IF_ERROR(file->Append(BytesOf(disk)));
  for (const HiddenStore* store : streams) {
    RETURN_IF_ERROR(WriteStream(*store, file.get()));
  }
  return file->Finish();
}

absl::StatusOr<std::unique_ptr<BlockStateFile>> BlockStateFile::Open(
    const std::string& path) {
  ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  auto state =
      std::unique_ptr<BlockStateFile>(new BlockStateFile(std::move(file)));
  RETURN_IF_ERROR(Annotate(state->Parse(), absl::StrCat("reading ", path)));
  return state;
}

absl::Status BlockStateFile::Parse() {
  absl::Span<const uint8_t> rest = file_->bytes();
  DiskHeader disk;
  if (rest.size() < sizeof(disk)) {
    return absl::DataLossError(
        absl::StrCat("a state of calibration has ", sizeof(disk),
                     " bytes at least, this file has ", rest.size()));
  }
  std::memcpy(&disk, rest.data(), sizeof(disk));
  if (absl::string_view(disk.magic, sizeof(disk.magic)) != kMagic) {
    return absl::DataLossError(
        "not a state of calibration, or one of another version");
  }
  const auto is_size = [](int64_t v) { return v > 0 && v <= INT32_MAX; };
  if (disk.checksum != HeaderChecksum(disk) || disk.n_streams < 1 ||
      disk.n_streams > kMaxStreams || disk.next_block < 0 ||
      !is_size(disk.n_samples) || !is_size(disk.sample_tokens) ||
      !is_size(disk.hidden_size)) {
    return absl::DataLossError("the header is damaged");
  }
  // Below 2^60, so that its bytes are countable.
  const int64_t numbers =
      std::min(disk.sample_tokens * disk.hidden_size, int64_t{1} << 60);
  rest.remove_prefix(sizeof(disk));
  header_.fingerprint = disk.fingerprint;
  header_.samples_and_model = disk.samples_and_model;
  header_.next_block = disk.next_block;
  header_.n_streams = disk.n_streams;
  header_.shape = {disk.n_samples, disk.sample_tokens, disk.hidden_size};
  for (int64_t i = 0; i < disk.n_streams * disk.n_samples; ++i) {
    const int64_t offset =
        static_cast<int64_t>(file_->bytes().size() - rest.size());
    DiskSample sample;
    if (rest.size() < sizeof(sample)) {
      return absl::DataLossError(absl::StrCat("the file ends before sample ",
                                              i % disk.n_samples,
                                              "; at offset ", offset));
    }
    std::memcpy(&sample, rest.data(), sizeof(sample));
    rest.remove_prefix(sizeof(sample));
    if (sample.n_bytes < 0 ||
        sample.n_bytes > static_cast<int64_t>(rest.size()) ||
        sample.n_bytes > MaxCompressedBytes(numbers)) {
      return absl::DataLossError(absl::StrCat(
          "sample ", i % disk.n_samples, " has ", sample.n_bytes, " bytes, ",
          rest.size(), " are left; at offset ", offset));
    }
    const auto bytes = rest.first(static_cast<size_t>(sample.n_bytes));
    if (ChecksumOf(bytes.data(), bytes.size()) != sample.checksum) {
      return absl::DataLossError(absl::StrCat(
          "sample ", i % disk.n_samples, " is damaged; at offset ", offset));
    }
    file_->Release(bytes);
    compressed_.push_back(bytes);
    rest.remove_prefix(bytes.size());
  }
  if (!rest.empty()) {
    return absl::DataLossError(
        absl::StrCat(rest.size(), " bytes follow the last sample"));
  }
  return absl::OkStatus();
}

absl::Status BlockStateFile::ReadInto(
    absl::Span<HiddenStore* const> streams) const {
  size_t i = 0;
  for (HiddenStore* store : streams) {
    for (int64_t s = 0; s < header_.shape.n_samples; ++s, ++i) {
      RETURN_IF_ERROR(Annotate(store->WriteCompressed(s, compressed_[i]),
                               absl::StrCat("reading ", file_->path())));
      file_->Release(compressed_[i]);
    }
  }
  return absl::OkStatus();
}

absl::Status OtherBlockState(absl::string_view what, const std::string& path) {
  return absl::DataLossError(absl::StrCat(
      "the state of calibration is of a run with ", what, "; reading ", path));
}

absl::Status CheckBlockState(const BlockStateHeader& header,
                             const BlockStateHeader& expected,
                             const std::string& path) {
  if (header.fingerprint != expected.fingerprint) {
    return OtherBlockState("another model or other options", path);
  }
  if (header.samples_and_model != expected.samples_and_model ||
      header.shape.n_samples != expected.shape.n_samples ||
      header.shape.sample_tokens != expected.shape.sample_tokens ||
      header.shape.hidden_size != expected.shape.hidden_size ||
      header.next_block > expected.next_block) {
    return OtherBlockState("another model or other samples", path);
  }
  if (header.n_streams < expected.n_streams) {
    return OtherBlockState("no hidden states of the original model", path);
  }
  return absl::OkStatus();
}

}  // namespace narrow
