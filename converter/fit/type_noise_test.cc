#include "converter/fit/type_noise.h"

#include <gtest/gtest.h>

#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// Budgets are of other normal weights and without importance: a tenth more.
TEST(NoiseOfType, StaysWithinTheBudgetOfEveryType) {
  for (const BlockCodec* codec : AllCodecs()) {
    SCOPED_TRACE(TypeName(codec->type));
    const auto noise = NoiseOfType(codec->type);
    ASSERT_TRUE(noise.ok()) << noise.status();
    EXPECT_LE(*noise, 1.1 * codec->error_budget * codec->error_budget);
  }
}

// The order that published divergences have (Llama-3-8B, docs/measurements).
TEST(NoiseOfType, FallsWithTheBits) {
  constexpr QuantType kTypes[] = {
      QuantType::kF16,    QuantType::kQ8_0,    QuantType::kQ6_K,
      QuantType::kQ5_K,   QuantType::kQ4_K,    QuantType::kIQ4_XS,
      QuantType::kQ3_K,   QuantType::kIQ3_XXS, QuantType::kIQ2_S,
      QuantType::kIQ2_XS, QuantType::kIQ2_XXS, QuantType::kIQ1_M,
      QuantType::kIQ1_S};
  double before = 0;
  for (const QuantType type : kTypes) {
    SCOPED_TRACE(TypeName(type));
    const auto noise = NoiseOfType(type);
    ASSERT_TRUE(noise.ok());
    EXPECT_GT(*noise, before);
    before = *noise;
  }
}

TEST(NoiseOfScheme, MeasuresEveryMethod) {
  for (const Method& method : AllMethods()) {
    SCOPED_TRACE(method.name);
    const auto scheme =
        SchemeOf(method, LayerRule(), method.packing, QuantType::kBF16);
    ASSERT_TRUE(scheme.ok()) << scheme.status();
    const auto noise = NoiseOfScheme(method, *scheme);
    ASSERT_TRUE(noise.ok()) << noise.status();
    // Between what 9 and what 3 uniform bits over +-4 deviations lose.
    EXPECT_GT(*noise, 64.0 / (512 * 512) / 12);
    EXPECT_LT(*noise, 64.0 / (8 * 8) / 12);
  }
}

}  // namespace
}  // namespace narrow
