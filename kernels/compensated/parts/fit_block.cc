#include "kernels/compensated/parts/fit_block.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "formats/base/float16.h"
#include "formats/quant_type.h"

namespace narrow {
namespace {

// Rows of a block, one after the other.
std::vector<float> GatherRows(const float* columns, int64_t lanes, int64_t n,
                              int64_t n_rows) {
  std::vector<float> rows(static_cast<size_t>(n * n_rows));
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t lane = 0; lane < n_rows; ++lane) {
      rows[static_cast<size_t>(lane * n + j)] = columns[j * lanes + lane];
    }
  }
  return rows;
}

// By ggml's own encoder, which has lanes; its codes are dropped.
void FitByEncoding(const BlockCodec& codec, int64_t n_rows,
                   const std::vector<float>& rows, const float* weights,
                   int64_t block, BlockPanel* panel) {
  const int64_t block_bytes = Geometry(codec.type).block_bytes;
  std::vector<uint8_t> bytes(static_cast<size_t>(n_rows * block_bytes));
  codec.EncodeRows(rows.data(), n_rows, codec.block, weights, bytes.data());
  for (int64_t lane = 0; lane < n_rows; ++lane) {
    const uint8_t* const from = bytes.data() + lane * block_bytes;
    BlockFields fields;
    if (codec.block_is_finite(from)) {
      int8_t codes[kMaxBlockWeights];
      codec.unpack(from, &fields, codes);
    } else {
      codec.fit(rows.data() + lane * codec.block, weights, &fields);
    }
    panel->SetFields(block, lane, fields);
  }
}

// Shares of the encoder's d that are tried. Ternary types want a third to a
// half of the largest weight, the others a little less than all of it.
constexpr float kShares[] = {1.0f,  1.02f, 0.98f, 0.96f, 0.94f, 0.91f, 0.88f,
                             0.85f, 0.82f, 0.79f, 0.76f, 0.73f, 0.7f,  0.66f,
                             0.62f, 0.58f, 0.54f, 0.5f,  0.46f, 0.42f, 0.38f,
                             0.34f, 0.3f,  0.26f, 0.22f};
// Places of a table of scales around the encoder's that are tried.
constexpr int kPlacesDown = 8;
constexpr int kPlacesUp = 4;

// The candidates of one type, for d or for a stored scale.
class ScaleTrial {
 public:
  ScaleTrial(const BlockRules& rules, int64_t lanes)
      : rules_(rules), lanes_(lanes), lows_(static_cast<size_t>(lanes), 0.0f) {}

  // A block without sub-blocks: the best of d times factors.
  template <typename Factors>
  void BestUnit(const float* columns, const float* weights,
                const Factors& factors, const FieldLanes& fields) {
    std::vector<float> start(fields.d, fields.d + lanes_);
    std::vector<float> steps(start.size());
    std::vector<float> units(start.size());
    std::vector<float> errors(start.size());
    std::vector<float> least(start.size(), INFINITY);
    for (const float factor : factors) {
      for (size_t i = 0; i < start.size(); ++i) {
        units[i] = LegalUnit(start[i] * factor);
        steps[i] = units[i] * rules_.code_unit;
      }
      BlockKernelsForCpu().score(rules_, columns, lanes_, rules_.block, weights,
                                 steps.data(), lows_.data(), errors.data());
      for (size_t i = 0; i < start.size(); ++i) {
        if (errors[i] < least[i]) {
          least[i] = errors[i];
          fields.d[i] = units[i];
        }
      }
    }
  }

  // Each sub-block's stored scale, d being 1.
  void BestScales(const float* columns, const float* weights,
                  const FieldLanes& fields) {
    std::vector<float> steps(static_cast<size_t>(lanes_));
    std::vector<float> errors(steps.size());
    for (int64_t g = 0; g < rules_.n_sub; ++g) {
      float* const scales = fields.scales + g * lanes_;
      const std::vector<float> start(scales, scales + lanes_);
      std::vector<float> least(steps.size(), INFINITY);
      for (int place = -kPlacesDown; place <= kPlacesUp; ++place) {
        std::vector<float> stored(steps.size());
        for (size_t i = 0; i < steps.size(); ++i) {
          stored[i] = std::min(
              std::max(start[i] + static_cast<float>(place), rules_.scale_low),
              rules_.scale_high);
          steps[i] = ScaleOf(stored[i]) * rules_.code_unit;
        }
        const int64_t begin = g * rules_.sub;
        BlockKernelsForCpu().score(rules_, columns + begin * lanes_, lanes_,
                                   rules_.sub, weights + begin, steps.data(),
                                   lows_.data(), errors.data());
        for (size_t i = 0; i < steps.size(); ++i) {
          if (errors[i] < least[i]) {
            least[i] = errors[i];
            scales[i] = stored[i];
          }
        }
      }
    }
  }

 private:
  float LegalUnit(float x) const {
    return rules_.unit == BlockRules::Unit::kHalf
               ? FloatFromF16(
                     F16FromFloat(std::fmin(std::fmax(x, -65504.0f), 65504.0f)))
               : std::fmin(std::fmax(x, 0x1p-127f), 0x1p125f);
  }
  float ScaleOf(float stored) const {
    return rules_.scale_values != nullptr
               ? rules_
                     .scale_values[static_cast<int>(stored - rules_.scale_low)]
               : stored * rules_.scale_times + rules_.scale_plus;
  }

  const BlockRules& rules_;
  const int64_t lanes_;
  const std::vector<float> lows_;
};

// From the type's own rule, by search under the weights.
void FitByTrial(const BlockCodec& codec, const BlockRules& rules,
                int64_t n_rows, const std::vector<float>& rows,
                const float* columns, const float* weights, int64_t block,
                BlockPanel* panel) {
  for (int64_t lane = 0; lane < n_rows; ++lane) {
    BlockFields fields;
    codec.fit(rows.data() + lane * codec.block, weights, &fields);
    panel->SetFields(block, lane, fields);
  }
  ScaleTrial trial(rules, panel->lanes());
  const FieldLanes fields = panel->Fields(block);
  if (rules.unit == BlockRules::Unit::kPowerOfTwo) {
    constexpr float kOctaves[] = {1.0f, 0.5f, 2.0f};
    trial.BestUnit(columns, weights, kOctaves, fields);
  } else if (rules.unit == BlockRules::Unit::kHalf) {
    trial.BestUnit(columns, weights, kShares, fields);
  } else {
    trial.BestScales(columns, weights, fields);
  }
}

}  // namespace

void FitBlock(const BlockCodec& codec, const BlockRules& rules, int64_t n_rows,
              const float* columns, const float* weights, int64_t block,
              BlockPanel* panel) {
  const std::vector<float> rows =
      GatherRows(columns, panel->lanes(), codec.block, n_rows);
  if (codec.uses_importance) {
    FitByEncoding(codec, n_rows, rows, weights, block, panel);
  } else {
    FitByTrial(codec, rules, n_rows, rows, columns, weights, block, panel);
  }
  panel->Derive(block);
}

}  // namespace narrow
