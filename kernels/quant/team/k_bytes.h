// The bytes of k-quants as a team writes them: scales in registers, and a
// share of the codes for each thread. The layouts are those of
// k/sub_scales.h and k/code_planes.h.

#ifndef NARROW_KERNELS_QUANT_TEAM_K_BYTES_H_
#define NARROW_KERNELS_QUANT_TEAM_K_BYTES_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/k/super_block.h"

namespace narrow {
namespace team {

// Packed scales as words, so that no array with a variable index is needed.
template <int kWords>
struct Words {
  uint32_t words[kWords];

  NARROW_LANE_FUNCTION void Clear() {
    for (int i = 0; i < kWords; ++i) {
      words[i] = 0;
    }
  }
  // REQUIRES: a constant `byte`.
  NARROW_LANE_FUNCTION void Or(int byte, int value) {
    words[byte / 4] |= static_cast<uint32_t>(value & 255) << (byte % 4 * 8);
  }
  NARROW_LANE_FUNCTION int Byte(int byte) const {
    uint32_t word = words[0];
    for (int i = 1; i < kWords; ++i) {
      word = byte / 4 == i ? words[i] : word;
    }
    return static_cast<int>((word >> (byte % 4 * 8)) & 255);
  }
  NARROW_LANE_FUNCTION void Store(uint8_t* bytes) const {
    for (int i = 0; i < 4 * kWords; ++i) {
      bytes[i] = static_cast<uint8_t>(words[i / 4] >> (i % 4 * 8));
    }
  }
};

// d and dmin are as computed; Scale and Min as a reader gets them.
template <class Type>
struct SubScaleBytes;

template <>
struct SubScaleBytes<k_quants::Q2_K> {
  F32 d, dmin;
  Words<4> packed;

  NARROW_LANE_FUNCTION void Pack(const I32* scales, const I32* mins) {
    packed.Clear();
    for (int j = 0; j < 16; ++j) {
      packed.Or(j, scales[j].v | (mins[j].v << 4));
    }
  }
  NARROW_LANE_FUNCTION I32 Scale(int g) const { return packed.Byte(g) & 15; }
  NARROW_LANE_FUNCTION I32 Min(int g) const { return packed.Byte(g) >> 4; }
  template <class Input>
  NARROW_LANE_FUNCTION void Store(const Input& in) const {
    packed.Store(in.bytes);
    in.StoreUnit(d, 80);
    in.StoreUnit(dmin, 82);
  }
};

template <>
struct SubScaleBytes<k_quants::Q4_K> {
  F32 d, dmin;
  Words<3> packed;

  NARROW_LANE_FUNCTION void Pack(const I32* scales, const I32* mins) {
    packed.Clear();
    for (int j = 0; j < 4; ++j) {
      const int s = scales[j + 4].v;
      const int m = mins[j + 4].v;
      packed.Or(j, scales[j].v | ((s >> 4) << 6));
      packed.Or(j + 4, mins[j].v | ((m >> 4) << 6));
      packed.Or(j + 8, (s & 15) | ((m & 15) << 4));
    }
  }
  NARROW_LANE_FUNCTION I32 Scale(int g) const {
    return g < 4 ? packed.Byte(g) & 63
                 : (packed.Byte(g + 4) & 15) | ((packed.Byte(g - 4) >> 6) << 4);
  }
  NARROW_LANE_FUNCTION I32 Min(int g) const {
    return g < 4 ? packed.Byte(g + 4) & 63
                 : (packed.Byte(g + 4) >> 4) | ((packed.Byte(g) >> 6) << 4);
  }
  template <class Input>
  NARROW_LANE_FUNCTION void Store(const Input& in) const {
    in.StoreUnit(d, 0);
    in.StoreUnit(dmin, 2);
    packed.Store(in.bytes + 4);
  }
};

template <>
struct SubScaleBytes<k_quants::Q5_K> : SubScaleBytes<k_quants::Q4_K> {};

template <>
struct SubScaleBytes<k_quants::Q3_K> {
  F32 d;
  Words<3> packed;

