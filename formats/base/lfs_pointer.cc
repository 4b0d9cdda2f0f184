#include "formats/base/lfs_pointer.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace narrow {

absl::Status CheckNotLfsPointer(absl::Span<const uint8_t> bytes,
                                absl::string_view file) {
  constexpr absl::string_view kPointer = "version https://git-lfs";
  const absl::string_view text(reinterpret_cast<const char*>(bytes.data()),
                               bytes.size());
  if (!absl::StartsWith(text, kPointer)) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrCat("the file is a Git LFS pointer, not the model; run 'git "
                   "lfs pull' in its folder; reading ",
                   file));
}

}  // namespace narrow
