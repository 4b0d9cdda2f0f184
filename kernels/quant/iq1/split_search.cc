#include "kernels/quant/iq1/split_search.h"

#include <cfloat>

namespace narrow {
namespace iq1 {
namespace {

// order[i]: the place of the weight that comes i-th; equal ones keep their
// order.
void Sort(const float* x, int n, int* order) {
  for (int i = 0; i < n; ++i) {
    int at = i;
    for (; at > 0 && x[i] < x[order[at - 1]]; --at) {
      order[at] = order[at - 1];
    }
    order[at] = i;
  }
}

// The scan so far. A gain is compared by cross-multiplication with the
// quotient that was rounded when it was stored, in ggml's order of splits: in
// a near tie the roundings decide.
struct Scan {
  float gain = -FLT_MAX;
  float scale = 0;
  int first_one = -1;  // places where levels 1 and 2 begin
  int first_two = -1;
  int shift = 0;

  void Try(float code_x, float code_square, int ones, int twos, int its_shift) {
    if (code_square > 0 && code_x * code_x > gain * code_square) {
      scale = code_x / code_square;
      gain = scale * code_x;
      first_one = ones;
      first_two = twos;
      shift = its_shift;
    }
  }
};

template <class Type>
bool Finish(const Scan& scan, const int* order, Split* split) {
  if (scan.first_one < 0) {
    return false;
  }
  // Negative scales become positive by turning all signs.
  const bool turn = scan.scale < 0;
  split->scale = turn ? -scan.scale : scan.scale;
  split->shift = turn ? Type::kShifts - 1 - scan.shift : scan.shift;
  for (int i = 0; i < Type::kGroup; ++i) {
    const int level = (i >= scan.first_one) + (i >= scan.first_two);
    split->levels[order[i]] = static_cast<uint8_t>(turn ? 2 - level : level);
  }
  return true;
}

}  // namespace

bool FindSplit(IQ1_S, const float* x, const float* w, Split* split) {
  constexpr int kSize = IQ1_S::kGroup;
  int order[kSize];
  Sort(x, kSize, order);
  float sum_x[kSize + 1] = {};
  float sum_w[kSize + 1] = {};
  for (int i = 0; i < kSize; ++i) {
    const int k = order[i];
    sum_x[i + 1] = sum_x[i] + w[k] * x[k];
    sum_w[i + 1] = sum_w[i] + w[k];
  }
  Scan scan;
  for (int ones = 0; ones <= kSize; ++ones) {
    for (int twos = ones; twos <= kSize; ++twos) {
      const float mid_x = sum_x[twos] - sum_x[ones];
      const float mid_w = sum_w[twos] - sum_w[ones];
      const float high_x = sum_x[kSize] - sum_x[twos];
      const float high_w = sum_w[kSize] - sum_w[twos];
      for (int shift = 0; shift < IQ1_S::kShifts; ++shift) {
        const float* q = shift == 0 ? kUp : kDown;
        scan.Try(sum_x[ones] * q[0] + mid_x * q[1] + high_x * q[2],
                 sum_w[ones] * q[0] * q[0] + mid_w * q[1] * q[1] +
                     high_w * q[2] * q[2],
                 ones, twos, shift);
      }
    }
  }
  return Finish<IQ1_S>(scan, order, split);
}

// Sums are kept by octet, for each has its own shift. The level values of one
// shift are 1 apart, so a split's sum is that of all weights at level 2 less
// what lies below each of the two places.
bool FindSplit(IQ1_M, const float* x, const float* w, Split* split) {
  constexpr int kSize = IQ1_M::kGroup;
  int order[kSize];
  Sort(x, kSize, order);
  float sum_x[2][kSize + 1] = {};
  float sum_w[2][kSize + 1] = {};
  for (int i = 0; i < kSize; ++i) {
    const int k = order[i];
    const int octet = k / kOctet;
    sum_x[1 - octet][i + 1] = sum_x[1 - octet][i];
    sum_w[1 - octet][i + 1] = sum_w[1 - octet][i];
    sum_x[octet][i + 1] = sum_x[octet][i] + w[k] * x[k];
    sum_w[octet][i + 1] = sum_w[octet][i] + w[k];
  }
  Scan scan;
  for (int ones = 0; ones <= kSize; ++ones) {
    for (int twos = ones; twos <= kSize; ++twos) {
      float code_x[2][2];  // by octet, direction
      float code_square[2][2];
      for (int octet = 0; octet < 2; ++octet) {
        const float below_x = sum_x[octet][ones] + sum_x[octet][twos];
        for (int down = 0; down < 2; ++down) {
          const float* q = down == 0 ? kUp : kDown;
          code_x[octet][down] = sum_x[octet][kSize] * q[2] - below_x;
          code_square[octet][down] =
              sum_w[octet][kSize] * q[2] * q[2] +
              sum_w[octet][ones] * (q[0] * q[0] - q[1] * q[1]) +
              sum_w[octet][twos] * (q[1] * q[1] - q[2] * q[2]);
        }
      }
      for (int shift = 0; shift < IQ1_M::kShifts; ++shift) {
        const int a = IQ1_M::IsDown(shift, 0);
        const int b = IQ1_M::IsDown(shift, 1);
        scan.Try(code_x[0][a] + code_x[1][b],
                 code_square[0][a] + code_square[1][b], ones, twos, shift);
      }
    }
  }
  return Finish<IQ1_M>(scan, order, split);
}

}  // namespace iq1
}  // namespace narrow
