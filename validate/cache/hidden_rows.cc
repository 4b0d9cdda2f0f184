// Tested by: hidden_rows_test.

#include "validate/cache/hidden_rows.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "calibration/blockwise/store/float_compression.h"
#include "formats/base/float16.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr char kMagic[] = "NRWHIDS1";
constexpr size_t kMagicBytes = 8;
constexpr size_t kFixedBytes = 56;
constexpr size_t kEntryBytes = 32;
// No text has more, and no model is wider: bounds for what a header may ask.
constexpr int64_t kMaxWindowRows = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 24;

uint64_t ChecksumOf(absl::Span<const uint8_t> bytes) {
  Checksum sum;
  sum.Add(bytes.data(), bytes.size());
  return sum.value();
}

// The header's numbers; this code runs on little-endian machines alone, as all
// of the program (formats/gguf).
void AppendNumber(uint64_t number, std::vector<uint8_t>* out) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&number);
  out->insert(out->end(), bytes, bytes + sizeof(number));
}

uint64_t NumberAt(absl::Span<const uint8_t> bytes, size_t offset) {
  uint64_t number;
  std::memcpy(&number, bytes.data() + offset, sizeof(number));
  return number;
}

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("hidden states: ", what));
}

}  // namespace

absl::StatusOr<std::unique_ptr<HiddenRows>> HiddenRows::Create(
    int64_t width, HiddenStorage storage, absl::string_view folder) {
  assert(width > 0);
  std::unique_ptr<HiddenRows> rows(new HiddenRows(width, storage, folder));
  ASSIGN_OR_RETURN(rows->temp_, TempFile::Create(folder));
  return rows;
}

absl::StatusOr<std::unique_ptr<HiddenRows>> HiddenRows::Open(
    absl::string_view path, const Sha256Digest& key, int64_t width,
    HiddenStorage storage, absl::string_view folder) {
  std::unique_ptr<HiddenRows> rows(new HiddenRows(width, storage, folder));
  ASSIGN_OR_RETURN(rows->saved_, MappedFile::Open(path));
  RETURN_IF_ERROR(
      Annotate(rows->ReadHeader(key), absl::StrCat("reading ", path)));
  return rows;
}

// Everything is checked here, so that what follows can trust it.
absl::Status HiddenRows::ReadHeader(const Sha256Digest& key) {
  const absl::Span<const uint8_t> bytes = saved_->bytes();
  if (bytes.size() < kFixedBytes + sizeof(uint64_t) ||
      std::memcmp(bytes.data(), kMagic, kMagicBytes) != 0) {
    return Damaged("this is no file of them");
  }
  const int64_t width = static_cast<int64_t>(NumberAt(bytes, 40));
  const uint64_t n_windows = NumberAt(bytes, 48);
  if (n_windows > bytes.size() / kEntryBytes) {
    return Damaged(absl::StrCat(n_windows, " windows do not fit into ",
                                bytes.size(), " bytes; at offset 48"));
  }
  const size_t index_end = kFixedBytes + n_windows * kEntryBytes;
  if (index_end + sizeof(uint64_t) > bytes.size() ||
      NumberAt(bytes, index_end) != ChecksumOf(bytes.first(index_end))) {
    return Damaged(absl::StrCat("the checksum of the first ", index_end,
                                " bytes is wrong"));
  }
  if (std::memcmp(bytes.data() + kMagicBytes, key.bytes.data(),
                  key.bytes.size()) != 0 ||
      width != width_ || width > kMaxWidth) {
    return Damaged("they are of another model, text or protocol");
  }
  size_t end = index_end + sizeof(uint64_t);
  for (uint64_t i = 0; i < n_windows; ++i) {
    const size_t at = kFixedBytes + i * kEntryBytes;
    Block block;
    block.first_row = n_rows();
    block.n_rows = static_cast<int64_t>(NumberAt(bytes, at));
    block.saved = true;
    block.offset = static_cast<int64_t>(end);
    block.n_bytes = static_cast<int64_t>(NumberAt(bytes, at + 16));
    block.checksum = NumberAt(bytes, at + 24);
    if (block.n_rows < 1 || block.n_rows > kMaxWindowRows ||
        NumberAt(bytes, at + 8) != end ||
        NumberAt(bytes, at + 16) > bytes.size() - end) {
      return Damaged(absl::StrCat("window ", i, " does not lie in the file"));
    }
    const auto compressed =
        bytes.subspan(end, static_cast<size_t>(block.n_bytes));
    if (ChecksumOf(compressed) != block.checksum) {
      return Damaged(absl::StrCat("the checksum of window ", i,
                                  " is wrong; at offset ", end));
    }
    saved_->Release(compressed);
    end += static_cast<size_t>(block.n_bytes);
    blocks_.push_back(block);
  }
  if (end != bytes.size()) {
    return Damaged(absl::StrCat("the file has ", bytes.size(),
                                " bytes, its windows end at ", end));
  }
  return absl::OkStatus();
}

