#include "calibration/weights/weights.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/overlay_source.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr const char* kFolders[] = {
    "testdata/arch/llama3",      // interleaved heads, bf16
    "testdata/arch/mixtral",     // stacked experts
    "testdata/arch/phi3",        // halves of a matrix
    "testdata/arch/gemma3_text"  // norms with an offset
};

CheckpointOptions Options(const std::string& intermediate) {
  CheckpointOptions options;
  options.intermediate = intermediate;
  options.skip_tokenizer = true;
  return options;
}

// Every tensor that has rows of its own is shown through `rows`.
std::unique_ptr<TensorSource> OverlayAll(std::unique_ptr<TensorSource> inner) {
  std::vector<std::string> names;
  for (const TensorView& view : inner->tensors()) {
    names.push_back(view.meta.name);
  }
  return std::make_unique<OverlaySource>(std::move(inner), names);
}

class WeightsTest : public testing::TestWithParam<const char*> {};

TEST_P(WeightsTest, DecodedRowsAreThoseOfTheBytes) {
  for (const char* intermediate : {"exact", "f16", "bf16"}) {
    CheckpointOptions options = Options(intermediate);
    const auto plain = Checkpoint::Open(GetParam(), options);
    ASSERT_TRUE(plain.ok()) << plain.status();
    options.wrap_source = OverlayAll;
    const auto wrapped = Checkpoint::Open(GetParam(), options);
    ASSERT_TRUE(wrapped.ok()) << wrapped.status();
    int n_decoded = 0;
    for (const CheckpointTensor& tensor : (*plain)->tensors()) {
      const CheckpointTensor* other = (*wrapped)->Find(tensor.meta.name);
      ASSERT_NE(other, nullptr);
      n_decoded += (*wrapped)->HasBytes(*other) ? 0 : 1;
      const int64_t n_rows = tensor.meta.n_rows();
      const int64_t n_cols = tensor.meta.n_cols();
      for (const int64_t first : {int64_t{0}, n_rows / 3, n_rows - 1}) {
        for (const int64_t n : {int64_t{1}, int64_t{37}, n_rows}) {
          const int64_t n_part = std::min(n, n_rows - first);
          std::vector<float> a(static_cast<size_t>(n_part * n_cols));
          std::vector<float> b(a.size(), -1.0f);
          ASSERT_TRUE(ReadRows(**plain, tensor, first, n_part, a.data()).ok());
          ASSERT_TRUE(
              ReadRows(**wrapped, *other, first, n_part, b.data()).ok());
          ASSERT_EQ(a, b) << tensor.meta.name << " rows " << first << " + "
                          << n_part;
          (*wrapped)->Release(*other, first, n_part);
        }
      }
    }
    EXPECT_GT(n_decoded, 4);
  }
}

TEST_P(WeightsTest, ReplacedRowsComeThrough) {
  OverlaySource* overlay = nullptr;
  CheckpointOptions options = Options("exact");
  options.wrap_source = [&overlay](std::unique_ptr<TensorSource> inner) {
    std::unique_ptr<TensorSource> wrapped = OverlayAll(std::move(inner));
    overlay = static_cast<OverlaySource*>(wrapped.get());
    return wrapped;
  };
  const auto model = Checkpoint::Open(GetParam(), options);
  ASSERT_TRUE(model.ok()) << model.status();
  for (const TensorView& view : overlay->tensors()) {
    if (view.rows != nullptr) {
      ASSERT_TRUE(
          overlay
              ->Replace(view.meta.name,
                        std::vector<float>(
                            static_cast<size_t>(view.meta.n_elements()), 0.75f))
              .ok());
    }
  }
  for (const CheckpointTensor& tensor : (*model)->tensors()) {
    if (!(*model)->HasBytes(tensor)) {
      std::vector<float> values(static_cast<size_t>(tensor.meta.n_elements()));
      ASSERT_TRUE(
          ReadRows(**model, tensor, 0, tensor.meta.n_rows(), values.data())
              .ok());
      EXPECT_EQ(values, std::vector<float>(values.size(), 0.75f))
          << tensor.meta.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, WeightsTest, testing::ValuesIn(kFolders));

}  // namespace
}  // namespace narrow
