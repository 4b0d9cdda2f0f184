// Causal attention of one sequence, by tiles of queries.
//
//   Attention attention(&matmul_f32, &rows);
//   PackedKeys keys;
//   RETURN_IF_ERROR(attention.PackKeys(shape, k, v, stride, &keys));
//   for (q = 0; q < shape.n_tokens; q += kQueryTile)
//     attention.Attend(shape, queries, q_stride, q, keys, out, out_stride);
//
// out[t] = sum_s softmax_s(cap(scale * q[t] . k[s])) v[s] over the keys s that
// t sees: s <= t, and s > t - window where there is a window. A task is one
// tile of queries of all heads that share a key-value head; keys are visited
// in blocks of fixed size from the first that any query of the tile sees, so
// results depend on nothing but the sequence. Products in float32; the sum
// of exponentials in double.
//
// Safe from any thread, as are packed keys while nobody packs them.

#ifndef NARROW_KERNELS_ATTENTION_ATTENTION_H_
#define NARROW_KERNELS_ATTENTION_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/matmul/matmul.h"
#include "kernels/rows/rows.h"

namespace narrow {

inline constexpr int64_t kQueryTile = 64;

struct AttentionShape {
  int64_t n_tokens = 0;
  int64_t group = 0;  // query heads that share the key-value head
  int64_t head_dim = 0;
  int64_t window = 0;  // keys a query sees, itself included; 0: all before
  float scale = 1;
  float soft_cap = 0;  // 0: none
};

// Keys and values of one head of one sequence, in blocks of key tokens.
struct PackedKeys {
  PackedMatrix keys;                 // a panel a block
  std::vector<PackedMatrix> values;  // a matrix a block, transposed
};

class Attention {
 public:
  // Both must outlive this object; `matmul` of a type with float32 operands.
  Attention(Matmul* matmul, const RowKernels* rows)
      : matmul_(matmul), rows_(rows) {}

  // `k` and `v`: token t's vectors begin at t * stride.
  absl::Status PackKeys(const AttentionShape& shape, const float* k,
                        const float* v, int64_t stride, PackedKeys* keys);

  // Queries [first, first + kQueryTile), as far as there are tokens. Those of
  // head g and token t begin at q + t * q_stride + g * head_dim, the results
  // at out + t * out_stride + g * head_dim.
  void Attend(const AttentionShape& shape, const float* q, int64_t q_stride,
              int64_t first, const PackedKeys& keys, float* out,
              int64_t out_stride);

 private:
  struct QueryTile;

  void Softmax(const AttentionShape& shape, const QueryTile& tile) const;
  void SumValues(const AttentionShape& shape, const QueryTile& tile,
                 const PackedKeys& keys, float* out, int64_t out_stride);

  Matmul* const matmul_;
  const RowKernels* const rows_;
};

// The definition for one head, in double: q, k, v, out are
// [n_tokens, head_dim], packed.
void AttendReference(const AttentionShape& shape, const float* q,
                     const float* k, const float* v, float* out);

}  // namespace narrow

#endif  // NARROW_KERNELS_ATTENTION_ATTENTION_H_
