#include "formats/packing/bit_stream.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace narrow {
namespace {

// Codes after which a stream of any width is at a word's border again.
constexpr int64_t kUnit = 32;
// Neighbouring streams down a tensor share cache lines of 16 words, so that
// many are taken together.
constexpr int64_t kTile = 16;

uint32_t LoadWord(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// 32 codes in kBits words; everything about their places is known to the
// compiler.
template <int kBits>
void UnpackUnit(const uint8_t* words, int64_t stride_bytes, uint8_t* codes) {
  uint32_t w[kBits];
  for (int i = 0; i < kBits; ++i) {
    w[i] = LoadWord(words + i * stride_bytes);
  }
  constexpr uint32_t kMask = (1u << kBits) - 1;
  for (int j = 0; j < kUnit; ++j) {
    const int bit = j * kBits;
    uint32_t code = w[bit / 32] >> (bit % 32);
    if (bit % 32 + kBits > 32) {
      code |= w[bit / 32 + 1] << (32 - bit % 32);
    }
    codes[j] = static_cast<uint8_t>(code & kMask);
  }
}

using UnpackUnitFn = void (*)(const uint8_t*, int64_t, uint8_t*);
constexpr UnpackUnitFn kUnpackUnit[9] = {
    nullptr,        &UnpackUnit<1>, &UnpackUnit<2>,
    &UnpackUnit<3>, &UnpackUnit<4>, &UnpackUnit<5>,
    &UnpackUnit<6>, &UnpackUnit<7>, &UnpackUnit<8>};

uint8_t CodeAt(const uint8_t* words, int64_t stride_bytes, int bits,
               int64_t index) {
  const int64_t bit = index * bits;
  const int shift = static_cast<int>(bit % 32);
  const uint8_t* word = words + bit / 32 * stride_bytes;
  uint32_t code = LoadWord(word) >> shift;
  if (shift + bits > 32) {
    code |= LoadWord(word + stride_bytes) << (32 - shift);
  }
  return static_cast<uint8_t>(code & ((1u << bits) - 1));
}

}  // namespace

void UnpackBits(const BitStreams& streams, int bits, int64_t n_streams,
                int64_t first_code, int64_t n_codes, uint8_t* codes,
                int64_t code_stride) {
  assert(bits >= 1 && bits <= 8);
  const int64_t stride = 4 * streams.word_stride;
  const UnpackUnitFn unpack_unit = kUnpackUnit[bits];
  const int64_t end = first_code + n_codes;
  for (int64_t tile = 0; tile < n_streams; tile += kTile) {
    const int64_t tile_end = std::min(tile + kTile, n_streams);
    int64_t at = first_code;
    while (at < end) {
      const bool whole = at % kUnit == 0 && end - at >= kUnit;
      const int64_t next =
          whole ? at + kUnit : std::min(end, (at / kUnit + 1) * kUnit);
      for (int64_t s = tile; s < tile_end; ++s) {
        const uint8_t* words = streams.words + 4 * s * streams.stream_stride;
        uint8_t* to = codes + s * code_stride + (at - first_code);
        if (whole) {
          unpack_unit(words + at / kUnit * bits * stride, stride, to);
          continue;
        }
        for (int64_t i = at; i < next; ++i) {
          *to++ = CodeAt(words, stride, bits, i);
        }
      }
      at = next;
    }
  }
}

void PackBits(const uint8_t* codes, int64_t code_stride, int bits,
              int64_t n_streams, int64_t n_codes,
              const MutableBitStreams& streams) {
  assert(bits >= 1 && bits <= 8);
  const int64_t stride = 4 * streams.word_stride;
  for (int64_t tile = 0; tile < n_streams; tile += kTile) {
    const int64_t tile_end = std::min(tile + kTile, n_streams);
    for (int64_t at = 0; at < n_codes; at += kUnit) {
      const int64_t n = std::min(kUnit, n_codes - at);
      const int64_t n_words = BitStreamWords(n, bits);
      for (int64_t s = tile; s < tile_end; ++s) {
        const uint8_t* from = codes + s * code_stride + at;
        uint8_t* word = streams.words + 4 * s * streams.stream_stride +
                        at / kUnit * bits * stride;
        uint64_t pending = 0;
        int n_pending = 0;
        int64_t n_written = 0;
        for (int64_t i = 0; i < n; ++i) {
          assert(from[i] < 1 << bits);
          pending |= static_cast<uint64_t>(from[i]) << n_pending;
          n_pending += bits;
          if (n_pending >= 32 || i + 1 == n) {
            const uint32_t value = static_cast<uint32_t>(pending);
            std::memcpy(word + n_written++ * stride, &value, sizeof(value));
            pending >>= 32;
            n_pending -= 32;
          }
        }
        if (n_written < n_words) {  // bits beyond the last full word
          const uint32_t value = static_cast<uint32_t>(pending);
          std::memcpy(word + n_written * stride, &value, sizeof(value));
        }
      }
    }
  }
}

}  // namespace narrow
