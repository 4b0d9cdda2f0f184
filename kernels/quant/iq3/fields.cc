#include "kernels/quant/iq3/fields.h"

#include <cstring>
#include <vector>

#include "kernels/quant/lattice/grid.h"

namespace narrow {
namespace iq3 {
namespace {

constexpr int kPointsAt = 2;
constexpr int kAfterPoints = kPointsAt + kPoints;
// IQ3_S.
constexpr int kHighBitsAt = kAfterPoints;
constexpr int kSignsAt = kHighBitsAt + kPoints / 8;
constexpr int kScalesAt = kSignsAt + kSuperBlock / 8;
static_assert(kScalesAt + kGroups / 2 == IQ3_S::kBytes, "frozen");
static_assert(kAfterPoints + 4 * kGroups == IQ3_XXS::kBytes, "frozen");

void PackHalf(uint16_t half, uint8_t* bytes) {
  bytes[0] = static_cast<uint8_t>(half);
  bytes[1] = static_cast<uint8_t>(half >> 8);
}

uint16_t UnpackHalf(const uint8_t* bytes) {
  return static_cast<uint16_t>(bytes[0] | bytes[1] << 8);
}

// The eighth sign bit that makes the number of minus signs even.
uint8_t WithEighthSign(uint32_t seven) {
  uint32_t parity = seven ^ seven >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return static_cast<uint8_t>(seven | (parity & 1) << 7);
}

template <class Type>
std::vector<uint32_t> MagnitudesOf(const Grid& grid) {
  std::vector<uint32_t> points;
  for (int p = 0; p < grid.n_points; ++p) {
    uint32_t word = 0;
    for (int i = 0; i < kPoint; ++i) {
      const uint32_t magnitude = Type::kMagnitudes[grid.levels[kPoint * p + i]];
      word |= magnitude << (8 * i);
    }
    points.push_back(word);
  }
  return points;
}

}  // namespace

void PackFields(IQ3_XXS, const Fields& fields, uint8_t* bytes) {
  PackHalf(fields.half, bytes);
  for (int p = 0; p < kPoints; ++p) {
    bytes[kPointsAt + p] = static_cast<uint8_t>(fields.points[p]);
  }
  for (int g = 0; g < kGroups; ++g) {
    uint32_t word = static_cast<uint32_t>(fields.scales[g]) << 28;
    for (int k = 0; k < 4; ++k) {
      word |= (fields.signs[4 * g + k] & 127u) << (7 * k);
    }
    for (int k = 0; k < 4; ++k) {
      bytes[kAfterPoints + 4 * g + k] = static_cast<uint8_t>(word >> (8 * k));
    }
  }
}

void UnpackFields(IQ3_XXS, const uint8_t* bytes, Fields* fields) {
  fields->half = UnpackHalf(bytes);
  for (int p = 0; p < kPoints; ++p) {
    fields->points[p] = bytes[kPointsAt + p];
  }
  for (int g = 0; g < kGroups; ++g) {
    const uint8_t* from = bytes + kAfterPoints + 4 * g;
    const uint32_t word = from[0] | from[1] << 8 | from[2] << 16 |
                          static_cast<uint32_t>(from[3]) << 24;
    fields->scales[g] = static_cast<uint8_t>(word >> 28);
    for (int k = 0; k < 4; ++k) {
      fields->signs[4 * g + k] = WithEighthSign((word >> (7 * k)) & 127);
    }
  }
}

void PackFields(IQ3_S, const Fields& fields, uint8_t* bytes) {
  PackHalf(fields.half, bytes);
  std::memset(bytes + kHighBitsAt, 0, kPoints / 8);
  for (int p = 0; p < kPoints; ++p) {
    bytes[kPointsAt + p] = static_cast<uint8_t>(fields.points[p]);
    bytes[kHighBitsAt + p / 8] |=
        static_cast<uint8_t>((fields.points[p] >> 8) << (p % 8));
  }
  std::memcpy(bytes + kSignsAt, fields.signs, sizeof(fields.signs));
  for (int g = 0; g < kGroups; g += 2) {
    bytes[kScalesAt + g / 2] =
        static_cast<uint8_t>(fields.scales[g] | fields.scales[g + 1] << 4);
  }
}

void UnpackFields(IQ3_S, const uint8_t* bytes, Fields* fields) {
  fields->half = UnpackHalf(bytes);
  for (int p = 0; p < kPoints; ++p) {
    const int high = (bytes[kHighBitsAt + p / 8] >> (p % 8)) & 1;
    fields->points[p] = static_cast<uint16_t>(bytes[kPointsAt + p] | high << 8);
  }
  std::memcpy(fields->signs, bytes + kSignsAt, sizeof(fields->signs));
  for (int g = 0; g < kGroups; g += 2) {
    fields->scales[g] = bytes[kScalesAt + g / 2] & 15;
    fields->scales[g + 1] = bytes[kScalesAt + g / 2] >> 4;
  }
}

const uint32_t* PointMagnitudes(IQ3_XXS) {
  static const auto& points = *new auto(MagnitudesOf<IQ3_XXS>(Iq3XxsGrid()));
  return points.data();
}

const uint32_t* PointMagnitudes(IQ3_S) {
  static const auto& points = *new auto(MagnitudesOf<IQ3_S>(Iq3SGrid()));
  return points.data();
}

}  // namespace iq3
}  // namespace narrow
