#include "converter/provenance/recorder.h"

#include "converter/provenance/digest_files.h"
#include "converter/provenance/machine.h"
#include "converter/provenance/manifest.h"
#include "converter/version.h"
#include "formats/base/hash/sha256.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"

namespace narrow {

std::unique_ptr<ProvenanceRecorder> ProvenanceRecorder::Begin(
    ProvenanceRequest request) {
  std::unique_ptr<ProvenanceRecorder> recorder(new ProvenanceRecorder());
  recorder->request_ = std::move(request);
  recorder->start_ = std::chrono::steady_clock::now();
  recorder->started_ = UtcNow();
  if (recorder->request_.on && !recorder->request_.models.empty()) {
    recorder->hashing_ =
        std::async(std::launch::async,
                   [self = recorder.get()] { return self->HashInputs(); });
  }
  return recorder;
}

ProvenanceRecorder::~ProvenanceRecorder() {
  cancelled_ = true;
  if (hashing_.valid()) {
    hashing_.wait();
  }
}

ProvenanceRecorder::Models ProvenanceRecorder::HashInputs() const {
  std::vector<provenance::Model> models;
  for (const auto& [role, path] : request_.models) {
    // Beside the work, which has the other processors.
    auto model = role == "original"
                     ? DigestModelFiles(role, path, false, 2, &cancelled_)
                     : DigestFolder(role, path);
    RETURN_IF_ERROR(model.status());
    models.push_back(*std::move(model));
  }
  return models;
}

void ProvenanceRecorder::set_command(const ProvenanceRequest& request) {
  request_.command = request.command;
  request_.arguments = request.arguments;
  request_.recipe = request.recipe;
  request_.files = request.files;
}

absl::StatusOr<provenance::Manifest> ProvenanceRecorder::MakeManifest(
    const std::string& output, const std::string& name,
    const Measurements& measured) {
  if (!has_inputs_) {
    if (hashing_.valid()) {
      auto inputs = hashing_.get();
      hashed_ = inputs.status();
      if (inputs.ok()) {
        inputs_ = *std::move(inputs);
      }
    }
    RETURN_IF_ERROR(hashed_);
    for (provenance::Model& model : request_.hashed) {
      inputs_.push_back(std::move(model));
    }
    has_inputs_ = true;
  }
  provenance::Manifest manifest;
  manifest.set_format(1);
  manifest.set_version(kNarrowVersion);
  manifest.set_build(ThisBuild());
  manifest.set_command(request_.command);
  for (const std::string& argument : request_.arguments) {
    manifest.add_arguments(argument);
  }
  for (const auto& [setting, value] : request_.recipe) {
    provenance::Setting* row = manifest.add_recipe();
    row->set_name(setting);
    row->set_value(value);
  }
  for (const provenance::Model& model : inputs_) {
    *manifest.add_inputs() = model;
  }
  for (const provenance::UsedFile& file : request_.used) {
    *manifest.add_used() = file;
  }
  for (const auto& [option, path] : request_.files) {
    ASSIGN_OR_RETURN(const FileDigest digest, DigestFile(path));
    provenance::UsedFile* file = manifest.add_used();
    file->set_option(option);
    file->set_path(path);
    file->set_n_bytes(digest.n_bytes);
    file->set_sha256(digest.sha256.Hex());
  }
  ASSIGN_OR_RETURN(
      *manifest.mutable_output(),
      DigestModelFiles("output", output, true, request_.n_threads, nullptr));
  manifest.mutable_output()->set_path(name);
  for (const provenance::Measurement& row : measured) {
    *manifest.add_measured() = row;
  }
  *manifest.mutable_machine() = ThisMachine();
  manifest.set_started(started_);
  manifest.set_seconds(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_)
          .count());
  manifest.set_n_threads(request_.n_threads < 1 ? NumProcessors()
                                                : request_.n_threads);
  manifest.set_n_parts(request_.n_parts);
  return manifest;
}

absl::Status ProvenanceRecorder::WriteBeside(const std::string& output,
                                             const Measurements& measured) {
  const std::string path = ManifestPath(output);
  RemoveManifest(path);
  if (!request_.on) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const provenance::Manifest manifest,
                   MakeManifest(output, output, measured));
  return WriteManifest(manifest, path);
}

absl::Status ProvenanceRecorder::WriteInto(const std::string& folder,
                                           const std::string& name,
                                           const Measurements& measured) {
  if (!request_.on) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const provenance::Manifest manifest,
                   MakeManifest(folder, name, measured));
  return WriteManifest(manifest, FolderManifestPath(folder));
}

}  // namespace narrow
