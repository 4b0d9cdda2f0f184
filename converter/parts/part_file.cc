#include "converter/parts/part_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/quant_type.h"

namespace narrow {
namespace {

constexpr absl::string_view kMagic = "NARWPART";
constexpr absl::string_view kEnd = "NARWPEND";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeadBytes = 16;
constexpr size_t kTrailerBytes = 32 + 8 + 8;
// Far above a description of a million tensors, and a vocabulary.
constexpr uint64_t kMaxDescription = uint64_t{1} << 30;
constexpr size_t kStep = size_t{1} << 20;

// `n` bytes, little-endian.
std::string NumberBytes(uint64_t number, size_t n) {
  std::string bytes;
  for (size_t i = 0; i < n; ++i) {
    bytes.push_back(static_cast<char>(number >> (8 * i)));
  }
  return bytes;
}

uint64_t NumberAt(absl::Span<const uint8_t> bytes) {
  uint64_t number = 0;
  for (size_t i = bytes.size(); i-- > 0;) {
    number = number << 8 | bytes[i];
  }
  return number;
}

std::string HeadBytes() {
  return absl::StrCat(kMagic, NumberBytes(kVersion, 8));
}

absl::Status Damaged(absl::string_view what, absl::string_view path) {
  return absl::DataLossError(absl::StrCat(
      "the part is damaged or was cut: ", what,
      "; make it again with narrow convert --shard; reading ", path));
}

absl::string_view Text(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The description, checked against its hash.
absl::StatusOr<absl::Span<const uint8_t>> FindDescription(
    absl::Span<const uint8_t> bytes, absl::string_view path) {
  if (bytes.size() < kMagic.size() ||
      Text(bytes.first(kMagic.size())) != kMagic) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no part of a conversion (narrow convert --shard K/N); reading ",
        path));
  }
  if (bytes.size() < kHeadBytes + kTrailerBytes) {
    return Damaged(absl::StrCat("it has ", bytes.size(), " bytes"), path);
  }
  const uint64_t version = NumberAt(bytes.subspan(kMagic.size(), 4));
  if (version > kVersion) {
    return absl::UnimplementedError(absl::StrCat(
        "the part has version ", version, ", this narrow reads version ",
        kVersion, "; reading ", path));
  }
  const absl::Span<const uint8_t> trailer = bytes.last(kTrailerBytes);
  if (Text(trailer.last(kEnd.size())) != kEnd) {
    return Damaged("its end is missing", path);
  }
  const uint64_t n = NumberAt(trailer.subspan(32, 8));
  const size_t room = bytes.size() - kHeadBytes - kTrailerBytes;
  if (n > std::min<uint64_t>(room, kMaxDescription)) {
    return Damaged(absl::StrCat("its description would have ", n,
                                " bytes, there is room for ", room),
                   path);
  }
  const absl::Span<const uint8_t> description =
      bytes.subspan(kHeadBytes + room - n, n);
  Sha256 hash;
  hash.Add(bytes.first(kHeadBytes));
  hash.Add(description);
  if (std::memcmp(hash.Finish().bytes.data(), trailer.data(), 32) != 0) {
    return Damaged("its description is not the one that was written", path);
  }
  return description;
}

}  // namespace

parts::Rows RowsOf(const TensorMeta& meta) {
  parts::Rows rows;
  rows.set_name(meta.name);
  rows.set_type(TypeName(meta.type));
  for (const int64_t size : meta.shape) {
    rows.add_shape(size);
  }
  rows.set_n_rows(meta.n_rows());
  return rows;
}

absl::StatusOr<TensorMeta> MetaOf(const parts::Rows& rows) {
  TensorMeta meta;
  meta.name = rows.name();
  meta.shape.assign(rows.shape().begin(), rows.shape().end());
  const absl::string_view name = rows.name();
  const auto type = TypeFromName(rows.type());
  if (!type.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", QuotedName(name),
                                                   " has the unknown type ",
                                                   QuotedName(rows.type())));
  }
  meta.type = *type;
  // Also without the innermost size, which may be 0.
  absl::Status status = TensorBytes(meta.type, meta.shape).status();
  if (meta.shape.size() > 1) {
    status.Update(
        NumElements(absl::MakeSpan(meta.shape).first(meta.shape.size() - 1))
            .status());
  }
  RETURN_IF_ERROR(Annotate(status, absl::StrCat("tensor ", QuotedName(name))));
  if (rows.first_row() < 0 || rows.n_rows() < 0 ||
      rows.first_row() > meta.n_rows() ||
      rows.n_rows() > meta.n_rows() - rows.first_row()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", QuotedName(name), " has ", meta.n_rows(),
                     " rows; the entry begins at ", rows.first_row(),
                     " and has ", rows.n_rows()));
  }
  return meta;
}

