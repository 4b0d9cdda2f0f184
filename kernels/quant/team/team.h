// Encoders as a card runs them: a block is the work of a team of threads.
//
// A team type has constants and one function template,
//
//   static constexpr int kThreads;   // a power of two up to 32
//   static constexpr int kBlock, kBytes, kPhases;
//   static constexpr bool kChecked;  // see below
//   struct State;                    // what a thread keeps between phases
//   struct Shared;                   // what the team's threads share
//   template <int kPhase, class Input>
//   static void Run(const Input& in, int thread, State*, Shared*);
//
// All threads of a team finish a phase before any begins the next. On a card
// threads are threads (encode_cuda.cu); emulate.cc runs them one after the
// other, so that this very code is tested where there is no card.
//
// Bytes are those of the type's codec, since operations and their order are:
// the searches are those of the SIMD encoders, with one lane (one_lane.h). A
// card's NaN has other bits than a processor's, so blocks with numbers that
// are not finite, or whose stored units come out so, are marked as failed, as
// are those that a team gives up; the host encodes them again. kChecked is
// false for teams that need no such check.

#ifndef NARROW_KERNELS_QUANT_TEAM_TEAM_H_
#define NARROW_KERNELS_QUANT_TEAM_TEAM_H_

#include "kernels/simd/one_lane.h"
// (One lane first: it stands in the place of lanes.h.)

#include <cstdint>

#include "kernels/quant/team/encode_task.h"

namespace narrow {
namespace team {

using namespace one_lane;  // NOLINT: the vocabulary of every team

// Sixteen bytes at once.
template <class Weight>
struct alignas(16) Piece {
  static constexpr int kSize = 16 / sizeof(Weight);
  Weight weights[kSize];
};

// A bfloat16's number.
NARROW_LANE_FUNCTION F32 Widen(uint16_t bits) {
  return AsFloat(static_cast<int32_t>(static_cast<uint32_t>(bits) << 16));
}

// A number's nearest bfloat16, as Bf16FromFloat of formats/base/float16.h.
NARROW_LANE_FUNCTION uint16_t Bf16Of(F32 value) {
  const auto bits = static_cast<uint32_t>(AsInt(value).v);
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000
                                   ? (bits >> 16) | 0x40
                                   : (bits + 0x7fff + ((bits >> 16) & 1)) >>
                                         16);
}

// Weight i of those at `weights`.
NARROW_LANE_FUNCTION F32 WeightAt(const void* weights, bool is_bf16,
                                  int64_t i) {
  return is_bf16 ? Widen(static_cast<const uint16_t*>(weights)[i])
                 : F32(static_cast<const float*>(weights)[i]);
}

// One block and where its bytes go.
struct BlockInput {
  const void* weights;
  bool is_bf16;
  const float* importance;  // of the block's columns, or nullptr
  F32 mean_square;          // of the block's row, where asked for
  const LatticeTables* tables;
  uint8_t* bytes;
  bool* failed;

  NARROW_LANE_FUNCTION F32 At(int i) const {
    return WeightAt(weights, is_bf16, i);
  }

  // Marks the block as failed if half precision cannot hold `unit`.
  NARROW_LANE_FUNCTION void CheckUnit(F32 unit) const {
    if ((F16FromFloat(unit).v & 0x7c00) == 0x7c00) {
      *failed = true;
    }
  }
  // Stores it at byte `at`, checked.
  NARROW_LANE_FUNCTION void StoreUnit(F32 unit, int at) const {
    CheckUnit(unit);
    StoreHalves(F16FromFloat(unit), 1, bytes + at, 0);
  }

  // kSize numbers from `first`; both are multiples of 8.
  template <int kSize>
  NARROW_LANE_FUNCTION void Load(int first, F32* out) const {
    if (is_bf16) {
      const auto* pieces = reinterpret_cast<const Piece<uint16_t>*>(
          static_cast<const uint16_t*>(weights) + first);
      for (int i = 0; i < kSize / 8; ++i) {
        const Piece<uint16_t> piece = pieces[i];
        for (int j = 0; j < 8; ++j) {
          out[8 * i + j] = Widen(piece.weights[j]);
        }
      }
    } else {
      LoadFloats<kSize>(static_cast<const float*>(weights) + first, out);
    }
  }

  template <int kSize>
  NARROW_LANE_FUNCTION void LoadImportance(int first, F32* out) const {
    LoadFloats<kSize>(importance + first, out);
  }

  // The sum of squares of the first n weights, in order.
  NARROW_LANE_FUNCTION F32 SumOfSquares(int n) const {
    F32 sum = {};
    for (int first = 0; first < n; first += 8) {
      F32 x[8];
      Load<8>(first, x);
      for (int i = 0; i < 8; ++i) {
        sum += x[i] * x[i];
      }
    }
    return sum;
  }

 private:
  template <int kSize>
  NARROW_LANE_FUNCTION static void LoadFloats(const float* from, F32* out) {
    const auto* pieces = reinterpret_cast<const Piece<float>*>(from);
    for (int i = 0; i < kSize / 4; ++i) {
      const Piece<float> piece = pieces[i];
      for (int j = 0; j < 4; ++j) {
        out[4 * i + j] = piece.weights[j];
      }
    }
  }
};

NARROW_LANE_FUNCTION bool IsFinite(F32 value) {
  return (AsInt(value).v & 0x7f800000) != 0x7f800000;
}

// Whether a thread's share of the block's inputs is finite. Sixteen bytes are
// read at once, those of neighbouring threads beside each other.
template <class Team>
NARROW_LANE_FUNCTION bool InputIsFinite(const BlockInput& in, int thread) {
  constexpr int kSize = 8;
  static_assert(!Team::kChecked || Team::kBlock % kSize == 0, "whole pieces");
  bool finite = true;
  for (int first = kSize * thread; first < Team::kBlock;
       first += kSize * Team::kThreads) {
    F32 numbers[kSize];
    in.template Load<kSize>(first, numbers);
    for (int i = 0; i < kSize; ++i) {
      finite &= IsFinite(numbers[i]);
    }
    if (in.importance != nullptr) {
      in.template LoadImportance<kSize>(first, numbers);
      for (int i = 0; i < kSize; ++i) {
        finite &= IsFinite(numbers[i]);
      }
    }
  }
  return finite;
}

NARROW_LANE_FUNCTION int Bounded(int value, int low, int high) {
  return value < low ? low : value > high ? high : value;
}

// A team without state, or that shares nothing.
struct Nothing {};

// Block `block` of a task.
NARROW_LANE_FUNCTION BlockInput InputOf(const EncodeTask& task, int64_t block,
                                        int block_size, int block_bytes,
                                        bool* failed) {
  const int64_t per_row = task.n_cols / block_size;
  const int64_t row = block / per_row;
  BlockInput in;
  in.weights = static_cast<const uint8_t*>(task.weights) +
               block * block_size * (task.is_bf16 ? 2 : 4);
  in.is_bf16 = task.is_bf16;
  in.importance = task.importance == nullptr
                      ? nullptr
                      : task.importance + (block - row * per_row) * block_size;
  in.mean_square = task.mean_squares == nullptr ? 0 : task.mean_squares[row];
  in.tables = &task.tables;
  in.bytes = task.bytes + block * block_bytes;
  in.failed = failed;
  return in;
}

}  // namespace team
}  // namespace narrow

#endif  // NARROW_KERNELS_QUANT_TEAM_TEAM_H_
