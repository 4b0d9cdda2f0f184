#include "kernels/compensated/parts/block_panel.h"

#include <cmath>
#include <cstddef>

#include "formats/quant_type.h"

namespace narrow {

BlockPanel::BlockPanel(const BlockCodec& codec, const BlockRules& rules,
                       int64_t n_cols, const RowPanel& rows)
    : codec_(codec),
      rules_(rules),
      rows_(rows),
      n_cols_(n_cols),
      n_blocks_(n_cols / codec.block),
      lanes_(rows.n_lanes),
      block_bytes_(Geometry(codec.type).block_bytes),
      codes_(static_cast<size_t>(n_cols * lanes_)),
      d_(static_cast<size_t>(n_blocks_ * lanes_)),
      dmin_(d_.size()),
      scales_(d_.size() * static_cast<size_t>(rules.n_sub)),
      mins_(scales_.size()),
      steps_(scales_.size()),
      lows_(scales_.size()) {
  if (rules.scale_values != nullptr || rules.scale_low > 0) {
    // A stored 0 may be none of the scales.
    scales_.assign(scales_.size(), rules.scale_low);
  }
}

FieldLanes BlockPanel::Fields(int64_t block) {
  FieldLanes fields;
  const int64_t at = block * lanes_;
  fields.d = d_.data() + at;
  fields.dmin = dmin_.data() + at;
  fields.scales = scales_.data() + at * rules_.n_sub;
  fields.mins = mins_.data() + at * rules_.n_sub;
  fields.steps = steps_.data() + at * rules_.n_sub;
  fields.lows = lows_.data() + at * rules_.n_sub;
  return fields;
}

BlockFields BlockPanel::FieldsOf(int64_t block, int64_t lane) const {
  BlockFields fields;
  fields.d = d_[static_cast<size_t>(block * lanes_ + lane)];
  fields.dmin = dmin_[static_cast<size_t>(block * lanes_ + lane)];
  for (int64_t g = 0; g < rules_.n_sub; ++g) {
    const size_t at =
        static_cast<size_t>((block * rules_.n_sub + g) * lanes_ + lane);
    fields.scales[g] = static_cast<int16_t>(scales_[at]);
    fields.mins[g] = static_cast<int16_t>(mins_[at]);
  }
  return fields;
}

void BlockPanel::SetFields(int64_t block, int64_t lane,
                           const BlockFields& fields) {
  // ggml's encoders overflow where weights do.
  const auto finite = [](float x) { return std::isfinite(x) ? x : 0.0f; };
  d_[static_cast<size_t>(block * lanes_ + lane)] = finite(fields.d);
  dmin_[static_cast<size_t>(block * lanes_ + lane)] = finite(fields.dmin);
  for (int64_t g = 0; g < rules_.n_sub; ++g) {
    const size_t at =
        static_cast<size_t>((block * rules_.n_sub + g) * lanes_ + lane);
    scales_[at] = fields.scales[g];
    mins_[at] = fields.mins[g];
  }
}

void BlockPanel::Derive(int64_t block) {
  BlockKernelsForCpu().derive(rules_, lanes_, Fields(block));
}

const uint8_t* BlockPanel::RowBytes(const uint8_t* bytes, int64_t lane) const {
  return bytes + (rows_.first_row + lane) * n_blocks_ * block_bytes_;
}

void BlockPanel::Load(const uint8_t* bytes) {
  for (int64_t lane = 0; lane < rows_.n_rows; ++lane) {
    const uint8_t* from = RowBytes(bytes, lane);
    for (int64_t block = 0; block < n_blocks_; ++block, from += block_bytes_) {
      BlockFields fields;
      int8_t codes[kMaxBlockWeights];
      codec_.unpack(from, &fields, codes);
      SetFields(block, lane, fields);
      int8_t* to = Codes(block * codec_.block) + lane;
      for (int i = 0; i < codec_.block; ++i) {
        to[i * lanes_] = codes[i];
      }
    }
  }
  for (int64_t block = 0; block < n_blocks_; ++block) {
    Derive(block);
  }
}

void BlockPanel::StoreRow(int64_t lane, uint8_t* bytes) const {
  uint8_t* to = const_cast<uint8_t*>(RowBytes(bytes, lane));
  for (int64_t block = 0; block < n_blocks_; ++block, to += block_bytes_) {
    int8_t codes[kMaxBlockWeights];
    const int8_t* from = codes_.data() + block * codec_.block * lanes_ + lane;
    for (int i = 0; i < codec_.block; ++i) {
      codes[i] = from[i * lanes_];
    }
    codec_.pack(FieldsOf(block, lane), codes, to);
  }
}

void BlockPanel::Decode(float* values) {
  for (int64_t block = 0; block < n_blocks_; ++block) {
    const int64_t column = block * codec_.block;
    BlockKernelsForCpu().decode(rules_, Codes(column), lanes_, Fields(block),
                                values + column * lanes_);
  }
}

}  // namespace narrow
