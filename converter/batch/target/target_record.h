// What is known of an output of a release: a small file beside the outputs,
// by which a later run knows what is there and whole.
//
//   ASSIGN_OR_RETURN(TargetRecord record, ReadRecord(path));
//   if (record.key() == key && FilesAreWhole(out, record)) ... // skip
//
// Functions of their arguments and the file system.

#ifndef NARROW_CONVERTER_BATCH_TARGET_TARGET_RECORD_H_
#define NARROW_CONVERTER_BATCH_TARGET_TARGET_RECORD_H_

#include <string>

#include "absl/status/statusor.h"
#include "converter/batch/release.pb.h"
#include "converter/batch/release_file.h"
#include "formats/base/hash/sha256.h"

namespace narrow {

// OUT/.narrow-batch, and the record of an output in it.
std::string RecordFolder(const std::string& out);
std::string RecordPath(const std::string& out, const std::string& output);
// The recipe of an output's command, where it needs one.
std::string RecipePath(const std::string& out, const std::string& output);

// An empty record where there is none, or one that does not parse: then
// nothing is known.
TargetRecord ReadRecord(const std::string& path);
absl::Status WriteRecord(const std::string& path, const TargetRecord& record);

// Of all that the bytes of an output depend on: version, model, settings, and
// the contents of importance matrix and calibration texts. Errors of reading
// these.
absl::StatusOr<std::string> TargetKey(const PlannedTarget& target,
                                      const Sha256Digest& model);
// Of all that a validation depends on.
absl::StatusOr<std::string> ValidationKey(const ReleaseValidation& validation,
                                          const std::string& target_key);

// The files of an output, a file or a folder, hashed; names relative to `out`.
// Its manifest is not one of them: it has times.
absl::Status RecordFiles(const std::string& out, const std::string& output,
                         TargetRecord* record);
// OK if all files of the record are there with their bytes, and no other file
// is in the output's folder. DataLoss names the first that is not.
absl::Status CheckFiles(const std::string& out, const std::string& output,
                        const TargetRecord& record);

}  // namespace narrow

#endif  // NARROW_CONVERTER_BATCH_TARGET_TARGET_RECORD_H_
