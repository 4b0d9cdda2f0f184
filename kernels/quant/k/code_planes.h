// Where the codes of a super-block lie in its bytes. Little-endian, frozen.
//
// Within each half (128 weights) or quarter (64), weights 32 apart share a
// byte, so that 32 neighbours are read with one shift:
//
//   two bits     byte l of half h:  w[128h+l]      bits 0-1
//                                   w[128h+l+32]   bits 2-3
//                                   w[128h+l+64]   bits 4-5
//                                   w[128h+l+96]   bits 6-7
//   four bits    byte l of quarter: w[64q+l] low, w[64q+l+32] high
//   one bit      byte l of 32:      w[32k+l] bit k, k = 0 … 7
//
// Q6_K alone pairs its low four bits at distance 64: bytes 0-31 of a half
// hold w[l] low and w[l+64] high, bytes 32-63 w[l+32] and w[l+96].
//
// Codes are counted from 0 here. The functions are static because the SIMD
// sources have their own copies, compiled for their instruction sets; loops
// have constant bounds so that they become vector code.

#ifndef NARROW_KERNELS_QUANT_K_CODE_PLANES_H_
#define NARROW_KERNELS_QUANT_K_CODE_PLANES_H_

#include <cstdint>

#include "kernels/quant/k/super_block.h"

namespace narrow {
namespace k_quants {

// Bits `shift`, `shift` + 1 of each code.
static inline void PackPairs(const uint8_t* codes, int shift, uint8_t* bytes) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t* c = codes + 128 * half;
    for (int l = 0; l < 32; ++l) {
      bytes[32 * half + l] = static_cast<uint8_t>(
          ((c[l] >> shift) & 3) | (((c[l + 32] >> shift) & 3) << 2) |
          (((c[l + 64] >> shift) & 3) << 4) |
          (((c[l + 96] >> shift) & 3) << 6));
    }
  }
}

static inline void AddPairs(const uint8_t* bytes, int shift, uint8_t* codes) {
  for (int half = 0; half < 2; ++half) {
    uint8_t* c = codes + 128 * half;
    for (int plane = 0; plane < 4; ++plane) {
      for (int l = 0; l < 32; ++l) {
        c[32 * plane + l] |= static_cast<uint8_t>(
            ((bytes[32 * half + l] >> (2 * plane)) & 3) << shift);
      }
    }
  }
}

// Bit `shift` of each code.
static inline void PackBits(const uint8_t* codes, int shift, uint8_t* bytes) {
  for (int l = 0; l < 32; ++l) {
    int byte = 0;
    for (int plane = 0; plane < 8; ++plane) {
      byte |= ((codes[32 * plane + l] >> shift) & 1) << plane;
    }
    bytes[l] = static_cast<uint8_t>(byte);
  }
}

static inline void AddBits(const uint8_t* bytes, int shift, uint8_t* codes) {
  for (int plane = 0; plane < 8; ++plane) {
    for (int l = 0; l < 32; ++l) {
      codes[32 * plane + l] |=
          static_cast<uint8_t>(((bytes[l] >> plane) & 1) << shift);
    }
  }
}

// The low four bits of each code, paired at `distance` 32 or 64.
static inline void PackNibbles(const uint8_t* codes, int distance,
                               uint8_t* bytes) {
  for (int i = 0; i < kSuperBlock; i += 2 * distance) {
    for (int l = 0; l < distance; ++l) {
      bytes[i / 2 + l] = static_cast<uint8_t>(
          (codes[i + l] & 15) | ((codes[i + l + distance] & 15) << 4));
    }
  }
}

static inline void UnpackNibbles(const uint8_t* bytes, int distance,
                                 uint8_t* codes) {
  for (int i = 0; i < kSuperBlock; i += 2 * distance) {
    for (int l = 0; l < distance; ++l) {
      codes[i + l] = bytes[i / 2 + l] & 15;
      codes[i + l + distance] = bytes[i / 2 + l] >> 4;
    }
  }
}

// The codes of a block of each type, to and from their place in its bytes.
// `bytes` is the whole block; other fields are not touched.

static inline void PackCodes(Q2_K, const uint8_t* codes, uint8_t* bytes) {
  PackPairs(codes, 0, bytes + 16);
}

static inline void PackCodes(Q3_K, const uint8_t* codes, uint8_t* bytes) {
  PackBits(codes, 2, bytes);
  PackPairs(codes, 0, bytes + 32);
}

static inline void PackCodes(Q4_K, const uint8_t* codes, uint8_t* bytes) {
  PackNibbles(codes, 32, bytes + 16);
}

static inline void PackCodes(Q5_K, const uint8_t* codes, uint8_t* bytes) {
  PackBits(codes, 4, bytes + 16);
  PackNibbles(codes, 32, bytes + 48);
}

static inline void PackCodes(Q6_K, const uint8_t* codes, uint8_t* bytes) {
  PackNibbles(codes, 64, bytes);
  PackPairs(codes, 4, bytes + 128);
}

static inline void ClearCodes(uint8_t* codes) {
  for (int i = 0; i < kSuperBlock; ++i) {
    codes[i] = 0;
  }
}

static inline void UnpackCodes(Q2_K, const uint8_t* bytes, uint8_t* codes) {
  ClearCodes(codes);
  AddPairs(bytes + 16, 0, codes);
}

static inline void UnpackCodes(Q3_K, const uint8_t* bytes, uint8_t* codes) {
  ClearCodes(codes);
  AddPairs(bytes + 32, 0, codes);
  AddBits(bytes, 2, codes);
}

static inline void UnpackCodes(Q4_K, const uint8_t* bytes, uint8_t* codes) {
  UnpackNibbles(bytes + 16, 32, codes);
}

static inline void UnpackCodes(Q5_K, const uint8_t* bytes, uint8_t* codes) {
  UnpackNibbles(bytes + 48, 32, codes);
  AddBits(bytes + 16, 4, codes);
}

static inline void UnpackCodes(Q6_K, const uint8_t* bytes, uint8_t* codes) {
  UnpackNibbles(bytes, 64, codes);
  AddPairs(bytes + 128, 4, codes);
}

}  // namespace k_quants
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_K_CODE_PLANES_H_
