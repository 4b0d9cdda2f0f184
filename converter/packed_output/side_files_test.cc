#include "converter/packed_output/side_files.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "formats/base/file.h"

namespace narrow {
namespace {

TEST(SideFiles, AreWhatIsNeitherWeightsNorWrittenAnew) {
  const std::string root = testing::TempDir() + "/side_files";
  std::filesystem::remove_all(root);
  for (const char* name : {"config.json",
                           "README.md",
                           "tokenizer.json",
                           "tokenizer.model",
                           "chat_template.jinja",
                           "LICENSE",
                           ".gitattributes",
                           "modules.json",
                           "model.safetensors",
                           "pytorch_model.bin",
                           "model-q4.GGUF",
                           "model.safetensors.index.json",
                           "quantize_config.json",
                           "1_Pooling/config.json",
                           "2_Dense/config.json",
                           "2_Dense/model.safetensors",
                           "onnx/model.json",
                           "another/config.json",
                           "another/model.safetensors",
                           "assets/vocab.txt"}) {
    const std::string path = JoinPath(root, name);
    ASSERT_TRUE(WriteTextFile(path, name == std::string("modules.json")
                                        ? "[{\"path\": \"2_Dense\"}]"
                                        : name)
                    .ok());
  }
  const auto names = ListSideFiles(root);
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_EQ(*names, (std::vector<std::string>{
                        "1_Pooling/config.json", "2_Dense/config.json",
                        "2_Dense/model.safetensors", "LICENSE",
                        "assets/vocab.txt", "chat_template.jinja",
                        "modules.json", "tokenizer.json", "tokenizer.model"}));
  const std::string to = root + "_copy";
  std::filesystem::remove_all(to);
  ASSERT_TRUE(CopySideFiles(root, *names, to).ok());
  const auto text = ReadTextFile(to + "/2_Dense/model.safetensors", 100);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "2_Dense/model.safetensors");
  EXPECT_FALSE(ListSideFiles(root + "/none").ok());
}

}  // namespace
}  // namespace narrow
