// Manifests that anyone may have written.

#include "converter/provenance/manifest.h"

#include <functional>
#include <string>

#include "absl/strings/match.h"
#include "formats/base/file.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr char kHash[] =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

provenance::Manifest Good() {
  provenance::Manifest manifest;
  manifest.set_format(1);
  manifest.set_command("convert");
  provenance::Model* output = manifest.mutable_output();
  output->set_sha256(kHash);
  provenance::Tensor* tensor = output->add_tensors();
  tensor->set_name("a.weight");
  tensor->set_type("q8_0");
  tensor->add_shape(4);
  tensor->add_shape(64);
  tensor->set_sha256(kHash);
  provenance::File* file = output->add_files();
  file->set_name("sub/m.gguf");
  file->set_sha256(kHash);
  return manifest;
}

absl::Status Read(const provenance::Manifest& manifest) {
  const std::string path = JoinPath(::testing::TempDir(), "m.manifest");
  EXPECT_TRUE(WriteManifest(manifest, path).ok());
  return ReadManifest(path).status();
}

TEST(ManifestTest, ComesBack) {
  EXPECT_TRUE(Read(Good()).ok()) << Read(Good());
  EXPECT_TRUE(absl::StrContains(ManifestJson(Good()), "\"a.weight\""));
}

TEST(ManifestTest, HostileOnesAreRefused) {
  using Change = std::function<void(provenance::Manifest*)>;
  for (const Change& change : std::vector<Change>{
           [](auto* m) { m->set_format(2); }, [](auto* m) { m->set_format(0); },
           [](auto* m) { m->clear_output(); },
           [](auto* m) { m->mutable_output()->set_sha256("x"); },
           [](auto* m) {
             m->mutable_output()->mutable_files(0)->set_name("../m.gguf");
           },
           [](auto* m) {
             m->mutable_output()->mutable_files(0)->set_name("/etc/passwd");
           },
           [](auto* m) {
             m->mutable_output()->mutable_files(0)->set_name("a//b");
           },
           [](auto* m) {
             *m->mutable_output()->add_files() = m->output().files(0);
           },
           [](auto* m) {
             *m->mutable_output()->add_tensors() = m->output().tensors(0);
           },
           [](auto* m) {
             m->mutable_output()->mutable_tensors(0)->set_type("q99");
           },
           [](auto* m) {
             m->mutable_output()->mutable_tensors(0)->set_shape(1, -64);
           },
           [](auto* m) {
             m->mutable_output()->mutable_tensors(0)->set_shape(
                 0, int64_t{1} << 62);
           },
           [](auto* m) { m->add_used()->set_sha256("00"); },
           [](auto* m) { m->add_inputs(); }}) {
    provenance::Manifest manifest = Good();
    change(&manifest);
    EXPECT_FALSE(Read(manifest).ok()) << manifest.ShortDebugString();
  }
}

TEST(ManifestTest, PathsAreBesideFilesAndInDirectories) {
  EXPECT_EQ(ManifestPath("out/m.gguf"), "out/m.gguf.manifest");
  EXPECT_EQ(ManifestPath("m-00002-of-00003.gguf"), "m.gguf.manifest");
  EXPECT_EQ(ManifestPath(::testing::TempDir()),
            JoinPath(::testing::TempDir(), "narrow-manifest"));
}

}  // namespace
}  // namespace narrow
