#include "converter/quantize/work_store.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"
#include "formats/base/file.h"

namespace narrow {
namespace {

class WorkStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    BlockOutput block;
    block.tensors = {
        {{"a.qweight", QuantType::kU8, {4, 8}}, std::vector<uint8_t>(32, 7)},
        {{"a.scales", QuantType::kU8, {8}}, std::vector<uint8_t>(8, 9)}};
    block.reports.resize(1);
    block.reports[0].name = "a.weight";
    block.reports[0].relative_error = 0.25;
    ASSERT_TRUE(store_.Save(0, block).ok());
  }
  std::string path() const {
    return JoinPath(testing::TempDir(), "block-00000.safetensors");
  }

  WorkStore store_{testing::TempDir()};
};

TEST_F(WorkStoreTest, ReadsWhatWasSaved) {
  ASSERT_TRUE(store_.Load(1).ok());
  const TensorView* view = store_.Find("a.scales");
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(view->data, std::vector<uint8_t>(8, 9));
  EXPECT_EQ(view->meta.shape, std::vector<int64_t>{8});
  ASSERT_EQ(store_.reports().size(), 1);
  EXPECT_EQ(store_.reports()[0].relative_error, 0.25);
}

// A tensor that is only rewritten (a norm) has no other check; and a message
// names the file, not the output that would have been made of it.
TEST_F(WorkStoreTest, AnyByteChangedIsFound) {
  const auto text = ReadTextFile(path(), 1 << 20);
  ASSERT_TRUE(text.ok());
  for (size_t i = 0; i < text->size(); ++i) {
    std::string damaged = *text;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    ASSERT_TRUE(WriteTextFile(path(), damaged).ok());
    WorkStore store(testing::TempDir());
    const absl::Status status = store.Load(1);
    if (status.ok()) {  // a name, of which nothing is asked for then
      EXPECT_TRUE(store.Find("a.qweight") == nullptr ||
                  store.Find("a.scales") == nullptr)
          << "byte " << i;
      continue;
    }
    EXPECT_TRUE(absl::StrContains(status.message(), "block-00000.safetensors"))
        << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "--restart")) << status;
  }
}

TEST_F(WorkStoreTest, AMissingBlockNamesTheWayOut) {
  const absl::Status status = store_.Load(2);
  EXPECT_TRUE(absl::StrContains(status.message(), "block-00001.safetensors"));
  EXPECT_TRUE(absl::StrContains(status.message(), "--restart")) << status;
}

}  // namespace
}  // namespace narrow
