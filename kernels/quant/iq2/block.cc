#include "kernels/quant/iq2/block.h"

namespace narrow {
namespace iq2 {
namespace {

uint16_t LoadHalfWord(const uint8_t* bytes) {
  return static_cast<uint16_t>(bytes[0] | (bytes[1] << 8));
}
void StoreHalfWord(uint16_t value, uint8_t* bytes) {
  bytes[0] = static_cast<uint8_t>(value);
  bytes[1] = static_cast<uint8_t>(value >> 8);
}

// Seven signs and the one that makes the number of negative weights even.
uint8_t EightSigns(uint32_t seven) {
  seven &= 127;
  return static_cast<uint8_t>(seven | ((__builtin_popcount(seven) & 1) << 7));
}

// Two scales a byte.
void StoreScales(const StoredBlock& block, uint8_t* bytes) {
  for (int i = 0; i < kMaxGroups / 2; ++i) {
    bytes[i] = static_cast<uint8_t>(block.scales[2 * i] |
                                    (block.scales[2 * i + 1] << 4));
  }
}
void LoadScales(const uint8_t* bytes, StoredBlock* block) {
  for (int i = 0; i < kMaxGroups / 2; ++i) {
    block->scales[2 * i] = bytes[i] & 15;
    block->scales[2 * i + 1] = bytes[i] >> 4;
  }
}

}  // namespace

void StoreBlock(Iq2Xxs, const StoredBlock& block, uint8_t* bytes) {
  StoreHalfWord(block.d, bytes);
  bytes += 2;
  for (int g = 0; g < kSuperBlock / Iq2Xxs::kGroup; ++g, bytes += 8) {
    uint32_t word = static_cast<uint32_t>(block.scales[g]) << 28;
    for (int k = 0; k < 4; ++k) {
      bytes[k] = static_cast<uint8_t>(block.points[4 * g + k]);
      word |= static_cast<uint32_t>(block.signs[4 * g + k] & 127) << (7 * k);
    }
    StoreHalfWord(static_cast<uint16_t>(word), bytes + 4);
    StoreHalfWord(static_cast<uint16_t>(word >> 16), bytes + 6);
  }
}

StoredBlock LoadBlock(Iq2Xxs, const uint8_t* bytes) {
  StoredBlock block = {};
  block.d = LoadHalfWord(bytes);
  bytes += 2;
  for (int g = 0; g < kSuperBlock / Iq2Xxs::kGroup; ++g, bytes += 8) {
    const uint32_t word =
        LoadHalfWord(bytes + 4) |
        (static_cast<uint32_t>(LoadHalfWord(bytes + 6)) << 16);
    for (int k = 0; k < 4; ++k) {
      block.points[4 * g + k] = bytes[k];
      block.signs[4 * g + k] = EightSigns(word >> (7 * k));
    }
    block.scales[g] = static_cast<uint8_t>(word >> 28);
  }
  return block;
}

void StoreBlock(Iq2Xs, const StoredBlock& block, uint8_t* bytes) {
  StoreHalfWord(block.d, bytes);
  for (int u = 0; u < kUnits; ++u) {
    StoreHalfWord(
        static_cast<uint16_t>(block.points[u] | (block.signs[u] << 9)),
        bytes + 2 + 2 * u);
  }
  StoreScales(block, bytes + 66);
}

StoredBlock LoadBlock(Iq2Xs, const uint8_t* bytes) {
  StoredBlock block = {};
  block.d = LoadHalfWord(bytes);
  for (int u = 0; u < kUnits; ++u) {
    const uint16_t word = LoadHalfWord(bytes + 2 + 2 * u);
    block.points[u] = word & 511;
    block.signs[u] = EightSigns(word >> 9);
  }
  LoadScales(bytes + 66, &block);
  return block;
}

void StoreBlock(Iq2S, const StoredBlock& block, uint8_t* bytes) {
  StoreHalfWord(block.d, bytes);
  for (int u = 0; u < kUnits; ++u) {
    bytes[2 + u] = static_cast<uint8_t>(block.points[u]);
    bytes[34 + u] = block.signs[u];
  }
  for (int u = 0; u < kUnits; u += 4) {
    int high = 0;
    for (int k = 0; k < 4; ++k) {
      high |= (block.points[u + k] >> 8) << (2 * k);
    }
    bytes[66 + u / 4] = static_cast<uint8_t>(high);
  }
  StoreScales(block, bytes + 74);
}

StoredBlock LoadBlock(Iq2S, const uint8_t* bytes) {
  StoredBlock block = {};
  block.d = LoadHalfWord(bytes);
  for (int u = 0; u < kUnits; ++u) {
    const int high = (bytes[66 + u / 4] >> (2 * (u % 4))) & 3;
    block.points[u] = static_cast<uint16_t>(bytes[2 + u] | (high << 8));
    block.signs[u] = bytes[34 + u];
  }
  LoadScales(bytes + 74, &block);
  return block;
}

}  // namespace iq2
}  // namespace narrow
