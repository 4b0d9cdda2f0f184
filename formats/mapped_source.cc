#include "formats/mapped_source.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {

absl::StatusOr<std::unique_ptr<TensorSource>> MappedSource::Create(
    absl::string_view format,
    std::vector<std::shared_ptr<const MappedFile>> files,
    std::vector<TensorView> tensors, Metadata metadata) {
  std::unique_ptr<MappedSource> source(new MappedSource());
  source->format_ = std::string(format);
  source->files_ = std::move(files);
  source->tensors_ = std::move(tensors);
  source->metadata_ = std::move(metadata);
  source->index_.reserve(source->tensors_.size());
  for (size_t i = 0; i < source->tensors_.size(); ++i) {
    const TensorView& tensor = source->tensors_[i];
    const auto [it, inserted] = source->index_.emplace(tensor.meta.name, i);
    if (!inserted) {
      const TensorView& first = source->tensors_[it->second];
      return absl::DataLossError(absl::StrCat(
          "duplicate tensor ", QuotedName(tensor.meta.name), "; at offset ",
          tensor.origin.offset, " of ", tensor.origin.file, " and at offset ",
          first.origin.offset, " of ", first.origin.file));
    }
  }
  return source;
}

const TensorView* MappedSource::Find(absl::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

void MappedSource::Release(absl::Span<const uint8_t> range) const {
  // std::less orders pointers of different maps too.
  const std::less_equal<const uint8_t*> not_after;
  for (const auto& file : files_) {
    const absl::Span<const uint8_t> bytes = file->bytes();
    if (not_after(bytes.data(), range.data()) &&
        not_after(range.data() + range.size(), bytes.data() + bytes.size())) {
      file->Release(range);
      return;
    }
  }
}

}  // namespace narrow
