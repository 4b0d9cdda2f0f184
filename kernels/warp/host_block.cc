#include "kernels/warp/host_block.h"

namespace narrow {
namespace warp {
namespace {

constexpr int kRows = 16;
constexpr int kCols = 8;
constexpr int kDepth = 16;

}  // namespace

void MultiplyFragments(const uint32_t* const* left,
                       const uint32_t* const* right, float* const* sums) {
  float a[kRows][kDepth];
  float b[kDepth][kCols];
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int r = 0; r < kLeftRegisters; ++r) {
      float* at = &a[LeftRow(lane, r)][LeftDepth(lane, r)];
      at[0] = WidenBf16(left[lane][r] & 0xffff);
      at[1] = WidenBf16(left[lane][r] >> 16);
    }
    for (int r = 0; r < kRightRegisters; ++r) {
      const int depth = RightDepth(lane, r);
      b[depth][RightCol(lane)] = WidenBf16(right[lane][r] & 0xffff);
      b[depth + 1][RightCol(lane)] = WidenBf16(right[lane][r] >> 16);
    }
  }
  double totals[kRows][kCols];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kCols; ++j) {
      totals[i][j] = 0;
    }
    for (int k = 0; k < kDepth; ++k) {
      for (int j = 0; j < kCols; ++j) {
        totals[i][j] += static_cast<double>(a[i][k] * b[k][j]);
      }
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int r = 0; r < kSumRegisters; ++r) {
      sums[lane][r] = static_cast<float>(
          sums[lane][r] + totals[SumRow(lane, r)][SumCol(lane, r)]);
    }
  }
}

void LoadFragments(const uint16_t* const* rows, bool transposed,
                   uint32_t* const* registers) {
  for (int m = 0; m < 4; ++m) {
    const uint16_t* const* matrix = rows + 8 * m;
    for (int lane = 0; lane < kLanes; ++lane) {
      const int line = lane / 4;
      const int pair = lane % 4 * 2;
      const uint32_t first =
          transposed ? matrix[pair][line] : matrix[line][pair];
      const uint32_t second =
          transposed ? matrix[pair + 1][line] : matrix[line][pair + 1];
      registers[lane][m] = first | second << 16;
    }
  }
}

}  // namespace warp
}  // namespace narrow
