// Where the codes of a packed matrix lie in the words of its first plane, as
// numbers, for programs that take them apart elsewhere: a card's threads.
//
//   CodeLayout layout;
//   if (packing->code_layout != nullptr && packing->code_layout(m, &layout))
//     code = CodeAt(layout, plane.data.data(), row, col);
//
// Both compilers take it.

#ifndef NARROW_FORMATS_PACKING_CODE_LAYOUT_H_
#define NARROW_FORMATS_PACKING_CODE_LAYOUT_H_

#include <cstdint>

#if defined(__CUDACC__)
#define NARROW_LAYOUT_FUNCTION __host__ __device__ __forceinline__
#else
#define NARROW_LAYOUT_FUNCTION inline
#endif

namespace narrow {

// Code (row, col) is in word row / rows_of_word * row_step + col /
// cols_of_word * col_step, one of the latter being 1. A code never crosses a
// word's border.
struct CodeLayout {
  enum class Order : uint8_t {
    kRising,     // code i at bit i * bits
    kFalling,    // the last one first
    kEvenFirst,  // of eight: 0, 2, 4, 6, 1, 3, 5, 7 (AWQ)
  };
  int word_bytes = 4;  // or 1; little-endian
  int bits = 4;        // of a code
  int rows_of_word = 1;
  int cols_of_word = 8;
  int64_t row_step = 0;  // words
  int64_t col_step = 1;
  Order order = Order::kRising;
  uint8_t flip = 0;  // these bits of a code are stored inverted
  // Bytes that are FP8's NaN are damage.
  bool has_no_nan = false;
};

NARROW_LAYOUT_FUNCTION int ShiftOf(const CodeLayout& layout, int64_t row,
                                   int64_t col) {
  const int i =
      static_cast<int>(row % layout.rows_of_word + col % layout.cols_of_word);
  const int n = layout.rows_of_word * layout.cols_of_word;
  const int place = layout.order == CodeLayout::Order::kRising ? i
                    : layout.order == CodeLayout::Order::kFalling
                        ? n - 1 - i
                        : i / 2 + i % 2 * (n / 2);
  return place * layout.bits;
}

NARROW_LAYOUT_FUNCTION uint8_t CodeAt(const CodeLayout& layout,
                                      const uint8_t* words, int64_t row,
                                      int64_t col) {
  const uint8_t* at = words + (row / layout.rows_of_word * layout.row_step +
                               col / layout.cols_of_word * layout.col_step) *
                                  layout.word_bytes;
  uint32_t word = at[0];
  if (layout.word_bytes == 4) {
    word |= static_cast<uint32_t>(at[1]) << 8 |
            static_cast<uint32_t>(at[2]) << 16 |
            static_cast<uint32_t>(at[3]) << 24;
  }
  const uint32_t code =
      (word >> ShiftOf(layout, row, col)) & ((1u << layout.bits) - 1);
  return static_cast<uint8_t>(code ^ layout.flip);
}

}  // namespace narrow

#endif  // NARROW_FORMATS_PACKING_CODE_LAYOUT_H_
