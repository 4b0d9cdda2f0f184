#include "formats/containers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "formats/base/file.h"
#include "formats/gguf/gguf_header.h"
#include "formats/safetensors/safetensors_header.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

constexpr char kCorrupt[] = "testdata/corrupt";
constexpr char kGguf[] = "testdata/containers/tiny.gguf";
constexpr char kSafetensors[] = "testdata/containers/tiny.safetensors";

std::vector<uint8_t> MustRead(absl::string_view path) {
  const auto file = MappedFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? std::vector<uint8_t>((*file)->bytes().begin(),
                                          (*file)->bytes().end())
                   : std::vector<uint8_t>();
}

TEST(ContainersTest, OpensEachContainerByItsBytes) {
  for (const Container& container : AllContainers()) {
    const std::string golden =
        absl::StrCat("testdata/containers/tiny", container.ending);
    const auto source = OpenTensorSource(golden);
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_EQ((*source)->format(), container.name);

    const std::string renamed = JoinPath(::testing::TempDir(), "renamed.x");
    const std::vector<uint8_t> bytes = MustRead(golden);
    ASSERT_TRUE(WriteTextFile(
                    renamed,
                    {reinterpret_cast<const char*>(bytes.data()), bytes.size()})
                    .ok());
    const auto again = OpenTensorSource(renamed);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ((*again)->format(), container.name);
    EXPECT_EQ((*again)->tensors().size(), (*source)->tensors().size());
  }
}

TEST(ContainersTest, OpensAFolderWithOneGguf) {
  const std::string folder = JoinPath(::testing::TempDir(), "one_gguf");
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(kGguf, JoinPath(folder, "m.gguf"),
                             std::filesystem::copy_options::overwrite_existing);
  const auto source = OpenTensorSource(folder);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->format(), "gguf");
}

TEST(ContainersTest, NamesWhatIsMissing) {
  const auto source = OpenTensorSource("no/such/model");
  EXPECT_EQ(source.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(source.status().message()),
              HasSubstr("no/such/model"));
}

// --- Damage ------------------------------------------------------------------

struct Corrupt {
  std::string path;
  std::string code;
  std::vector<std::string> words;
};

std::vector<Corrupt> ReadManifest() {
  const auto text = ReadTextFile(JoinPath(kCorrupt, "containers.tsv"), 1 << 20);
  EXPECT_TRUE(text.ok()) << text.status();
  std::vector<Corrupt> cases;
  for (const absl::string_view line :
       absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    EXPECT_EQ(fields.size(), 3u) << line;
    cases.push_back({fields[0], fields[1], absl::StrSplit(fields[2], '|')});
  }
  return cases;
}

TEST(ContainersTest, EveryCorruptFileIsRefusedWithCauseAndPlace) {
  const std::vector<Corrupt> cases = ReadManifest();
  EXPECT_GE(cases.size(), 100u);
  for (const Corrupt& corrupt : cases) {
    const std::string path = JoinPath(kCorrupt, corrupt.path);
    const auto source = OpenTensorSource(path);
    EXPECT_EQ(absl::StatusCodeToString(source.status().code()), corrupt.code)
        << path << ": " << source.status();
    const std::string message(source.status().message());
    for (const std::string& word : corrupt.words) {
      EXPECT_THAT(message, HasSubstr(word)) << path;
    }
    // The file, or for folders and shards one in the same folder.
    const std::string folder =
        IsDirectory(path) ? path
                          : std::filesystem::path(path).parent_path().string();
    EXPECT_THAT(message, HasSubstr(folder));
    for (const char c : message) {
      EXPECT_FALSE(absl::ascii_iscntrl(static_cast<unsigned char>(c))) << path;
    }
  }
}

// Parses a copy of exactly these bytes, so that a tool like ASan sees any read
// beyond them, and touches all that was found.
bool ParsesAndReads(bool is_gguf, const std::vector<uint8_t>& bytes) {
  std::vector<TensorView> tensors;
  if (is_gguf) {
    auto header = ParseGgufHeader(bytes, "damaged");
    if (!header.ok()) {
      return false;
    }
    tensors = std::move(header->tensors);
  } else {
    auto header = ParseSafetensorsHeader(bytes, "damaged");
    if (!header.ok()) {
      return false;
    }
    tensors = std::move(header->tensors);
  }
  int64_t sum = 0;
  for (const TensorView& tensor : tensors) {
    EXPECT_EQ(static_cast<int64_t>(tensor.data.size()), tensor.meta.n_bytes());
    for (const uint8_t byte : tensor.data) {
      sum += byte;
    }
  }
  return sum >= 0;
}

