#include "converter/quantize/block/layer_moments.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "formats/base/parallel.h"

namespace narrow {
namespace {

constexpr char kQuery[] = "blk.0.attn_q.weight";

ModelLinear Linear(const char* name, int64_t n_rows) {
  ModelLinear linear;
  linear.gguf_name = name;
  linear.n_rows = n_rows;
  return linear;
}

class LayerMomentsTest : public testing::Test {
 protected:
  void Open(const char* folder) {
    CheckpointOptions options;
    options.skip_tokenizer = true;
    auto model = Checkpoint::Open(folder, options);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    n_rows_ = model_->Find(kQuery)->meta.n_rows();
    auto moments = OutputMoments::Create("");
    ASSERT_TRUE(moments.ok()) << moments.status();
    moments_ = *std::move(moments);
    // One token, whose gradient at output i is i + 1.
    std::vector<float> row;
    for (int64_t i = 0; i < n_rows_; ++i) {
      row.push_back(static_cast<float>(i + 1));
    }
    ThreadPool pool(1);
    ASSERT_TRUE(moments_->Add(kQuery, -1, row.data(), 1, n_rows_, &pool).ok());
    ASSERT_TRUE(moments_->Flush().ok());
  }

  // What each of the checkpoint's rows is the gradient of, from the diagonal
  // and one row of the products.
  std::vector<double> Gradients() const {
    const LayerMoments moments(moments_.get(), model_.get());
    const auto h = moments.Read(Linear(kQuery, n_rows_));
    EXPECT_TRUE(h.ok()) << h.status();
    std::vector<double> gradients;
    for (int64_t j = 0; j < n_rows_; ++j) {
      gradients.push_back(
          (*h)[static_cast<size_t>(j)]);  // of row 0, which is 1
    }
    return gradients;
  }

  std::unique_ptr<Checkpoint> model_;
  std::unique_ptr<OutputMoments> moments_;
  int64_t n_rows_ = 0;
};

// GGUF's query has rows 0, d/2, 1, d/2 + 1 ... of a head of d.
TEST_F(LayerMomentsTest, RowsOfInterleavedHeadsGoBackToTheirPlaces) {
  Open("testdata/arch/llama3");
  const int64_t d = model_->config().head_dim;
  std::vector<double> expected(static_cast<size_t>(n_rows_));
  for (int64_t head = 0; head < n_rows_; head += d) {
    for (int64_t i = 0; i < d; ++i) {
      expected[static_cast<size_t>(head + i / 2 + i % 2 * (d / 2))] =
          static_cast<double>(head + i + 1);
    }
  }
  EXPECT_EQ(Gradients(), expected);
}

TEST_F(LayerMomentsTest, OtherFamiliesHaveOneOrder) {
  Open("testdata/arch/qwen3");
  std::vector<double> expected;
  for (int64_t i = 0; i < n_rows_; ++i) {
    expected.push_back(static_cast<double>(i + 1));
  }
  EXPECT_EQ(Gradients(), expected);
}

TEST_F(LayerMomentsTest, LayersWithoutMomentsHaveNone) {
  Open("testdata/arch/llama3");
  const LayerMoments moments(moments_.get(), model_.get());
  const auto other = moments.Read(Linear("blk.0.attn_k.weight", 8));
  ASSERT_TRUE(other.ok());
  EXPECT_TRUE(other->empty());
  const LayerMoments none(nullptr, model_.get());
  const auto nothing = none.Read(Linear(kQuery, n_rows_));
  ASSERT_TRUE(nothing.ok());
  EXPECT_TRUE(nothing->empty());
}

}  // namespace
}  // namespace narrow
