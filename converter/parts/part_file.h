// A part of a conversion on the disk (docs/parts.md): rows of the output, and
// a description of what they are.
//
//   offset 0  +-------------------------------------------------+
//             | "NARWPART" | u32 version 1 | u32 0              |   16 bytes
//             +-------------------------------------------------+
//             | bytes of the rows, in order, without gaps       |
//             +-------------------------------------------------+
//             | description: narrow.parts.Part, protobuf        |
//             +-------------------------------------------------+
//             | SHA-256 of the first 16 bytes and description   |   32 bytes
//             | u64 size of the description | "NARWPEND"        |   16 bytes
//             +-------------------------------------------------+
//
// Little-endian, frozen. The rows' own hashes are in the description.
//
//   ASSIGN_OR_RETURN(auto writer, PartWriter::Create(path, n_bytes));
//   RETURN_IF_ERROR(writer->Append(bytes));  // until all rows are there
//   RETURN_IF_ERROR(writer->Finish(std::move(description)));
//
//   ASSIGN_OR_RETURN(PartFile part, PartFile::Open(path));
//   RETURN_IF_ERROR(part.CheckRows(&pool));
//
// A writer belongs to one thread; an opened part is immutable.

#ifndef NARROW_CONVERTER_PARTS_PART_FILE_H_
#define NARROW_CONVERTER_PARTS_PART_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "converter/parts/part.pb.h"
#include "formats/base/file.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/parallel.h"
#include "formats/tensor.h"

namespace narrow {

class PartWriter {
 public:
  // `rows`: what will be appended, in order; hashes are filled in by Finish.
  static absl::StatusOr<std::unique_ptr<PartWriter>> Create(
      absl::string_view path, const std::vector<parts::Rows>& rows);

  // The next bytes; a piece lies within one of the rows' entries.
  absl::Status Append(absl::Span<const uint8_t> bytes);
  // Adds the rows to `description`. The file has its name after it.
  // FailedPrecondition: rows are missing.
  absl::Status Finish(parts::Part description);
  int64_t size() const { return file_->size(); }

 private:
  PartWriter() = default;
  void SkipEmpty();

  std::unique_ptr<OutputFile> file_;
  std::vector<parts::Rows> rows_;
  std::vector<int64_t> n_bytes_;
  size_t at_ = 0;         // the entry that the next bytes belong to
  int64_t appended_ = 0;  // bytes of it
  Sha256 hash_;
};

class PartFile {
 public:
  // DataLoss for a damaged or cut file, Unimplemented for a later version,
  // InvalidArgument for another kind of file. Rows are not read.
  static absl::StatusOr<PartFile> Open(const std::string& path);

  const std::string& path() const { return file_->path(); }
  const parts::Part& description() const { return description_; }
  // Of row entry `i`.
  absl::Span<const uint8_t> BytesOf(size_t i) const { return spans_[i]; }
  // DataLoss names the tensor whose bytes are not those that were written.
  absl::Status CheckRows(ThreadPool* pool) const;
  void Release(absl::Span<const uint8_t> bytes) const { file_->Release(bytes); }

 private:
  PartFile() = default;

  std::shared_ptr<const MappedFile> file_;
  parts::Part description_;
  std::vector<absl::Span<const uint8_t>> spans_;
};

// The tensor of an entry. InvalidArgument: sizes or a type that cannot be,
// rows that the tensor does not have.
absl::StatusOr<TensorMeta> MetaOf(const parts::Rows& rows);
parts::Rows RowsOf(const TensorMeta& meta);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PARTS_PART_FILE_H_
