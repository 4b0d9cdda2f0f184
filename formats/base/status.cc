#include "formats/base/status.h"

#include "absl/strings/str_cat.h"

namespace narrow {

absl::Status Annotate(const absl::Status& status, absl::string_view detail) {
  if (status.ok()) {
    return status;
  }
  return absl::Status(status.code(),
                      absl::StrCat(status.message(), "; ", detail));
}

}  // namespace narrow