size_t HeaderBytes(bool is_gguf, const std::vector<uint8_t>& bytes) {
  const auto first = [](const std::vector<TensorView>& tensors) {
    return static_cast<size_t>(tensors.front().origin.offset);
  };
  return is_gguf ? first(ParseGgufHeader(bytes, "f")->tensors)
                 : first(ParseSafetensorsHeader(bytes, "f")->tensors);
}

class DamageTest : public ::testing::TestWithParam<bool> {
 protected:
  bool is_gguf() const { return GetParam(); }
  std::vector<uint8_t> golden_ = MustRead(GetParam() ? kGguf : kSafetensors);
};

TEST_P(DamageTest, AnyHeaderByteChangedNeverCrashes) {
  const size_t n_header = HeaderBytes(is_gguf(), golden_);
  size_t n_refused = 0;
  for (size_t i = 0; i < n_header; ++i) {
    std::vector<uint8_t> bytes = golden_;
    // Every bit, the neighbours, and the ends of the range.
    const int was = golden_[i];
    for (const int value :
         {was ^ 1, was ^ 2, was ^ 4, was ^ 8, was ^ 16, was ^ 32, was ^ 64,
          was ^ 128, was + 1, was - 1, 0x00, 0x7f, 0xff}) {
      bytes[i] = static_cast<uint8_t>(value);
      n_refused += ParsesAndReads(is_gguf(), bytes) ? 0 : 1;
    }
  }
  // Names and values may change unseen; structure may not.
  EXPECT_GT(n_refused, n_header * 13 / 4);
}

TEST_P(DamageTest, EveryTruncationIsRefused) {
  // Padding after the last tensor is the one thing that may be missing.
  const size_t n_needed = is_gguf() ? golden_.size() - 31 : golden_.size();
  for (size_t n = 0; n < n_needed; ++n) {
    const std::vector<uint8_t> bytes(
        golden_.begin(), golden_.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_FALSE(ParsesAndReads(is_gguf(), bytes)) << n;
  }
  EXPECT_TRUE(ParsesAndReads(is_gguf(), golden_));
}

// Bytes changed, removed, repeated and put in, several at once, with numbers
// that headers must not believe among them.
TEST_P(DamageTest, RandomMutationsNeverCrash) {
  constexpr uint64_t kNumbers[] = {0,
                                   1,
                                   0x7f,
                                   0xff,
                                   0xffffffff,
                                   uint64_t{1} << 31,
                                   uint64_t{1} << 62,
                                   uint64_t{1} << 63,
                                   ~uint64_t{0},
                                   ~uint64_t{0} >> 1};
  std::mt19937 random(20240607);
  const size_t n_header = HeaderBytes(is_gguf(), golden_);
  for (int round = 0; round < 30000; ++round) {
    std::vector<uint8_t> bytes = golden_;
    const int n_changes = 1 + static_cast<int>(random() % 4);
    for (int k = 0; k < n_changes; ++k) {
      const size_t at = random() % std::min(n_header, bytes.size());
      const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
      const size_t n = std::min<size_t>(1 + random() % 16, bytes.size() - at);
      const auto end = place + static_cast<std::ptrdiff_t>(n);
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<uint8_t>(random());
          break;
        case 1:
          bytes.erase(place, end);
          break;
        case 2: {
          const std::vector<uint8_t> copy(place, end);
          bytes.insert(place, copy.begin(), copy.end());
          break;
        }
        default: {
          const uint64_t number = kNumbers[random() % std::size(kNumbers)];
          for (size_t b = 0; b < std::min<size_t>(8, bytes.size() - at); ++b) {
            bytes[at + b] = static_cast<uint8_t>(number >> (8 * b));
          }
        }
      }
      if (bytes.empty()) {
        break;
      }
    }
    ParsesAndReads(is_gguf(), bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Containers, DamageTest, ::testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "Gguf" : "Safetensors";
                         });

}  // namespace
}  // namespace narrow
