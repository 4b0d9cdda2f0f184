// A directory that appears under its name when it is complete, and what a
// stopped run keeps meanwhile.
//
//   ASSIGN_OR_RETURN(auto folder, OutputFolder::Create("out"));
//   RETURN_IF_ERROR(folder->BeginWork(fingerprint, /*restart=*/false));
//   ... files into folder->path(), finished pieces into folder->work_path()
//   RETURN_IF_ERROR(folder->Finish());            // "out" is there
//
// Until Finish all is in "out.partial": lock, output/, state/. Destruction
// without Finish removes it, unless KeepWork was called or state/ has work of
// a run before, which an error of this one (a text's name mistyped, a disk that
// fails) is no reason to lose; a killed process leaves it, and the next run
// goes on with state/ or, told so, discards it. Belongs to one thread.

#ifndef NARROW_CONVERTER_PACKED_OUTPUT_OUTPUT_FOLDER_H_
#define NARROW_CONVERTER_PACKED_OUTPUT_OUTPUT_FOLDER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

class OutputFolder {
 public:
  // `folder` must not exist or be empty: InvalidArgument, as for a
  // "<folder>.partial" with files that are not ours. AlreadyExists: another
  // process is at it.
  static absl::StatusOr<std::unique_ptr<OutputFolder>> Create(
      absl::string_view folder);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  // Says what the work is of: `fingerprint` is one line. If a run before has
  // left the work of another fingerprint, FailedPrecondition, or with
  // `restart` it is discarded; work of the same is gone on with, unless
  // `restart`.
  absl::Status BeginWork(absl::string_view fingerprint, bool restart);
  // A run with this fingerprint had finished but for the removal of its work:
  // there is nothing to do but Finish.
  bool complete() const { return complete_; }

  // Where the output's files go; empty at first.
  std::string path() const;
  // Where finished pieces are kept.
  std::string work_path() const;
  // `status`, with what to do about it if it is of damage of the work.
  absl::Status NameRestart(const absl::Status& status) const;

  // From now on an end without Finish leaves the work.
  void KeepWork() { keep_ = true; }
  bool keeps_work() const { return keep_; }
  // An end without Finish leaves nothing: what was made lies elsewhere.
  void DropWork() { keep_ = false; }
  // Flushes, renames, and removes the work.
  absl::Status Finish();

 private:
  OutputFolder(std::string target, int lock)
      : target_(std::move(target)), lock_(lock) {}
  std::string partial() const { return target_ + ".partial"; }
  absl::Status Clear(const std::string& folder) const;

  std::string target_;
  int lock_;
  bool target_is_full_ = false;  // left by a run killed in Finish
  bool complete_ = false;
  bool keep_ = false;
  bool finished_ = false;
};

// Whether the same command may succeed later, so that its work is worth
// keeping: it was stopped, or a disk or the machine failed it. Not so if what
// was asked or the input is at fault.
bool MayGoOn(const absl::Status& status);

// Whether an error is of what a run before has left, and goes away with
// `restart`: its message then says so to users.
bool GoesAwayWithRestart(const absl::Status& status);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PACKED_OUTPUT_OUTPUT_FOLDER_H_
