#include "kernels/quant/iq4/reference.h"

#include <algorithm>
#include <cmath>

#include "kernels/quant/code_table.h"

namespace narrow {
namespace iq4 {
namespace {

// The least-squares scale for the codes that one inverse scale gives is
// cross / square, and lessens the weighted error by cross² / square.
struct Sums {
  float cross = 0;
  float square = 0;
};

Sums SumsFor(const float* weights, const float* block_weights, float inverse) {
  Sums sums;
  for (int i = 0; i < kSize; ++i) {
    const auto code = static_cast<float>(
        kCodes[NearestPlace<int8_t>(kCodes, inverse * weights[i])]);
    const float weighted = block_weights[i] * code;
    sums.cross += weighted * weights[i];
    sums.square += weighted * code;
  }
  return sums;
}

}  // namespace

float TwiceMeanSquare(const float* weights, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) {
    sum += weights[i] * weights[i];
  }
  return sum * (2.0f / static_cast<float>(n));
}

void WeighBlock(const float* weights, const float* importance,
                float twice_mean_square, float* block_weights) {
  for (int i = 0; i < kSize; ++i) {
    const float square = weights[i] * weights[i];
    block_weights[i] =
        importance == nullptr
            ? square
            : importance[i] * std::sqrt(twice_mean_square + square);
  }
}

float SearchScale(const float* weights, const float* block_weights) {
  float magnitude = 0;
  float extreme = 0;  // the first weight of the largest magnitude
  for (int i = 0; i < kSize; ++i) {
    if (std::fabs(weights[i]) > magnitude) {
      magnitude = std::fabs(weights[i]);
      extreme = weights[i];
    }
  }
  if (magnitude < kZeroLimit) {
    return 0;
  }
  constexpr auto kLowest = static_cast<float>(kCodes[0]);
  const Sums first =
      SumsFor(weights, block_weights, 1.0f / (-extreme / kLowest));
  float scale = first.square > 0 ? first.cross / first.square : 0.0f;
  float best = scale * first.cross;
  for (int k = -kTries; k <= kTries; ++k) {
    const Sums sums = SumsFor(weights, block_weights,
                              (static_cast<float>(k) + kLowest) / extreme);
    if (sums.square > 0 && sums.cross * sums.cross > best * sums.square) {
      scale = sums.cross / sums.square;
      best = scale * sums.cross;
    }
  }
  return scale;
}

void PlaceCodes(const float* weights, float inverse, uint8_t* places) {
  for (int i = 0; i < kSize; ++i) {
    places[i] = static_cast<uint8_t>(
        NearestPlace<int8_t>(kCodes, inverse * weights[i]));
  }
}

float Inverse(float scale) { return scale != 0 ? 1.0f / scale : 0.0f; }

void RoundToCode(float target, float step, int8_t* code, float* value) {
  *code =
      kCodes[NearestPlace<int8_t>(kCodes, PositionAmongCodes(target, step))];
  *value = step * static_cast<float>(*code);
}

void PackPlaces(const uint8_t* places, uint8_t* bytes) {
  for (int j = 0; j < kSize / 2; ++j) {
    bytes[j] = static_cast<uint8_t>(places[j] | (places[j + kSize / 2] << 4));
  }
}

void UnpackPlaces(const uint8_t* bytes, uint8_t* places) {
  for (int j = 0; j < kSize / 2; ++j) {
    places[j] = bytes[j] & 15;
    places[j + kSize / 2] = bytes[j] >> 4;
  }
}

uint8_t PlaceOf(int8_t code) {
  return static_cast<uint8_t>(std::lower_bound(kCodes, kCodes + 15, code) -
                              kCodes);
}

}  // namespace iq4
}  // namespace narrow
