#include "kernels/quant/k/sub_scales.h"

#include <cstring>

#include "kernels/quant/numbers.h"

namespace narrow {
namespace k_quants {
namespace {

// The twelve bytes of Q4_K and Q5_K.
void PackSixBits(const SubScales& scales, uint8_t* bytes) {
  for (int j = 0; j < 4; ++j) {
    const int s = scales.scales[j + 4];
    const int m = scales.mins[j + 4];
    bytes[j] = static_cast<uint8_t>(scales.scales[j] | ((s >> 4) << 6));
    bytes[j + 4] = static_cast<uint8_t>(scales.mins[j] | ((m >> 4) << 6));
    bytes[j + 8] = static_cast<uint8_t>((s & 15) | ((m & 15) << 4));
  }
}

void UnpackSixBits(const uint8_t* bytes, SubScales* scales) {
  for (int j = 0; j < 4; ++j) {
    scales->scales[j] = bytes[j] & 63;
    scales->mins[j] = bytes[j + 4] & 63;
    scales->scales[j + 4] = (bytes[j + 8] & 15) | ((bytes[j] >> 6) << 4);
    scales->mins[j + 4] = (bytes[j + 8] >> 4) | ((bytes[j + 4] >> 6) << 4);
  }
}

}  // namespace

void PackScales(Q2_K, const SubScales& scales, uint8_t* bytes) {
  for (int j = 0; j < 16; ++j) {
    bytes[j] = static_cast<uint8_t>(scales.scales[j] | (scales.mins[j] << 4));
  }
  StoreHalf(scales.d, bytes + 80);
  StoreHalf(scales.dmin, bytes + 82);
}

void PackScales(Q3_K, const SubScales& scales, uint8_t* bytes) {
  uint8_t* packed = bytes + 96;
  std::memset(packed, 0, 12);
  for (int j = 0; j < 16; ++j) {
    const int stored = scales.scales[j] + 32;
    packed[j % 8] |= static_cast<uint8_t>((stored & 15) << (4 * (j / 8)));
    packed[8 + j % 4] |= static_cast<uint8_t>((stored >> 4) << (2 * (j / 4)));
  }
  StoreHalf(scales.d, bytes + 108);
}

void PackScales(Q4_K, const SubScales& scales, uint8_t* bytes) {
  StoreHalf(scales.d, bytes);
  StoreHalf(scales.dmin, bytes + 2);
  PackSixBits(scales, bytes + 4);
}

void PackScales(Q5_K, const SubScales& scales, uint8_t* bytes) {
  PackScales(Q4_K(), scales, bytes);
}

void PackScales(Q6_K, const SubScales& scales, uint8_t* bytes) {
  for (int j = 0; j < 16; ++j) {
    bytes[192 + j] = static_cast<uint8_t>(scales.scales[j]);
  }
  StoreHalf(scales.d, bytes + 208);
}

void UnpackScales(Q2_K, const uint8_t* bytes, SubScales* scales) {
  for (int j = 0; j < 16; ++j) {
    scales->scales[j] = bytes[j] & 15;
    scales->mins[j] = bytes[j] >> 4;
  }
  scales->d = LoadHalf(bytes + 80);
  scales->dmin = LoadHalf(bytes + 82);
}

void UnpackScales(Q3_K, const uint8_t* bytes, SubScales* scales) {
  const uint8_t* packed = bytes + 96;
  for (int j = 0; j < 16; ++j) {
    const int low = (packed[j % 8] >> (4 * (j / 8))) & 15;
    const int high = (packed[8 + j % 4] >> (2 * (j / 4))) & 3;
    scales->scales[j] = (low | (high << 4)) - 32;
  }
  scales->d = LoadHalf(bytes + 108);
  scales->dmin = 0;
}

void UnpackScales(Q4_K, const uint8_t* bytes, SubScales* scales) {
  scales->d = LoadHalf(bytes);
  scales->dmin = LoadHalf(bytes + 2);
  UnpackSixBits(bytes + 4, scales);
}

void UnpackScales(Q5_K, const uint8_t* bytes, SubScales* scales) {
  UnpackScales(Q4_K(), bytes, scales);
}

void UnpackScales(Q6_K, const uint8_t* bytes, SubScales* scales) {
  for (int j = 0; j < 16; ++j) {
    scales->scales[j] = static_cast<int8_t>(bytes[192 + j]);
  }
  scales->d = LoadHalf(bytes + 208);
  scales->dmin = 0;
}

}  // namespace k_quants
}  // namespace narrow
