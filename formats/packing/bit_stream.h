// Codes of 1 to 8 bits laid end to end in 32-bit little-endian words, the
// first code in the least significant bits:
//
//   code j of b bits: bits b*j ... b*j + b - 1 of the stream,
//   bit k of the stream: bit k % 32 of word k / 32          (frozen)
//
// A code may lie across two words. GPTQ lays such streams down the columns of
// a tensor of words, its zero points along the rows; compressed-tensors the
// other way round. So streams come in sets, with strides in words:
//
//   BitStreams down = {bytes, /*word_stride=*/n_columns, /*stream_stride=*/1};
//   UnpackBits(down, 4, n_columns, /*first_code=*/0, n_codes, codes, n_codes);

#ifndef NARROW_FORMATS_PACKING_BIT_STREAM_H_
#define NARROW_FORMATS_PACKING_BIT_STREAM_H_

#include <cstdint>

namespace narrow {

// Words of a stream of `n_codes` codes; the last is padded with zeros.
inline int64_t BitStreamWords(int64_t n_codes, int bits) {
  return (n_codes * bits + 31) / 32;
}

// A set of streams in a tensor of words; Byte is uint8_t or const uint8_t.
// The bytes need no alignment.
template <typename Byte>
struct BasicBitStreams {
  Byte* words;            // of the first stream
  int64_t word_stride;    // words from one word of a stream to its next
  int64_t stream_stride;  // words from one stream to the next
};
using BitStreams = BasicBitStreams<const uint8_t>;
using MutableBitStreams = BasicBitStreams<uint8_t>;

// Codes [first_code, first_code + n_codes) of each of `n_streams` streams to
// codes + stream * code_stride. REQUIRES: 1 <= bits <= 8.
void UnpackBits(const BitStreams& streams, int bits, int64_t n_streams,
                int64_t first_code, int64_t n_codes, uint8_t* codes,
                int64_t code_stride);

// Writes whole streams, padding included. REQUIRES: codes below 2^bits.
void PackBits(const uint8_t* codes, int64_t code_stride, int bits,
              int64_t n_streams, int64_t n_codes,
              const MutableBitStreams& streams);

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_BIT_STREAM_H_
