// The parts of one job, opened and found to belong together.
//
//   ASSIGN_OR_RETURN(std::vector<PartFile> parts, OpenPartsInOrder(paths));

#ifndef NARROW_CONVERTER_PARTS_OPEN_PARTS_H_
#define NARROW_CONVERTER_PARTS_OPEN_PARTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/parts/part_file.h"

namespace narrow {

// In their order, a head alone first; at least one. InvalidArgument: parts that
// are missing, twice, or of another plan, model or version, by name; DataLoss:
// damaged ones. Rows are not read yet.
absl::StatusOr<std::vector<PartFile>> OpenPartsInOrder(
    const std::vector<std::string>& paths);

// DataLoss: what is wrong with a part, and that it can be made again.
absl::Status DamagedPart(const PartFile& part, absl::string_view what);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PARTS_OPEN_PARTS_H_
