// The small files of a model's directory that go with its weights: tokenizer,
// chat template, generation and processor settings, code, licences.
//
//   ASSIGN_OR_RETURN(auto files, ListSideFiles("models/gemma"));
//   RETURN_IF_ERROR(CopySideFiles("models/gemma", files, out));
//
// Not among them: weights of any format and their indexes, config.json and
// README.md, which are written anew, and configurations of a quantization.

#ifndef NARROW_CONVERTER_PACKED_OUTPUT_SIDE_FILES_H_
#define NARROW_CONVERTER_PACKED_OUTPUT_SIDE_FILES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

// Names relative to `folder`, sorted, those one folder down included (all
// files of the folders that modules.json names; none of others that hold
// weights).
absl::StatusOr<std::vector<std::string>> ListSideFiles(
    absl::string_view folder);

absl::Status CopySideFiles(absl::string_view folder,
                           const std::vector<std::string>& names,
                           absl::string_view to);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PACKED_OUTPUT_SIDE_FILES_H_
