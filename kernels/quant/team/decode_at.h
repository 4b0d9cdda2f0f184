// Blocks to weights as a card's threads do it: one weight a thread, found in
// its block's bytes. The layouts are where each type's encoder is; operations
// and their order are the codecs' decoders', so weights have their bits (but
// for NaNs).
//
//   F32 weight = DecodeQ4_K::At(block, i, tables);

#ifndef NARROW_KERNELS_QUANT_TEAM_DECODE_AT_H_
#define NARROW_KERNELS_QUANT_TEAM_DECODE_AT_H_

#include "kernels/quant/team/team.h"
// (Before any header of lanes.)
#include "kernels/quant/team/iq4_team.h"

namespace narrow {
namespace team {

NARROW_LANE_FUNCTION F32 HalfAt(const uint8_t* bytes) {
  return ScalarFromF16(bytes);
}
NARROW_LANE_FUNCTION int Bit(const uint8_t* bytes, int i) {
  return (bytes[i / 8] >> (i % 8)) & 1;
}
// Nibble i of `n` neighbours: the first half of them low.
NARROW_LANE_FUNCTION int NibbleAt(const uint8_t* bytes, int i, int n) {
  return i < n / 2 ? bytes[i] & 15 : bytes[i - n / 2] >> 4;
}
NARROW_LANE_FUNCTION F32 Number(int code) { return static_cast<float>(code); }

template <int kBlock_, int kBytes_>
struct DecodeShape {
  static constexpr int kBlock = kBlock_;
  static constexpr int kBytes = kBytes_;
};

struct DecodeF16 : DecodeShape<1, 2> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int,
                                     const LatticeTables&) {
    return HalfAt(b);
  }
};
struct DecodeBF16 : DecodeShape<1, 2> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int,
                                     const LatticeTables&) {
    return Widen(static_cast<uint16_t>(b[0] | b[1] << 8));
  }
};
struct DecodeQ8_0 : DecodeShape<32, 34> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    return Number(static_cast<int8_t>(b[2 + i])) * HalfAt(b);
  }
};
struct DecodeQ4_0 : DecodeShape<32, 18> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    return Number(NibbleAt(b + 2, i, 32) - 8) * HalfAt(b);
  }
};
struct DecodeQ4_1 : DecodeShape<32, 20> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    return Number(NibbleAt(b + 4, i, 32)) * HalfAt(b) + HalfAt(b + 2);
  }
};
struct DecodeQ5_0 : DecodeShape<32, 22> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    const int code = NibbleAt(b + 6, i, 32) | Bit(b + 2, i) << 4;
    return Number(code - 16) * HalfAt(b);
  }
};
struct DecodeQ5_1 : DecodeShape<32, 24> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    const int code = NibbleAt(b + 8, i, 32) | Bit(b + 4, i) << 4;
    return Number(code) * HalfAt(b) + HalfAt(b + 2);
  }
};

// Two bits of weight i, and one, as in k/code_planes.h.
NARROW_LANE_FUNCTION int PairAt(const uint8_t* bytes, int i) {
  return (bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
}
NARROW_LANE_FUNCTION int PlaneBit(const uint8_t* bytes, int i) {
  return (bytes[i % 32] >> (i / 32)) & 1;
}
NARROW_LANE_FUNCTION int NibbleOfPair(const uint8_t* bytes, int i,
                                      int distance) {
  const int at = i / (2 * distance) * distance + i % distance;
  return i % (2 * distance) < distance ? bytes[at] & 15 : bytes[at] >> 4;
}

struct DecodeQ2_K : DecodeShape<256, 84> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    const int packed = b[i / 16];
    const F32 scale = HalfAt(b + 80) * Number(packed & 15);
    return scale * Number(PairAt(b + 16, i)) -
           HalfAt(b + 82) * Number(packed >> 4);
  }
};
struct DecodeQ3_K : DecodeShape<256, 110> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    const int g = i / 16;
    const int low = (b[96 + g % 8] >> (4 * (g / 8))) & 15;
    const int high = (b[104 + g % 4] >> (2 * (g / 4))) & 3;
    const F32 scale = HalfAt(b + 108) * Number((low | high << 4) - 32);
    return scale * Number((PairAt(b + 32, i) | PlaneBit(b, i) << 2) - 4);
  }
};

