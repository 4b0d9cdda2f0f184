#include "formats/overlay_source.h"

#include <cstring>
#include <memory>
#include <vector>

#include "formats/arch/fake_source.h"
#include "formats/base/float16.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

class OverlaySourceTest : public testing::Test {
 protected:
  OverlaySourceTest() {
    auto inner = std::make_unique<FakeSource>();
    inner->Add("a.weight", QuantType::kBF16, {3, 4});
    inner->Add("b.weight", QuantType::kF16, {2, 2});
    inner->Add("norm.weight", QuantType::kF32, {4});
    inner_ = inner.get();
    overlay_ = std::make_unique<OverlaySource>(
        std::move(inner),
        std::vector<std::string>{"a.weight", "norm.weight", "none"});
  }

  std::vector<float> Rows(absl::string_view name, int64_t first, int64_t n) {
    const TensorView* view = overlay_->Find(name);
    std::vector<float> out(static_cast<size_t>(n * view->meta.n_cols()));
    EXPECT_TRUE(view->rows->ReadRows(first, n, out.data()).ok());
    return out;
  }

  FakeSource* inner_;
  std::unique_ptr<OverlaySource> overlay_;
};

TEST_F(OverlaySourceTest, ShowsTheInnerValuesUntilReplacedAndAfter) {
  std::vector<float> stored;
  const TensorView* inner = inner_->Find("a.weight");
  for (size_t i = 4; i < 12; ++i) {
    uint16_t bits;
    std::memcpy(&bits, inner->data.data() + 2 * i, 2);
    stored.push_back(FloatFromBf16(bits));
  }
  const TensorView* shown = overlay_->Find("a.weight");
  EXPECT_EQ(shown->meta.type, QuantType::kF32);
  EXPECT_EQ(shown->meta.shape, inner->meta.shape);
  EXPECT_TRUE(shown->data.empty());
  EXPECT_EQ(Rows("a.weight", 1, 2), stored);

  std::vector<float> values(12);
  for (size_t i = 0; i < 12; ++i) {
    values[i] = static_cast<float>(i);
  }
  ASSERT_TRUE(overlay_->Replace("a.weight", values).ok());
  EXPECT_EQ(Rows("a.weight", 1, 1), (std::vector<float>{4, 5, 6, 7}));
  overlay_->ShowOriginals(true);
  EXPECT_EQ(Rows("a.weight", 1, 2), stored);
  overlay_->ShowOriginals(false);
  EXPECT_EQ(Rows("a.weight", 1, 1), (std::vector<float>{4, 5, 6, 7}));
  overlay_->Restore("a.weight");
  EXPECT_EQ(Rows("a.weight", 1, 2), stored);
}

TEST_F(OverlaySourceTest, LeavesTheOthersAlone) {
  EXPECT_EQ(overlay_->tensors().size(), 3);
  for (const char* name : {"b.weight", "norm.weight"}) {
    EXPECT_EQ(overlay_->Find(name)->rows, nullptr);
    EXPECT_EQ(overlay_->Find(name)->data.data(),
              inner_->Find(name)->data.data());
    EXPECT_EQ(overlay_->Replace(name, {1, 2, 3, 4}).code(),
              absl::StatusCode::kNotFound);
  }
  EXPECT_EQ(overlay_->Find("none"), nullptr);
}

TEST_F(OverlaySourceTest, RefusesAnotherSize) {
  const absl::Status status = overlay_->Replace("a.weight", {1, 2, 3});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("has 12 elements, its replacement 3"),
            absl::string_view::npos)
      << status;
}

}  // namespace
}  // namespace narrow