int64_t HiddenRows::n_rows() const {
  return blocks_.empty() ? 0 : blocks_.back().first_row + blocks_.back().n_rows;
}

int64_t HiddenRows::window_rows(int64_t window) const {
  return blocks_[static_cast<size_t>(window)].n_rows;
}

int64_t HiddenRows::n_bytes() const {
  int64_t n = 0;
  for (const Block& block : blocks_) {
    n += block.n_bytes;
  }
  return n;
}

absl::Status HiddenRows::AppendWindow(const float* values, int64_t n_rows) {
  assert(n_rows > 0);
  if (temp_ == nullptr) {
    ASSIGN_OR_RETURN(temp_, TempFile::Create(folder_));
  }
  const int64_t n = n_rows * width_;
  std::vector<uint8_t> bytes;
  if (storage_ == HiddenStorage::kBfloat16) {
    std::vector<float> rounded(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      rounded[static_cast<size_t>(i)] = FloatFromBf16(Bf16FromFloat(values[i]));
    }
    CompressFloats(rounded.data(), n, &bytes);
  } else {
    CompressFloats(values, n, &bytes);
  }
  Block block;
  block.first_row = this->n_rows();
  block.n_rows = n_rows;
  block.offset = temp_bytes_;
  block.n_bytes = static_cast<int64_t>(bytes.size());
  block.checksum = ChecksumOf(bytes);
  RETURN_IF_ERROR(temp_->WriteAt(block.offset, bytes));
  temp_bytes_ += block.n_bytes;
  blocks_.push_back(block);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint8_t>> HiddenRows::BlockBytes(
    const Block& block) const {
  const size_t n_bytes = static_cast<size_t>(block.n_bytes);
  std::vector<uint8_t> bytes(n_bytes);
  if (block.saved) {
    const auto from =
        saved_->bytes().subspan(static_cast<size_t>(block.offset), n_bytes);
    std::copy(from.begin(), from.end(), bytes.begin());
    saved_->Release(from);
  } else {
    RETURN_IF_ERROR(temp_->ReadAt(block.offset, absl::MakeSpan(bytes)));
  }
  return bytes;
}

absl::Status HiddenRows::LoadWindow(size_t window) {
  if (loaded_ == static_cast<int64_t>(window)) {
    return absl::OkStatus();
  }
  const Block& block = blocks_[window];
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, BlockBytes(block));
  loaded_ = -1;
  values_.resize(static_cast<size_t>(block.n_rows * width_));
  const absl::Status status = DecompressFloats(
      bytes, static_cast<int64_t>(values_.size()), values_.data());
  RETURN_IF_ERROR(Annotate(
      status, absl::StrCat("window ", window, " of the hidden states",
                           block.saved ? "; reading " : "",
                           block.saved ? saved_->path() : std::string())));
  loaded_ = static_cast<int64_t>(window);
  return absl::OkStatus();
}

size_t HiddenRows::WindowOf(int64_t row) const {
  const auto after = std::upper_bound(
      blocks_.begin(), blocks_.end(), row,
      [](int64_t r, const Block& block) { return r < block.first_row; });
  return static_cast<size_t>(after - blocks_.begin()) - 1;
}

absl::Status HiddenRows::Read(int64_t first_row, int64_t n_rows, float* out) {
  assert(first_row >= 0 && first_row + n_rows <= this->n_rows());
  while (n_rows > 0) {
    const size_t window = WindowOf(first_row);
    RETURN_IF_ERROR(LoadWindow(window));
    const Block& block = blocks_[window];
    const int64_t skipped = first_row - block.first_row;
    const int64_t n = std::min(n_rows, block.n_rows - skipped);
    out = std::copy_n(values_.data() + skipped * width_, n * width_, out);
    first_row += n;
    n_rows -= n;
  }
  return absl::OkStatus();
}

absl::Status HiddenRows::Save(const std::string& path,
                              const Sha256Digest& key) const {
  std::vector<uint8_t> header(kMagic, kMagic + kMagicBytes);
  header.insert(header.end(), key.bytes.begin(), key.bytes.end());
  AppendNumber(static_cast<uint64_t>(width_), &header);
  AppendNumber(blocks_.size(), &header);
  uint64_t offset =
      kFixedBytes + blocks_.size() * kEntryBytes + sizeof(uint64_t);
  for (const Block& block : blocks_) {
    AppendNumber(static_cast<uint64_t>(block.n_rows), &header);
    AppendNumber(offset, &header);
    AppendNumber(static_cast<uint64_t>(block.n_bytes), &header);
    AppendNumber(block.checksum, &header);
    offset += static_cast<uint64_t>(block.n_bytes);
  }
  AppendNumber(ChecksumOf(header), &header);
  ASSIGN_OR_RETURN(auto file,
                   OutputFile::Create(path, static_cast<int64_t>(offset)));
  RETURN_IF_ERROR(file->Append(header));
  for (const Block& block : blocks_) {
    ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, BlockBytes(block));
    RETURN_IF_ERROR(file->Append(bytes));
  }
  return file->Finish();
}

}  // namespace narrow
