// Choices for a small model under losses that are made up.

#include "converter/allocation/allocate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

class AllocateTest : public testing::Test {
 protected:
  void SetUp() override {
    auto model = Checkpoint::Open("testdata/tiny-llama", {});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  void Find(const std::vector<QuantType>& types) {
    auto found = FindCandidates(*model_, recipe_, nullptr, types);
    ASSERT_TRUE(found.ok()) << found.status();
    candidates_ = *std::move(found);
    // Halves with every bit; values of layers matter most.
    for (const ProbeTensor& tensor : candidates_.tensors) {
      const std::string& name = tensor.planned->meta.name;
      for (const QuantType type : tensor.types) {
        table_.tensors[name][type] =
            (absl::StrContains(name, "attn_v") ? 40 : 1) *
            std::exp2(-2 * Geometry(type).bits_per_weight());
      }
    }
  }

  absl::StatusOr<Allocation> Choose(AllocationTarget target, double value,
                                    bool fuse = false) {
    AllocationRequest request;
    request.target = target;
    request.value = value;
    request.fuse_siblings = fuse;
    request.factor = 0.5;
    return Allocate(*model_, recipe_, nullptr, candidates_, table_, request);
  }

  std::unique_ptr<Checkpoint> model_;
  Recipe recipe_;
  Candidates candidates_;
  LossTable table_;
};

TEST_F(AllocateTest, OffersEveryMatrixTheLadder) {
  Find({});
  // 4 x (q, k, v, output, gate, up, down) and the embedding.
  ASSERT_EQ(candidates_.tensors.size(), 29u);
  for (const ProbeTensor& tensor : candidates_.tensors) {
    EXPECT_GE(tensor.types.size(), 7u) << tensor.planned->meta.name;
  }
}

TEST_F(AllocateTest, ReachesSizesAndBitsExactly) {
  Find({});
  for (const double value : {1500000.0, 1700000.0, 2000001.0, 3000000.0}) {
    const auto found = Choose(AllocationTarget::kFileBytes, value);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_LE(found->file_bytes, value);
    EXPECT_GT(found->file_bytes, 0.99 * value);
    // The plan of the recipe is of that size and these types.
    const auto plan = MakePlan(*model_, found->recipe, nullptr);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->file_bytes, found->file_bytes);
    double sum = 0;
    for (const AllocatedTensor& tensor : found->tensors) {
      const auto planned =
          std::find_if(plan->tensors.begin(), plan->tensors.end(),
                       [&](const PlannedTensor& other) {
                         return other.meta.name == tensor.name;
                       });
      ASSERT_NE(planned, plan->tensors.end());
      EXPECT_EQ(planned->meta.type, tensor.type) << tensor.name;
      EXPECT_EQ(planned->meta.n_bytes(), tensor.n_bytes) << tensor.name;
      EXPECT_EQ(tensor.loss, *table_.Find(tensor.name, tensor.type) / 2);
      sum += tensor.loss;
    }
    EXPECT_NEAR(found->divergence, sum, 1e-12);
  }
  for (const double value : {3.0, 4.25, 6.5}) {
    const auto found = Choose(AllocationTarget::kBitsPerWeight, value);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_LE(found->bits_per_weight, value);
    EXPECT_GT(found->bits_per_weight, value - 0.05);
  }
}

TEST_F(AllocateTest, MoreRoomLosesLess) {
  Find({});
  double last = 1e300;
  for (double bits = 2.7; bits < 8.4; bits += 0.3) {
    const auto found = Choose(AllocationTarget::kBitsPerWeight, bits);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_LT(found->divergence, last) << bits;
    last = found->divergence;
    // The smallest file with that loss is no larger.
    const auto back = Choose(AllocationTarget::kDivergence, last * (1 + 1e-9));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_LE(back->divergence, last * (1 + 1e-9));
    EXPECT_LE(back->bits_per_weight, found->bits_per_weight + 1e-9);
  }
}

TEST_F(AllocateTest, SaysTheLeastThatCanBeHad) {
  Find({QuantType::kQ4_K, QuantType::kQ6_K});
  const auto small = Choose(AllocationTarget::kFileBytes, 1000);
  EXPECT_TRUE(absl::IsInvalidArgument(small.status()));
  EXPECT_TRUE(absl::StrContains(small.status().message(), "the least is"))
      << small.status();
  EXPECT_TRUE(absl::StrContains(
      Choose(AllocationTarget::kBitsPerWeight, 4).status().message(),
      "the least is 4.5"));
  const auto good = Choose(AllocationTarget::kDivergence, 1e-12);
  EXPECT_TRUE(absl::StrContains(good.status().message(), "the least that"))
      << good.status();
  // More than the widest types take: those.
  const auto wide = Choose(AllocationTarget::kFileBytes, 1e12);
  ASSERT_TRUE(wide.ok()) << wide.status();
  for (const AllocatedTensor& tensor : wide->tensors) {
    EXPECT_EQ(tensor.type, QuantType::kQ6_K);
  }
}

