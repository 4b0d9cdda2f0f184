// Some rows of a matrix of blocks while they are worked on: fields and codes
// in the lanes of a panel (block_kernels.h), from bytes and back to them.
//
//   BlockPanel panel(codec, rules, n_cols, rows);
//   panel.Load(bytes);
//   panel.Decode(values);            // [n_cols, lanes]
//   panel.StoreRow(lane, bytes);
//
// Lanes beyond the last row hold fields and codes of 0. Borrows codec and
// rules; one thread at a time.

#ifndef NARROW_KERNELS_COMPENSATED_PARTS_BLOCK_PANEL_H_
#define NARROW_KERNELS_COMPENSATED_PARTS_BLOCK_PANEL_H_

#include <cstdint>
#include <vector>

#include "kernels/compensated/block_kernels.h"
#include "kernels/feedback/row_panel.h"
#include "kernels/quant/codec.h"

namespace narrow {

class BlockPanel {
 public:
  BlockPanel(const BlockCodec& codec, const BlockRules& rules, int64_t n_cols,
             const RowPanel& rows);

  int64_t n_blocks() const { return n_blocks_; }
  int64_t lanes() const { return lanes_; }
  FieldLanes Fields(int64_t block);
  // [n_cols, lanes], from a column on.
  int8_t* Codes(int64_t column) { return codes_.data() + column * lanes_; }

  // The fields of one row, as codecs have them, and back; steps follow.
  BlockFields FieldsOf(int64_t block, int64_t lane) const;
  void SetFields(int64_t block, int64_t lane, const BlockFields& fields);
  void Derive(int64_t block);

  // `bytes` are those of the whole matrix.
  void Load(const uint8_t* bytes);
  void StoreRow(int64_t lane, uint8_t* bytes) const;
  void Decode(float* values);

 private:
  const uint8_t* RowBytes(const uint8_t* bytes, int64_t lane) const;

  const BlockCodec& codec_;
  const BlockRules& rules_;
  const RowPanel rows_;
  const int64_t n_cols_;
  const int64_t n_blocks_;
  const int64_t lanes_;
  const int64_t block_bytes_;
  std::vector<int8_t> codes_;
  // [block, lane]
  std::vector<float> d_;
  std::vector<float> dmin_;
  // [block, sub-block, lane]
  std::vector<float> scales_;
  std::vector<float> mins_;
  std::vector<float> steps_;
  std::vector<float> lows_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_COMPENSATED_PARTS_BLOCK_PANEL_H_