absl::StatusOr<std::unique_ptr<PartWriter>> PartWriter::Create(
    absl::string_view path, const std::vector<parts::Rows>& rows) {
  std::unique_ptr<PartWriter> writer(new PartWriter());
  writer->rows_ = rows;
  int64_t total = static_cast<int64_t>(kHeadBytes);
  for (const parts::Rows& row : rows) {
    ASSIGN_OR_RETURN(const TensorMeta meta, MetaOf(row));
    writer->n_bytes_.push_back(row.n_rows() * meta.row_bytes());
    total += writer->n_bytes_.back();
  }
  ASSIGN_OR_RETURN(writer->file_, OutputFile::Create(path, total));
  RETURN_IF_ERROR(writer->file_->Append(absl::string_view(HeadBytes())));
  writer->SkipEmpty();
  return writer;
}

void PartWriter::SkipEmpty() {
  while (at_ < rows_.size() && n_bytes_[at_] == appended_) {
    const Sha256Digest digest = hash_.Finish();
    rows_[at_].set_sha256(digest.bytes.data(), digest.bytes.size());
    ++at_;
    appended_ = 0;
  }
}

absl::Status PartWriter::Append(absl::Span<const uint8_t> bytes) {
  if (bytes.empty()) {
    return absl::OkStatus();
  }
  const int64_t n = static_cast<int64_t>(bytes.size());
  if (at_ == rows_.size() || n > n_bytes_[at_] - appended_) {
    return absl::FailedPreconditionError(
        absl::StrCat(n, " bytes more than planned; writing ", file_->path()));
  }
  hash_.Add(bytes);
  RETURN_IF_ERROR(file_->Append(bytes));
  appended_ += n;
  SkipEmpty();
  return absl::OkStatus();
}

absl::Status PartWriter::Finish(parts::Part description) {
  if (at_ != rows_.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("rows of tensor ", QuotedName(rows_[at_].name()),
                     " are missing; writing ", file_->path()));
  }
  for (parts::Rows& rows : rows_) {
    *description.add_rows() = std::move(rows);
  }
  const std::string text = description.SerializeAsString();
  Sha256 hash;
  hash.Add(absl::string_view(HeadBytes()));
  hash.Add(absl::string_view(text));
  const Sha256Digest digest = hash.Finish();
  RETURN_IF_ERROR(file_->Append(absl::string_view(text)));
  RETURN_IF_ERROR(file_->Append(digest.bytes));
  RETURN_IF_ERROR(file_->Append(
      absl::string_view(absl::StrCat(NumberBytes(text.size(), 8), kEnd))));
  return file_->Finish();
}

absl::StatusOr<PartFile> PartFile::Open(const std::string& path) {
  PartFile part;
  ASSIGN_OR_RETURN(part.file_, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = part.file_->bytes();
  ASSIGN_OR_RETURN(const absl::Span<const uint8_t> description,
                   FindDescription(bytes, path));
  if (!part.description_.ParseFromArray(description.data(),
                                        static_cast<int>(description.size()))) {
    return Damaged("its description does not parse", path);
  }
  absl::Span<const uint8_t> rest =
      bytes.subspan(kHeadBytes, bytes.size() - kHeadBytes - description.size() -
                                    kTrailerBytes);
  for (const parts::Rows& rows : part.description_.rows()) {
    const auto meta = MetaOf(rows);
    if (!meta.ok()) {
      return Damaged(meta.status().message(), path);
    }
    const size_t n = static_cast<size_t>(rows.n_rows() * meta->row_bytes());
    if (n > rest.size()) {
      return Damaged(
          absl::StrCat("rows of tensor ", QuotedName(rows.name()), " need ", n,
                       " bytes, ", rest.size(), " are left"),
          path);
    }
    part.spans_.push_back(rest.first(n));
    rest.remove_prefix(n);
  }
  if (!rest.empty()) {
    return Damaged(absl::StrCat(rest.size(), " bytes belong to no tensor"),
                   path);
  }
  return part;
}

absl::Status PartFile::CheckRows(ThreadPool* pool) const {
  std::vector<uint8_t> good(spans_.size(), 0);
  pool->ParallelFor(static_cast<int64_t>(spans_.size()), [&](int64_t i) {
    const size_t at = static_cast<size_t>(i);
    Sha256 hash;
    for (absl::Span<const uint8_t> rest = spans_[at]; !rest.empty();) {
      const absl::Span<const uint8_t> step = rest.subspan(0, kStep);
      hash.Add(step);
      rest.remove_prefix(step.size());
    }
    const Sha256Digest digest = hash.Finish();
    good[at] =
        description_.rows(static_cast<int>(i)).sha256() == Text(digest.bytes);
  });
  for (size_t i = 0; i < good.size(); ++i) {
    const parts::Rows& rows = description_.rows(static_cast<int>(i));
    if (good[i] == 0) {
      return Damaged(absl::StrCat("tensor ", QuotedName(rows.name()), ", rows ",
                                  rows.first_row(), " to ",
                                  rows.first_row() + rows.n_rows() - 1,
                                  ", has not the bytes that were written"),
                     path());
    }
  }
  return absl::OkStatus();
}

}  // namespace narrow
