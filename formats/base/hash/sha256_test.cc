#include "formats/base/hash/sha256.h"

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "formats/base/file.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

// Vectors of FIPS 180-2, appendix B, and of the empty message.
TEST(Sha256Test, KnownAnswers) {
  EXPECT_EQ(Sha256::Of("").Hex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256::Of("abc").Hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(
      Sha256::Of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
          .Hex(),
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  Sha256 million;
  for (int i = 0; i < 1000; ++i) {
    million.Add(std::string(1000, 'a'));
  }
  EXPECT_EQ(million.Finish().Hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, PartsDoNotMatterButLengthsDo) {
  Sha256 hash;
  hash.Add("a");
  hash.Add("");
  hash.Add("bc");
  EXPECT_EQ(hash.Finish(), Sha256::Of("abc"));
  hash.Add("abc");  // anew after Finish
  EXPECT_EQ(hash.Finish(), Sha256::Of("abc"));
  hash.AddWithLength("a");
  hash.AddWithLength("bc");
  const Sha256Digest one = hash.Finish();
  hash.AddWithLength("ab");
  hash.AddWithLength("c");
  EXPECT_NE(one, hash.Finish());
}

TEST(Sha256Test, HexAndBack) {
  const Sha256Digest digest = Sha256::Of("abc");
  EXPECT_EQ(Sha256Digest::FromHex(digest.Hex()), digest);
  EXPECT_FALSE(Sha256Digest::FromHex("").has_value());
  EXPECT_FALSE(Sha256Digest::FromHex(digest.Hex().substr(1)).has_value());
  EXPECT_FALSE(Sha256Digest::FromHex(std::string(63, 'a') + "g").has_value());
}

TEST(Sha256Test, OfAFile) {
  const std::string path = JoinPath(::testing::TempDir(), "hashed");
  // More than one step of the reading.
  const std::string text((3 << 20) + 7, 'x');
  ASSERT_TRUE(WriteTextFile(path, text).ok());
  const auto digest = DigestFile(path);
  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(digest->n_bytes, static_cast<int64_t>(text.size()));
  EXPECT_EQ(digest->sha256, Sha256::Of(text));
  EXPECT_FALSE(DigestFile(path + ".missing").ok());
}

}  // namespace
}  // namespace narrow
