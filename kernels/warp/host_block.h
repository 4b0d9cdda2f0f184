// A block of threads on the CPU, so that code for tensor cores is tested
// without any: threads one after the other, a warp as its 32 lanes at once.
// See card_block.h for the same on a card, and fragments.h for the layouts.
//
// Multiply forms exact products and rounds their sum with the register's old
// value once. A card's order and rounding inside are not published; it
// rounds, by all that is known, not much worse than a float32 chain.
//
// A copy lands when its group is waited for and not before, as late as a card
// may be: a wait too short shows as old memory.

#ifndef NARROW_KERNELS_WARP_HOST_BLOCK_H_
#define NARROW_KERNELS_WARP_HOST_BLOCK_H_

#include <cassert>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "kernels/warp/fragments.h"

namespace narrow {
namespace warp {

// One product of fragments; of each lane, kLeftRegisters and so on.
void MultiplyFragments(const uint32_t* const* left,
                       const uint32_t* const* right, float* const* sums);

// Four matrices of 8 x 8: row r of matrix m begins at rows[8 * m + r], and
// register m of each lane gets two neighbours of it (ldmatrix.x4).
void LoadFragments(const uint16_t* const* rows, bool transposed,
                   uint32_t* const* registers);

template <class State>
class HostWarp {
 public:
  HostWarp(int index, State* states) : index_(index), states_(states) {}

  int index() const { return index_; }

  template <class Body>
  void Each(Body body) const {
    for (int lane = 0; lane < kLanes; ++lane) {
      body(lane, states_[lane]);
    }
  }

  template <bool kTransposed, class Address, class Registers>
  void LoadMatrices(Address address, Registers registers) const {
    const uint16_t* rows[kLanes];
    uint32_t* into[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      rows[lane] = address(lane);
      assert(reinterpret_cast<uintptr_t>(rows[lane]) % 16 == 0);
      into[lane] = registers(states_[lane]);
    }
    LoadFragments(rows, kTransposed, into);
  }

  template <class Sums, class Left, class Right>
  void Multiply(Sums sums, Left left, Right right) const {
    const uint32_t* a[kLanes];
    const uint32_t* b[kLanes];
    float* c[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      a[lane] = left(states_[lane]);
      b[lane] = right(states_[lane]);
      c[lane] = sums(states_[lane]);
    }
    MultiplyFragments(a, b, c);
  }

  template <class Register, class Combine>
  void FoldQuads(Register which, Combine combine) const {
    for (int distance = 1; distance <= 2; distance *= 2) {
      float old[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        old[lane] = *which(states_[lane]);
      }
      for (int lane = 0; lane < kLanes; ++lane) {
        *which(states_[lane]) = combine(old[lane], old[lane ^ distance]);
      }
    }
  }

 private:
  int index_;
  State* states_;
};

template <class State>
class HostBlock {
 public:
  explicit HostBlock(int n_threads) : states_(n_threads) {
    assert(n_threads % kLanes == 0);
  }

  template <class Body>
  void EachThread(Body body) {
    for (size_t thread = 0; thread < states_.size(); ++thread) {
      body(static_cast<int>(thread));
    }
  }
  template <class Body>
  void EachWarp(Body body) {
    for (size_t first = 0; first < states_.size(); first += kLanes) {
      body(HostWarp<State>(static_cast<int>(first) / kLanes, &states_[first]));
    }
  }

  // n_bytes of 16, zeros behind them.
  void Copy(const void* from, int n_bytes, void* to) {
    assert(reinterpret_cast<uintptr_t>(from) % 16 == 0);
    assert(reinterpret_cast<uintptr_t>(to) % 16 == 0);
    open_.push_back({from, n_bytes, to});
  }
  void Commit() {
    groups_.push_back(std::move(open_));
    open_.clear();
  }
  // Until no more than kGroups groups are under way.
  template <int kGroups>
  void Wait() {
    while (groups_.size() > kGroups) {
      for (const Pending& copy : groups_.front()) {
        std::memset(copy.to, 0, sizeof(Chunk));
        std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.n_bytes));
      }
      groups_.pop_front();
    }
  }
  void Sync() {}

 private:
  struct Pending {
    const void* from;
    int n_bytes;
    void* to;
  };

  std::vector<State> states_;
  std::vector<Pending> open_;
  std::deque<std::vector<Pending>> groups_;
};

}  // namespace warp
}  // namespace narrow

#endif  // NARROW_KERNELS_WARP_HOST_BLOCK_H_
