// Manifests on the disk: beside a file, inside a directory, as protobuf for
// programs of ours and as JSON for all others.
//
//   ManifestPath("out/m.gguf");   // "out/m.gguf.manifest", + ".pb", ".json"
//   ManifestPath("out/model/");   // "out/model/narrow-manifest"
//   RETURN_IF_ERROR(WriteManifest(manifest, ManifestPath(output)));
//   ASSIGN_OR_RETURN(provenance::Manifest m, ReadManifest(path));
//
// Functions of their arguments and the file system.

#ifndef NARROW_CONVERTER_PROVENANCE_MANIFEST_H_
#define NARROW_CONVERTER_PROVENANCE_MANIFEST_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "converter/provenance/manifest.pb.h"

namespace narrow {

inline constexpr char kFolderManifest[] = "narrow-manifest";

// Without ".pb" or ".json". `output` is a directory, a file, or any shard of a
// split GGUF output, all of which have one manifest.
std::string ManifestPath(const std::string& output);
// In `folder`, whatever is there yet.
std::string FolderManifestPath(const std::string& folder);

// Both files; the .pb, which is what is read, appears last.
absl::Status WriteManifest(const provenance::Manifest& manifest,
                           const std::string& path);
// Removes both files, where they are there.
void RemoveManifest(const std::string& path);

// Checked: DataLoss for what does not parse, hashes that are none, names of
// files that lead out of the output's folder, repeated names; Unimplemented
// for a later format; NotFound: says how to get one.
absl::StatusOr<provenance::Manifest> ReadManifest(const std::string& path);

std::string ManifestJson(const provenance::Manifest& manifest);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PROVENANCE_MANIFEST_H_
