#include "converter/allocation/loss_table.h"

#include "formats/base/file.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

std::string Path() { return testing::TempDir() + "/losses.json"; }

LossTable Example() {
  LossTable table;
  table.fingerprint = 0xfedcba9876543210;
  table.tensors["blk.0.ffn_up.weight"] = {{QuantType::kQ4_K, 1.25e-7},
                                          {QuantType::kQ8_0, 0}};
  table.tensors["token_embd.weight"] = {{QuantType::kIQ4_NL, 0.1}};
  table.factors["one-shot"] = 0.75;
  return table;
}

TEST(LossTable, IsReadAsWritten) {
  const LossTable want = Example();
  ASSERT_TRUE(WriteLossTable(want, Path()).ok());
  const auto got = ReadLossTable(Path(), want.fingerprint);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->fingerprint, want.fingerprint);
  EXPECT_EQ(got->tensors, want.tensors);
  EXPECT_EQ(got->factors, want.factors);
  EXPECT_EQ(*got->Find("token_embd.weight", QuantType::kIQ4_NL), 0.1);
  EXPECT_EQ(got->Find("token_embd.weight", QuantType::kQ8_0), nullptr);
  EXPECT_EQ(got->Find("output.weight", QuantType::kQ8_0), nullptr);
}

TEST(LossTable, RefusesWhatIsNotIts) {
  EXPECT_TRUE(absl::IsNotFound(ReadLossTable("/nowhere", 1).status()));
  ASSERT_TRUE(WriteLossTable(Example(), Path()).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(ReadLossTable(Path(), 1).status()));
  for (const char* text :
       {"", "{}", "[1]", R"({"narrow_probe": 2})",
        R"({"narrow_probe": 1, "fingerprint": 1, "tensors": {}})",
        R"({"narrow_probe": 1, "fingerprint": "0000000000000001",
            "factors": {"plain": 0}, "tensors": {}})",
        R"({"narrow_probe": 1, "fingerprint": "0000000000000001"})",
        R"({"narrow_probe": 1, "fingerprint": "0000000000000001",
            "factors": {}, "tensors": {"a": {"q4_k": -1}}})",
        R"({"narrow_probe": 1, "fingerprint": "0000000000000001",
            "factors": {}, "tensors": {"a": {"q4_k": NaN}}})",
        R"({"narrow_probe": 1, "fingerprint": "0000000000000001",
            "factors": {}, "tensors": {"a": {"q4_kk": 1}}})",
        R"({"narrow_probe": 1, "fingerprint": "0000000000000001",
            "factors": {}, "tensors": {"a": 1}})"}) {
    ASSERT_TRUE(WriteTextFile(Path(), text).ok());
    const auto read = ReadLossTable(Path(), 1);
    EXPECT_TRUE(absl::IsDataLoss(read.status())) << text << read.status();
  }
}

}  // namespace
}  // namespace narrow
