#include "formats/packing/bit_stream.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

std::vector<uint32_t> Words(const std::vector<uint8_t>& bytes) {
  std::vector<uint32_t> words(bytes.size() / 4);
  std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

std::vector<uint8_t> PackRow(const std::vector<uint8_t>& codes, int bits) {
  const int64_t n = static_cast<int64_t>(codes.size());
  std::vector<uint8_t> bytes(static_cast<size_t>(4 * BitStreamWords(n, bits)),
                             0xee);
  PackBits(codes.data(), n, bits, 1, n, {bytes.data(), 1, 0});
  return bytes;
}

// Recorded with gptqmodel 7.7.0 (columns of qweight) and compressed-tensors
// 0.20.0 (rows of weight_packed), on 32 codes each.
struct Golden {
  const char* name;
  int bits;
  std::vector<uint8_t> codes;
  std::vector<uint32_t> words;
};

std::vector<uint8_t> SourceCodes(int bits) {
  const uint8_t source[32] = {1,  11, 11, 1, 13, 0, 8,  6,  2,  3, 11,
                              8,  11, 4,  3, 9,  4, 12, 10, 14, 9, 9,
                              15, 11, 5,  5, 10, 5, 6,  13, 11, 14};
  std::vector<uint8_t> codes;
  for (const uint8_t code : source) {
    codes.push_back(
        static_cast<uint8_t>(bits == 8 ? 16 * code + 3 : code >> (4 - bits)));
  }
  return codes;
}

std::vector<uint8_t> SeriesCodes(int bits, int n) {
  std::vector<uint8_t> codes;
  for (int j = 0; j < n; ++j) {
    codes.push_back(static_cast<uint8_t>((5 * j + 3) % (1 << bits)));
  }
  return codes;
}

std::vector<Golden> Goldens() {
  return {
      {"source",
       4,
       SourceCodes(4),
       {0x680d1bb1, 0x934b8b32, 0xbf99eac4, 0xebd65a55}},
      {"source", 3, SourceCodes(3), {0x49706168, 0x4f728559, 0xf73552be}},
      {"source", 2, SourceCodes(2), {0x86a06328, 0xed65baed}},
      {"source",
       8,
       SourceCodes(8),
       {0x13b3b313, 0x638303d3, 0x83b33323, 0x933343b3, 0xe3a3c343, 0xb3f39393,
        0x53a35353, 0xe3b3d363}},
      {"series", 2, SeriesCodes(2, 32), {0x93939393, 0x93939393}},
      {"series", 3, SeriesCodes(3, 32), {0x43c67543, 0x7543c675, 0xc67543c6}},
      {"series",
       4,
       SeriesCodes(4, 32),
       {0x61c72d83, 0xe94fa50b, 0x61c72d83, 0xe94fa50b}},
      {"series",
       5,
       SeriesCodes(5, 32),
       {0x79793503, 0xfd560b30, 0x77137249, 0x1bb45871, 0xf668f514}},
      {"series",
       6,
       SeriesCodes(6, 32),
       {0x1748d203, 0x5c2b9a17, 0x38913feb, 0x2789d613, 0x503bdb1b,
        0x79950f28}},
      {"series",
       7,
       SeriesCodes(7, 32),
       {0x72434403, 0x2b4c84e1, 0x23f74d58, 0x6c539d26, 0xc7667c57, 0x41407bed,
        0x3c64a0f1}},
      {"series",
       8,
       SeriesCodes(8, 32),
       {0x120d0803, 0x26211c17, 0x3a35302b, 0x4e49443f, 0x625d5853, 0x76716c67,
        0x8a85807b, 0x9e99948f}},
      {"ten codes", 3, SeriesCodes(3, 10), {0x03c67543}},
  };
}

TEST(BitStream, PacksAsOtherLibrariesDo) {
  for (const Golden& golden : Goldens()) {
    EXPECT_EQ(Words(PackRow(golden.codes, golden.bits)), golden.words)
        << golden.name << " " << golden.bits;
  }
}

TEST(BitStream, UnpacksWhatOtherLibrariesPacked) {
  for (const Golden& golden : Goldens()) {
    std::vector<uint8_t> bytes(golden.words.size() * 4);
    std::memcpy(bytes.data(), golden.words.data(), bytes.size());
    const int64_t n = static_cast<int64_t>(golden.codes.size());
    std::vector<uint8_t> codes(golden.codes.size());
    UnpackBits({bytes.data(), 1, 0}, golden.bits, 1, 0, n, codes.data(), n);
    EXPECT_EQ(codes, golden.codes) << golden.name << " " << golden.bits;
  }
}

// Streams down the columns, every width, lengths around the unit, any part.
TEST(BitStream, PartsOfStridedStreamsAreThoseOfTheWhole) {
  const int64_t n_streams = 19;
  for (int bits = 1; bits <= 8; ++bits) {
    for (const int64_t n : {1, 31, 32, 33, 97}) {
      std::vector<uint8_t> codes(static_cast<size_t>(n_streams * n));
      for (size_t i = 0; i < codes.size(); ++i) {
        codes[i] =
            static_cast<uint8_t>((i * 2654435761u >> 13) & ((1u << bits) - 1));
      }
      std::vector<uint8_t> bytes(
          static_cast<size_t>(4 * n_streams * BitStreamWords(n, bits)), 0xee);
      PackBits(codes.data(), n, bits, n_streams, n,
               {bytes.data(), n_streams, 1});
      for (const int64_t first : {int64_t{0}, n / 3, n - 1}) {
        const int64_t n_part = n - first;
        std::vector<uint8_t> part(static_cast<size_t>(n_streams * n_part));
        UnpackBits({bytes.data(), n_streams, 1}, bits, n_streams, first, n_part,
                   part.data(), n_part);
        for (int64_t s = 0; s < n_streams; ++s) {
          for (int64_t i = 0; i < n_part; ++i) {
            ASSERT_EQ(part[static_cast<size_t>(s * n_part + i)],
                      codes[static_cast<size_t>(s * n + first + i)])
                << bits << " bits, stream " << s << ", code " << first + i;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace narrow
