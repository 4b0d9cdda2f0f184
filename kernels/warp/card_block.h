// A block of threads on a card, as block_host.h is one on the CPU: code that
// is a template over the block runs on both. For .cu files.
//
//   CardBlock<State> block(&state);
//   block.EachThread([&](int thread) { block.Copy(from, n_bytes, to); });
//   block.Commit();
//   block.Wait<1>();                      // all copies but the last group's
//   block.Sync();
//   block.EachWarp([&](CardWarp<State> warp) {
//     warp.LoadMatrices<false>(address_of_lane, registers_of_state);
//     warp.Multiply(sums_of_state, left_of_state, right_of_state);
//   });

#ifndef NARROW_KERNELS_WARP_CARD_BLOCK_H_
#define NARROW_KERNELS_WARP_CARD_BLOCK_H_

#include <cstdint>

#include "kernels/warp/fragments.h"

namespace narrow {
namespace warp {

template <class State>
class CardWarp {
 public:
  NARROW_BLOCK_FUNCTION CardWarp(int index, int lane, State* state)
      : index_(index), lane_(lane), state_(state) {}

  NARROW_BLOCK_FUNCTION int index() const { return index_; }

  template <class Body>
  NARROW_BLOCK_FUNCTION void Each(Body body) const {
    body(lane_, *state_);
  }

  template <bool kTransposed, class Address, class Registers>
  NARROW_BLOCK_FUNCTION void LoadMatrices(Address address,
                                          Registers registers) const {
    const uint32_t at =
        static_cast<uint32_t>(__cvta_generic_to_shared(address(lane_)));
    uint32_t* r = registers(*state_);
    if constexpr (kTransposed) {
      asm volatile(
          "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
          : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
          : "r"(at)
          : "memory");
    } else {
      asm volatile(
          "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
          : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
          : "r"(at)
          : "memory");
    }
  }

  template <class Sums, class Left, class Right>
  NARROW_BLOCK_FUNCTION void Multiply(Sums sums, Left left, Right right) const {
    float* c = sums(*state_);
    const uint32_t* a = left(*state_);
    const uint32_t* b = right(*state_);
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }

  // What a register becomes over the four lanes that share rows of the sums:
  // combine(combine(x, y), combine(z, w)).
  template <class Register, class Combine>
  NARROW_BLOCK_FUNCTION void FoldQuads(Register which, Combine combine) const {
    float* value = which(*state_);
    *value = combine(*value, __shfl_xor_sync(0xffffffffu, *value, 1));
    *value = combine(*value, __shfl_xor_sync(0xffffffffu, *value, 2));
  }

 private:
  int index_;
  int lane_;
  State* state_;
};

template <class State>
class CardBlock {
 public:
  NARROW_BLOCK_FUNCTION explicit CardBlock(State* state) : state_(state) {}

  template <class Body>
  NARROW_BLOCK_FUNCTION void EachThread(Body body) const {
    body(static_cast<int>(threadIdx.x));
  }
  template <class Body>
  NARROW_BLOCK_FUNCTION void EachWarp(Body body) const {
    const int thread = static_cast<int>(threadIdx.x);
    body(CardWarp<State>(thread / kLanes, thread % kLanes, state_));
  }

  NARROW_BLOCK_FUNCTION void Copy(const void* from, int n_bytes,
                                  void* to) const {
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at),
                 "l"(from), "r"(n_bytes)
                 : "memory");
  }
  NARROW_BLOCK_FUNCTION void Commit() const {
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  template <int kGroups>
  NARROW_BLOCK_FUNCTION void Wait() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
  }
  NARROW_BLOCK_FUNCTION void Sync() const { __syncthreads(); }

 private:
  State* state_;
};

}  // namespace warp
}  // namespace narrow

#endif  // NARROW_KERNELS_WARP_CARD_BLOCK_H_
