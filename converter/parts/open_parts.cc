#include "converter/parts/open_parts.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

absl::Status Differ(absl::string_view what, const PartFile& a,
                    const PartFile& b) {
  return absl::InvalidArgumentError(absl::StrCat(
      "parts ", a.path(), " and ", b.path(), " are of different ", what,
      "; make all parts with the same command but for K of --shard K/N"));
}

absl::Status CheckAlike(const std::vector<PartFile>& parts) {
  for (const PartFile& file : parts) {
    const parts::Part& first = parts[0].description();
    const parts::Part& part = file.description();
    if (part.version() != first.version()) {
      return Differ(
          absl::StrCat("versions of narrow (", OneLine(first.version()), ", ",
                       OneLine(part.version()), ")"),
          parts[0], file);
    }
    if (part.model() != first.model()) {
      return Differ("models", parts[0], file);
    }
    if (part.count() != first.count()) {
      return Differ(absl::StrCat("numbers of parts (", first.count(), ", ",
                                 part.count(), ")"),
                    parts[0], file);
    }
    // Parts made by a plan of their own do not know the whole; their rows'
    // recipes tell.
    if (!part.plan().empty() && !first.plan().empty() &&
        part.plan() != first.plan()) {
      return Differ("plans", parts[0], file);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckComplete(const std::vector<PartFile>& parts) {
  const int64_t count = parts[0].description().count();
  std::vector<std::string> missing;
  int64_t next = parts[0].description().index() == 0 ? 0 : 1;
  for (const PartFile& file : parts) {
    const int64_t index = file.description().index();
    if (index < next) {
      return absl::InvalidArgumentError(
          absl::StrCat("part ", index, " of ", count,
                       " was given twice, the second time as ", file.path()));
    }
    for (; next < index && missing.size() < 20; ++next) {
      missing.push_back(absl::StrCat(next));
    }
    next = index + 1;
  }
  for (; next <= count && missing.size() < 20; ++next) {
    missing.push_back(absl::StrCat(next));
  }
  if (!missing.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "of ", count,
        " parts, these are missing: ", absl::StrJoin(missing, ", "),
        "; give all files of --shard 1/", count, " to ", count, "/", count));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DamagedPart(const PartFile& part, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(
      what, "; make the part again with the command that made it; reading ",
      part.path()));
}

absl::StatusOr<std::vector<PartFile>> OpenPartsInOrder(
    const std::vector<std::string>& paths) {
  std::vector<PartFile> files;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(PartFile part, PartFile::Open(path));
    const parts::Part& it = part.description();
    if (it.planned_size() > 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the plan of a part, not the part; make that with narrow convert "
          "MODEL --plan; reading ",
          path));
    }
    if (it.count() < 1 || it.index() < 0 || it.index() > it.count()) {
      return DamagedPart(
          part, absl::StrCat("it is part ", it.index(), " of ", it.count()));
    }
    files.push_back(std::move(part));
  }
  if (files.empty()) {
    return absl::InvalidArgumentError("no part to merge");
  }
  RETURN_IF_ERROR(CheckAlike(files));
  std::stable_sort(files.begin(), files.end(),
                   [](const PartFile& a, const PartFile& b) {
                     return a.description().index() < b.description().index();
                   });
  RETURN_IF_ERROR(CheckComplete(files));
  return files;
}

}  // namespace narrow
