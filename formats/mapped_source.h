// The TensorSource that every container reader ends in: mapped files and the
// tensors found in them.
//
//   return MappedSource::Create("gguf", std::move(files), std::move(tensors),
//                               std::move(metadata));
//
// Immutable; safe to share between threads.

#ifndef NARROW_FORMATS_MAPPED_SOURCE_H_
#define NARROW_FORMATS_MAPPED_SOURCE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "formats/base/file.h"
#include "formats/tensor.h"

namespace narrow {

class MappedSource final : public TensorSource {
 public:
  // The tensors' data lie in `files`, which live as long as the source does.
  // DataLoss if two tensors have one name.
  static absl::StatusOr<std::unique_ptr<TensorSource>> Create(
      absl::string_view format,
      std::vector<std::shared_ptr<const MappedFile>> files,
      std::vector<TensorView> tensors, Metadata metadata);

  absl::Span<const TensorView> tensors() const override { return tensors_; }
  const TensorView* Find(absl::string_view name) const override;
  const Metadata& metadata() const override { return metadata_; }
  absl::string_view format() const override { return format_; }
  void Release(absl::Span<const uint8_t> range) const override;

 private:
  MappedSource() = default;

  std::string format_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<TensorView> tensors_;
  // Keys borrow from tensors_, which no longer changes.
  absl::flat_hash_map<absl::string_view, size_t> index_;
  Metadata metadata_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_MAPPED_SOURCE_H_
