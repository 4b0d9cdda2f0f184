#include "converter/gguf/metadata_overrides.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

Metadata Keys() {
  Metadata metadata;
  metadata.Set("u8", uint8_t{1});
  metadata.Set("i8", int8_t{1});
  metadata.Set("u32", uint32_t{1});
  metadata.Set("i32", int32_t{1});
  metadata.Set("u64", uint64_t{1});
  metadata.Set("f32", float{1});
  metadata.Set("f64", double{1});
  metadata.Set("flag", true);
  metadata.Set("text", std::string("old"));
  metadata.Set("heads", std::vector<int32_t>{8, 8});
  metadata.Set("slides", std::vector<bool>{true, false});
  metadata.Set("words", std::vector<std::string>{"a"});
  return metadata;
}

// The value that `text` leaves under its key, or the error.
absl::StatusOr<MetadataValue> After(const std::string& text) {
  auto row = ParseMetadataOverride(text);
  if (!row.ok()) {
    return row.status();
  }
  Metadata metadata = Keys();
  const absl::Status status =
      ApplyOverride(*row, OverridePlace::kSame, &metadata);
  if (!status.ok()) {
    EXPECT_EQ(metadata.entries(), Keys().entries()) << "changed by an error";
    return status;
  }
  return *metadata.Find(row->key);
}

template <typename T>
void ExpectAfter(const std::string& text, const T& value) {
  const auto after = After(text);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(*after, MetadataValue(value)) << text;
}

void ExpectRefused(const std::string& text, const std::string& words) {
  const auto after = After(text);
  EXPECT_EQ(after.status().code(), absl::StatusCode::kInvalidArgument) << text;
  EXPECT_THAT(after.status().message(), HasSubstr(words)) << text;
}

TEST(MetadataOverridesTest, AValueHasTheTypeOfItsKey) {
  ExpectAfter("u8=int:255", uint8_t{255});
  ExpectAfter("i8=int:-128", int8_t{-128});
  ExpectAfter("u32=int:4294967295", uint32_t{4294967295});
  ExpectAfter("i32=int:-7", int32_t{-7});
  ExpectAfter("u64=int:18446744073709551615", uint64_t{18446744073709551615u});
  ExpectAfter("f32=float:0.1", 0.1f);
  ExpectAfter("f32=float:-1e-3", -1e-3f);
  ExpectAfter("f64=float:0.1", 0.1);
  ExpectAfter("flag=bool:false", false);
  ExpectAfter("text=str:", std::string());
  ExpectAfter("text=str:a=b:[1]", std::string("a=b:[1]"));
  const std::string longer(1000, 'x');
  ExpectAfter(absl::StrCat("text=str:", longer), longer);
}

TEST(MetadataOverridesTest, ANewKeyHasTheTypeThatLlamaQuantizeGives) {
  ExpectAfter("new=int:7", uint32_t{7});
  ExpectAfter("new=int:4294967296", uint64_t{4294967296});
  ExpectAfter("new=int:-7", int32_t{-7});
  ExpectAfter("new=int:-2147483649", int64_t{-2147483649});
  ExpectAfter("new=float:1.5", 1.5f);
  ExpectAfter("new=bool:true", true);
  ExpectAfter("new=str:x", std::string("x"));
}

TEST(MetadataOverridesTest, ListsStandForOneValueALayer) {
  ExpectAfter("heads=int:[8, 4,2]", std::vector<int32_t>{8, 4, 2});
  ExpectAfter("slides=bool:[false,true]", std::vector<bool>{false, true});
  ExpectAfter("u32=int:[1,2]", std::vector<uint32_t>{1, 2});
  ExpectAfter("heads=int:8", int32_t{8});
  ExpectAfter("new=int:[1,2]", std::vector<uint32_t>{1, 2});
  ExpectAfter("new=int:[1,-2]", std::vector<int32_t>{1, -2});
  ExpectAfter("new=int:[-1,4294967295]", std::vector<int64_t>{-1, 4294967295});
  ExpectAfter("new=float:[0.5]", std::vector<float>{0.5f});
  ExpectAfter("new=bool:[true]", std::vector<bool>{true});
}

TEST(MetadataOverridesTest, WhatDoesNotFitIsRefused) {
  ExpectRefused("u8=int:256", "unsigned integer of 8 bits");
  ExpectRefused("u32=int:-1", "unsigned integer of 32 bits");
  ExpectRefused("i32=int:2147483648", "signed integer of 32 bits");
  ExpectRefused("heads=int:[1,4294967296]", "signed integer of 32 bits");
  ExpectRefused("f32=float:1e300", "number of 32 bits");
  ExpectRefused("u32=float:1", "holds int, given float");
  ExpectRefused("f32=int:1", "holds float, given int");
  ExpectRefused("flag=int:1", "holds bool, given int");
  ExpectRefused("u32=bool:true", "holds int, given bool");
  ExpectRefused("text=int:1", "holds str, given int");
  ExpectRefused("u32=str:1", "holds int, given str");
  ExpectRefused("words=str:b", "a list");
}

TEST(MetadataOverridesTest, WhatCannotBeReadIsRefused) {
  ExpectRefused("", "KEY=TYPE:VALUE");
  ExpectRefused("u32", "KEY=TYPE:VALUE");
  ExpectRefused("=int:1", "KEY=TYPE:VALUE");
  ExpectRefused("u32=1", "begin with int:");
  ExpectRefused("u32=uint:1", "begin with int:");
  ExpectRefused("u32=int:", "no integer");
  ExpectRefused("u32=int:1x", "no integer");
  ExpectRefused("u32=int:1.0", "no integer");
  ExpectRefused("u64=int:18446744073709551616", "no integer");
  ExpectRefused("u64=int:-9223372036854775809", "no integer");
  ExpectRefused("u32=int:[1", "no integer");
  ExpectRefused("u32=int:[]", "no integer");
  ExpectRefused("u32=int:[1,]", "no integer");
  ExpectRefused("f32=float:nan", "no finite number");
  ExpectRefused("f32=float:inf", "no finite number");
  ExpectRefused("f32=float:", "no finite number");
  ExpectRefused("flag=bool:1", "neither true nor false");
  ExpectRefused("split.count=int:3", "split.*");
  ExpectRefused(std::string(65536, 'k') + "=int:1", "GGUF allows 65535");
}

TEST(MetadataOverridesTest, PlacesAreKeptOrAtTheEnd) {
  for (const OverridePlace place :
       {OverridePlace::kSame, OverridePlace::kEnd}) {
    Metadata metadata = Keys();
    ASSERT_TRUE(ApplyOverride(ParseMetadataOverride("u8=int:2").value(), place,
                              &metadata)
                    .ok());
    EXPECT_EQ(metadata.size(), Keys().size());
    EXPECT_EQ(place == OverridePlace::kSame ? metadata.entries().front().first
                                            : metadata.entries().back().first,
              "u8");
  }
}

}  // namespace
}  // namespace narrow