// The six bits of scale (0) or minimum (4) g of Q4_K and Q5_K.
NARROW_LANE_FUNCTION int SixBits(const uint8_t* b, int g, int which) {
  if (g < 4) {
    return b[g + which] & 63;
  }
  const int low = which == 0 ? b[g + 4] & 15 : b[g + 4] >> 4;
  return low | (b[g - 4 + which] >> 6) << 4;
}
NARROW_LANE_FUNCTION F32 AffineWeight(const uint8_t* b, int i, int code) {
  const F32 scale = HalfAt(b) * Number(SixBits(b + 4, i / 32, 0));
  return scale * Number(code) -
         HalfAt(b + 2) * Number(SixBits(b + 4, i / 32, 4));
}
struct DecodeQ4_K : DecodeShape<256, 144> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    return AffineWeight(b, i, NibbleOfPair(b + 16, i, 32));
  }
};
struct DecodeQ5_K : DecodeShape<256, 176> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    return AffineWeight(b, i,
                        NibbleOfPair(b + 48, i, 32) | PlaneBit(b + 16, i) << 4);
  }
};
struct DecodeQ6_K : DecodeShape<256, 210> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    const int code = NibbleOfPair(b, i, 64) | PairAt(b + 128, i) << 4;
    const F32 scale =
        HalfAt(b + 208) * Number(static_cast<int8_t>(b[192 + i / 16]));
    return scale * Number(code - 32);
  }
};

struct DecodeIQ4_NL : DecodeShape<32, 18> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    return HalfAt(b) * iq4_detail::CodeAt(NibbleAt(b + 2, i, 32));
  }
};
struct DecodeIQ4_XS : DecodeShape<256, 136> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    const int g = i / 32;
    const int low = (b[4 + g / 2] >> (4 * (g % 2))) & 15;
    const int high = (b[2 + g / 4] >> (2 * (g % 4))) & 3;
    const F32 step = HalfAt(b) * Number((low | high << 4) - 32);
    return step * iq4_detail::CodeAt(NibbleAt(b + 8 + 16 * g, i % 32, 32));
  }
};

struct DecodeTQ1_0 : DecodeShape<256, 54> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    const int first = i < 160 ? 0 : i < 240 ? 160 : 240;
    const int run = i < 160 ? 32 : i < 240 ? 16 : 4;
    const int at = (i < 160 ? 0 : i < 240 ? 32 : 48) + (i - first) % run;
    int rest = b[at];
    for (int t = (i - first) / run; t > 0; --t) {
      rest = rest * 3 & 255;
    }
    return Number((rest * 3 >> 8) - 1) * HalfAt(b + 52);
  }
};
struct DecodeTQ2_0 : DecodeShape<256, 66> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    return Number(PairAt(b, i) - 1) * HalfAt(b + 64);
  }
};
struct DecodeQ1_0 : DecodeShape<128, 18> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    return Number(2 * Bit(b + 2, i) - 1) * HalfAt(b);
  }
};
struct DecodeQ2_0 : DecodeShape<64, 18> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    return Number(((b[2 + i / 4] >> (2 * (i % 4))) & 3) - 1) * HalfAt(b);
  }
};

// Twice an E2M1 number.
NARROW_LANE_FUNCTION F32 E2m1(int nibble) {
  constexpr uint32_t kDoubled = 0xc8643210u;
  const int size = static_cast<int>((kDoubled >> (4 * (nibble & 7))) & 15);
  return Number(nibble & 8 ? -size : size);
}
struct DecodeMXFP4 : DecodeShape<32, 17> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    const uint32_t byte = b[0];
    const uint32_t bits = byte < 2 ? 0x00200000u << byte : (byte - 1) << 23;
    return E2m1(NibbleAt(b + 1, i, 32)) * AsFloat(static_cast<int32_t>(bits));
  }
};
struct DecodeNVFP4 : DecodeShape<64, 36> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables&) {
    const int byte = b[i / 16];
    const int exponent = (byte >> 3) & 15;
    const int mantissa = byte & 7;
    // Half of UE4M3Value of fp4/scale_bytes.h; 2^(e - 11) has bits of its own.
    const F32 step = exponent == 0 ? Number(mantissa) * 0x1p-10f
                                   : Number(8 + mantissa) *
                                         AsFloat((exponent - 11 + 127) << 23);
    return E2m1(NibbleAt(b + 4 + i / 16 * 8, i % 16, 16)) *
           (byte == 0x7f ? F32{} : step);
  }
};

