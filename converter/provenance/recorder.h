// Makes the manifests of a run: hashes its inputs while it works, and its
// outputs when they are there.
//
//   auto recorder = ProvenanceRecorder::Begin(request);
//   … the work …
//   RETURN_IF_ERROR(recorder->WriteBeside("out/m.gguf", {}));
//
// The inputs are hashed on a thread of their own from Begin on, so that their
// bytes, which the work reads too, come from the disk once. Belongs to one
// thread; the end of it stops the hashing.

#ifndef NARROW_CONVERTER_PROVENANCE_RECORDER_H_
#define NARROW_CONVERTER_PROVENANCE_RECORDER_H_

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "converter/provenance/manifest.pb.h"

namespace narrow {

struct ProvenanceRequest {
  bool on = true;
  std::string command;
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> recipe;
  // Models and files by what named them: {"original", path}.
  std::vector<std::pair<std::string, std::string>> models;
  std::vector<std::pair<std::string, std::string>> files;
  // Instead of `models`: inputs that are hashed already.
  std::vector<provenance::Model> hashed;
  std::vector<provenance::UsedFile> used;  // likewise, of `files`
  int64_t n_parts = 0;
  int n_threads = 0;
};

using Measurements = std::vector<provenance::Measurement>;

class ProvenanceRecorder {
 public:
  static std::unique_ptr<ProvenanceRecorder> Begin(ProvenanceRequest request);
  ~ProvenanceRecorder();
  ProvenanceRecorder(const ProvenanceRecorder&) = delete;
  ProvenanceRecorder& operator=(const ProvenanceRecorder&) = delete;

  // The manifest of an output that is complete: a file, or any shard of a
  // split one. If the request is off, one that is there from before goes.
  absl::Status WriteBeside(const std::string& output,
                           const Measurements& measured);
  // Of a directory that is complete but for its name, into it; `name` is what
  // it will be called.
  absl::Status WriteInto(const std::string& folder, const std::string& name,
                         const Measurements& measured);
  // From now on the command has these arguments: of several outputs, each is
  // made by arguments of its own.
  void set_arguments(std::vector<std::string> arguments) {
    request_.arguments = std::move(arguments);
  }
  // From now on outputs are made by another command; its models, which are
  // those of Begin, are not looked at.
  void set_command(const ProvenanceRequest& request);

 private:
  using Models = absl::StatusOr<std::vector<provenance::Model>>;

  ProvenanceRecorder() = default;
  Models HashInputs() const;
  absl::StatusOr<provenance::Manifest> MakeManifest(
      const std::string& output, const std::string& name,
      const Measurements& measured);

  ProvenanceRequest request_;
  std::atomic<bool> cancelled_{false};
  std::future<Models> hashing_;
  absl::Status hashed_;  // what the hashing came to
  std::vector<provenance::Model> inputs_;
  bool has_inputs_ = false;
  std::chrono::steady_clock::time_point start_;
  std::string started_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_PROVENANCE_RECORDER_H_