  NARROW_LANE_FUNCTION void Pack(const I32* scales) {
    packed.Clear();
    for (int j = 0; j < 16; ++j) {
      const int stored = scales[j].v + 32;
      packed.Or(j % 8, (stored & 15) << (4 * (j / 8)));
      packed.Or(8 + j % 4, (stored >> 4) << (2 * (j / 4)));
    }
  }
  NARROW_LANE_FUNCTION I32 Scale(int g) const {
    const int low = (packed.Byte(g % 8) >> (4 * (g / 8))) & 15;
    const int high = (packed.Byte(8 + g % 4) >> (2 * (g / 4))) & 3;
    return (low | (high << 4)) - 32;
  }
  template <class Input>
  NARROW_LANE_FUNCTION void Store(const Input& in) const {
    packed.Store(in.bytes + 96);
    in.StoreUnit(d, 108);
  }
};

template <>
struct SubScaleBytes<k_quants::Q6_K> {
  F32 d;
  Words<4> packed;

  NARROW_LANE_FUNCTION void Pack(const I32* scales) {
    packed.Clear();
    for (int j = 0; j < 16; ++j) {
      packed.Or(j, scales[j].v);
    }
  }
  NARROW_LANE_FUNCTION I32 Scale(int g) const {
    return static_cast<int8_t>(packed.Byte(g));
  }
  template <class Input>
  NARROW_LANE_FUNCTION void Store(const Input& in) const {
    packed.Store(in.bytes + 192);
    in.StoreUnit(d, 208);
  }
};

// Bytes thread, thread + kThreads … of a plane, as in code_planes.h.
template <int kThreads>
NARROW_LANE_FUNCTION void PackPairsShare(const uint8_t* codes, int shift,
                                         int thread, uint8_t* bytes) {
  for (int i = thread; i < 64; i += kThreads) {
    const uint8_t* c = codes + i / 32 * 128 + i % 32;
    bytes[i] = static_cast<uint8_t>(
        ((c[0] >> shift) & 3) | (((c[32] >> shift) & 3) << 2) |
        (((c[64] >> shift) & 3) << 4) | (((c[96] >> shift) & 3) << 6));
  }
}

template <int kThreads>
NARROW_LANE_FUNCTION void PackBitsShare(const uint8_t* codes, int shift,
                                        int thread, uint8_t* bytes) {
  for (int l = thread; l < 32; l += kThreads) {
    int byte = 0;
    for (int plane = 0; plane < 8; ++plane) {
      byte |= ((codes[32 * plane + l] >> shift) & 1) << plane;
    }
    bytes[l] = static_cast<uint8_t>(byte);
  }
}

template <int kThreads, int kDistance>
NARROW_LANE_FUNCTION void PackNibblesShare(const uint8_t* codes, int thread,
                                           uint8_t* bytes) {
  for (int i = thread; i < 128; i += kThreads) {
    const uint8_t* c = codes + i / kDistance * 2 * kDistance + i % kDistance;
    bytes[i] = static_cast<uint8_t>((c[0] & 15) | ((c[kDistance] & 15) << 4));
  }
}

template <int kThreads>
NARROW_LANE_FUNCTION void PackCodesShare(k_quants::Q2_K, const uint8_t* codes,
                                         int thread, uint8_t* bytes) {
  PackPairsShare<kThreads>(codes, 0, thread, bytes + 16);
}
template <int kThreads>
NARROW_LANE_FUNCTION void PackCodesShare(k_quants::Q3_K, const uint8_t* codes,
                                         int thread, uint8_t* bytes) {
  PackBitsShare<kThreads>(codes, 2, thread, bytes);
  PackPairsShare<kThreads>(codes, 0, thread, bytes + 32);
}
template <int kThreads>
NARROW_LANE_FUNCTION void PackCodesShare(k_quants::Q4_K, const uint8_t* codes,
                                         int thread, uint8_t* bytes) {
  PackNibblesShare<kThreads, 32>(codes, thread, bytes + 16);
}
template <int kThreads>
NARROW_LANE_FUNCTION void PackCodesShare(k_quants::Q5_K, const uint8_t* codes,
                                         int thread, uint8_t* bytes) {
  PackBitsShare<kThreads>(codes, 4, thread, bytes + 16);
  PackNibblesShare<kThreads, 32>(codes, thread, bytes + 48);
}
template <int kThreads>
NARROW_LANE_FUNCTION void PackCodesShare(k_quants::Q6_K, const uint8_t* codes,
                                         int thread, uint8_t* bytes) {
  PackNibblesShare<kThreads, 64>(codes, thread, bytes);
  PackPairsShare<kThreads>(codes, 4, thread, bytes + 128);
}

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_K_BYTES_H_