TEST_F(AllocateTest, KeepsWhatTheRecipeFixes) {
  recipe_.overrides.push_back({"ffn_down", QuantType::kQ5_0});
  recipe_.embedding_type = QuantType::kQ8_0;
  Find({});
  const auto found = Choose(AllocationTarget::kBitsPerWeight, 5.5);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->tensors.size(), 29u);
  for (const AllocatedTensor& tensor : found->tensors) {
    if (absl::StrContains(tensor.name, "ffn_down")) {
      EXPECT_EQ(tensor.type, QuantType::kQ5_0);
    } else if (tensor.name == "token_embd.weight") {
      EXPECT_EQ(tensor.type, QuantType::kQ8_0);
    }
  }
}

TEST_F(AllocateTest, SaysWhyThereIsNothingToChoose) {
  const absl::Status one =
      FindCandidates(*model_, recipe_, nullptr, {QuantType::kQ4_K}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(one));
  EXPECT_TRUE(absl::StrContains(one.message(), "one type alone is allowed"))
      << one;
  recipe_.overrides.push_back({".", QuantType::kQ4_0});
  const absl::Status fixed =
      FindCandidates(*model_, recipe_, nullptr, {}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(fixed));
  EXPECT_TRUE(absl::StrContains(fixed.message(), "type is fixed")) << fixed;
}

TEST_F(AllocateTest, FusesSiblingsWhenAsked) {
  Find({});
  const auto apart = Choose(AllocationTarget::kBitsPerWeight, 4.3);
  const auto fused = Choose(AllocationTarget::kBitsPerWeight, 4.3, true);
  ASSERT_TRUE(apart.ok() && fused.ok());
  EXPECT_GE(fused->divergence, apart->divergence);
  const auto type = [](const Allocation& a, const std::string& name) {
    for (const AllocatedTensor& tensor : a.tensors) {
      if (tensor.name == name) {
        return tensor.type;
      }
    }
    return QuantType::kF32;
  };
  EXPECT_NE(type(*apart, "blk.1.attn_q.weight"),
            type(*apart, "blk.1.attn_v.weight"));
  for (const char* block : {"blk.0.", "blk.3."}) {
    const std::string b = block;
    EXPECT_EQ(type(*fused, b + "attn_q.weight"),
              type(*fused, b + "attn_v.weight"));
    EXPECT_EQ(type(*fused, b + "attn_q.weight"),
              type(*fused, b + "attn_k.weight"));
    EXPECT_EQ(type(*fused, b + "ffn_gate.weight"),
              type(*fused, b + "ffn_up.weight"));
  }
}

// A tensor without losses gets the widest type, and says so.
TEST_F(AllocateTest, TakesTheWidestWhereNothingIsKnown) {
  Find({});
  table_.tensors.erase("blk.2.ffn_up.weight");
  const auto found = Choose(AllocationTarget::kBitsPerWeight, 4);
  ASSERT_TRUE(found.ok()) << found.status();
  for (const AllocatedTensor& tensor : found->tensors) {
    EXPECT_EQ(tensor.probed, tensor.name != "blk.2.ffn_up.weight");
    if (!tensor.probed) {
      EXPECT_EQ(tensor.type, QuantType::kQ8_0);
    }
  }
}

TEST(RecipeText, GroupsBlocksOfAKind) {
  const auto tensor = [](const char* name, QuantType type) {
    AllocatedTensor t;
    t.name = name;
    t.type = type;
    return t;
  };
  EXPECT_EQ(RecipeText({tensor("token_embd.weight", QuantType::kQ6_K),
                        tensor("blk.0.ffn_up.weight", QuantType::kQ4_K),
                        tensor("blk.1.ffn_up.weight", QuantType::kQ3_K),
                        tensor("blk.12.ffn_up.weight", QuantType::kQ4_K),
                        tensor("odd name=+.w", QuantType::kQ8_0)}),
            "^token_embd\\.weight$=q6_k\n"
            "^blk\\.(0|12)\\.ffn_up\\.weight$=q4_k\n"
            "^blk\\.(1)\\.ffn_up\\.weight$=q3_k\n"
            "^odd.name..\\.w$=q8_0\n");
}

}  // namespace
}  // namespace narrow