// Weight i of a unit of 8 by its point's levels and signs.
NARROW_LANE_FUNCTION F32 Iq2Weight(F32 d, int scale, uint32_t point,
                                   uint32_t signs, int i,
                                   const LatticeTables& tables) {
  const int level = tables.levels[8 * point + i % 8];
  const int magnitude = 8 + 17 * level + (level == 2 ? 1 : 0);
  return d * (0.5f + Number(scale)) * 0.25f *
         Number(signs >> (i % 8) & 1 ? -magnitude : magnitude);
}
// Seven signs and the one that makes the number of negative weights even.
NARROW_LANE_FUNCTION uint32_t EightSigns(uint32_t seven) {
  seven &= 127;
  uint32_t parity = seven ^ seven >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return seven | (parity & 1) << 7;
}
NARROW_LANE_FUNCTION uint32_t WordAt(const uint8_t* b) {
  return b[0] | b[1] << 8 | b[2] << 16 | static_cast<uint32_t>(b[3]) << 24;
}
struct DecodeIQ2_XXS : DecodeShape<256, 66> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables& tables) {
    const uint8_t* group = b + 2 + 8 * (i / 32);
    const int k = i % 32 / 8;
    const uint32_t word = WordAt(group + 4);
    return Iq2Weight(HalfAt(b), static_cast<int>(word >> 28), group[k],
                     EightSigns(word >> (7 * k)), i, tables);
  }
};
struct DecodeIQ2_XS : DecodeShape<256, 74> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables& tables) {
    const int u = i / 8;
    const uint32_t word = b[2 + 2 * u] | b[3 + 2 * u] << 8;
    return Iq2Weight(HalfAt(b), (b[66 + i / 32] >> (i / 16 % 2 * 4)) & 15,
                     word & 511, EightSigns(word >> 9), i, tables);
  }
};
struct DecodeIQ2_S : DecodeShape<256, 82> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables& tables) {
    const int u = i / 8;
    const uint32_t high = (b[66 + u / 4] >> (2 * (u % 4))) & 3;
    return Iq2Weight(HalfAt(b), (b[74 + i / 32] >> (i / 16 % 2 * 4)) & 15,
                     b[2 + u] | high << 8, b[34 + u], i, tables);
  }
};

struct DecodeIQ3_XXS : DecodeShape<256, 98> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables& tables) {
    const int level = tables.levels[4 * b[2 + i / 4] + i % 4];
    const int magnitude = 4 + 8 * level + (level == 7 ? 2 : 0);
    const uint32_t word = WordAt(b + 66 + 4 * (i / 32));
    const uint32_t signs = EightSigns(word >> (7 * (i % 32 / 8)));
    return HalfAt(b) * (0.5f + Number(static_cast<int>(word >> 28))) * 0.5f *
           Number(signs >> (i % 8) & 1 ? -magnitude : magnitude);
  }
};
struct DecodeIQ3_S : DecodeShape<256, 110> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables& tables) {
    const int point = b[2 + i / 4] | Bit(b + 66, i / 4) << 8;
    const int magnitude = 2 * tables.levels[4 * point + i % 4] + 1;
    const int scale = (b[106 + i / 64] >> (i / 32 % 2 * 4)) & 15;
    return HalfAt(b) * Number(1 + 2 * scale) *
           Number(Bit(b + 74, i) != 0 ? -magnitude : magnitude);
  }
};

NARROW_LANE_FUNCTION F32 Iq1Weight(F32 d, int scale, int point, bool down,
                                   int i, const LatticeTables& tables) {
  const F32 level = Number(tables.levels[8 * point + i % 8] - 1);
  return d * Number(2 * scale + 1) * (level + (down ? -0.125f : 0.125f));
}
struct DecodeIQ1_S : DecodeShape<256, 50> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables& tables) {
    const int g = i / 32;
    const int field = b[34 + 2 * g] | b[35 + 2 * g] << 8;
    const int point = b[2 + i / 8] | (field >> (3 * (i / 8 % 4)) & 7) << 8;
    return Iq1Weight(HalfAt(b), field >> 12 & 7, point, field >> 15 != 0, i,
                     tables);
  }
};
struct DecodeIQ1_M : DecodeShape<256, 56> {
  NARROW_LANE_FUNCTION static F32 At(const uint8_t* b, int i,
                                     const LatticeTables& tables) {
    const auto word = [b](int w) { return b[48 + 2 * w] | b[49 + 2 * w] << 8; };
    int half = 0;
    for (int w = 0; w < 4; ++w) {
      half |= word(w) >> 12 << (4 * w);
    }
    const int g = i / 16;
    const int nibble = b[32 + g] >> (i / 8 % 2 * 4) & 15;
    return Iq1Weight(FloatFromF16(half), word(g / 4) >> (3 * (g % 4)) & 7,
                     b[i / 8] | (nibble & 7) << 8, nibble >> 3 != 0, i, tables);
  }
};

// Weight i of a task.
template <class Decode>
NARROW_LANE_FUNCTION void DecodeWeight(const DecodeTask& task, int64_t i) {
  const int64_t block = i / Decode::kBlock;
  const F32 weight =
      Decode::At(task.bytes + block * Decode::kBytes,
                 static_cast<int>(i - block * Decode::kBlock), task.tables);
  if (task.floats != nullptr) {
    task.floats[i] = weight.v;
  }
  if (task.halves != nullptr) {
    task.halves[i] = Bf16Of(weight);
  }
}

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_DECODE_AT_H_
