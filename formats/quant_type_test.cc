#include "formats/quant_type.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace narrow {
namespace {

TEST(QuantTypeTest, RowsAreFoundByEveryNameAndNumber) {
  std::set<std::string> names;
  for (const TypeGeometry& row : AllTypes()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(&Geometry(row.type), &row);
    EXPECT_EQ(TypeFromName(row.name), row.type);
    if (row.ggml_id >= 0) {
      EXPECT_EQ(TypeFromGgmlId(row.ggml_id), row.type);
      EXPECT_EQ(TypeFromName(row.ggml_name), row.type);
    }
    if (*row.safetensors_dtype != '\0') {
      EXPECT_EQ(TypeFromSafetensorsDtype(row.safetensors_dtype), row.type);
    }
  }
}

TEST(QuantTypeTest, RetiredNumbersAreUnknown) {
  for (const int id : {-1, 4, 5, 31, 32, 33, 36, 37, 38, 43, 1000}) {
    EXPECT_EQ(TypeFromGgmlId(id), std::nullopt) << id;
  }
  EXPECT_EQ(TypeFromName(""), std::nullopt);
  EXPECT_EQ(TypeFromSafetensorsDtype(""), std::nullopt);
}

TEST(QuantTypeTest, TensorBytesCountsBlocksAndRefusesRaggedRows) {
  EXPECT_EQ(*TensorBytes(QuantType::kQ4_K, {3, 512}), 3 * 2 * 144);
  EXPECT_EQ(*TensorBytes(QuantType::kF32, {}), 4);
  EXPECT_EQ(*TensorBytes(QuantType::kF32, {0, 7}), 0);
  EXPECT_FALSE(TensorBytes(QuantType::kQ4_K, {512, 3}).ok());
  EXPECT_FALSE(TensorBytes(QuantType::kF32, {-1}).ok());
}

TEST(QuantTypeTest, SizesThatOverflowAreRefused) {
  const int64_t big = int64_t{1} << 40;
  EXPECT_FALSE(TensorBytes(QuantType::kF32, {big, big}).ok());
  EXPECT_FALSE(TensorBytes(QuantType::kF64, {big, 1 << 22}).ok());
  EXPECT_FALSE(NumElements({big, big, 0}).ok());
}

}  // namespace
}  // namespace narrow
