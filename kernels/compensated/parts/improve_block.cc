#include "kernels/compensated/parts/improve_block.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "kernels/compensated/parts/unit_inverses.h"

namespace narrow {

BlockForm MakeBlockForm(const BlockCodec& codec, const BlockRules& rules,
                        const float* h, int64_t h_stride) {
  BlockForm form;
  form.h = h;
  form.h_stride = h_stride;
  for (int64_t j = 0; j < rules.block; ++j) {
    for (int64_t g = 0; g < rules.n_sub; ++g) {
      double sum = 0;
      for (int64_t k = g * rules.sub; k < (g + 1) * rules.sub; ++k) {
        sum += static_cast<double>(h[j * h_stride + k]);
      }
      form.sums.push_back(static_cast<float>(sum));
    }
  }
  if (codec.unit > 1) {
    form.inverses = UnitInverses(h, h_stride, codec.block, codec.unit);
  }
  return form;
}

BlockImprover::BlockImprover(const BlockCodec& codec, const BlockRules& rules,
                             const UnitRuleSet& units, int64_t lanes)
    : codec_(codec),
      rules_(rules),
      units_(units),
      lanes_(lanes),
      numbers_(static_cast<size_t>(codec.block)),
      direction_(static_cast<size_t>(codec.block * lanes)),
      curvature_(direction_.size()),
      targets_(static_cast<size_t>(codec.unit * lanes)),
      downs_(static_cast<size_t>(lanes)) {
  std::iota(numbers_.begin(), numbers_.end(), 0);
}

void BlockImprover::Improve(const BlockForm& form, bool refit, bool sweep,
                            int64_t n_rows, int64_t block, float* values,
                            float* gradient, BlockPanel* panel) {
  const BlockKernels& kernels = BlockKernelsForCpu();
  GramBlock gram;
  gram.ld = lanes_;
  gram.h = form.h;
  gram.h_stride = form.h_stride;
  gram.sums = form.sums.data();
  gram.fields = panel->Fields(block);
  gram.codes = panel->Codes(block * codec_.block);
  gram.values = values;
  gram.gradient = gradient;
  gram.direction = direction_.data();
  gram.curvature = curvature_.data();
  if (refit) {
    kernels.refit_units(rules_, gram);
    kernels.refit_subs(rules_, gram);
  }
  if (sweep && codec_.unit == 1) {
    kernels.sweep(rules_, gram);
  } else if (sweep) {
    SweepUnits(form, n_rows, block, gram, *panel);
  }
}

void BlockImprover::SweepUnits(const BlockForm& form, int64_t n_rows,
                               int64_t block, const GramBlock& gram,
                               const BlockPanel& panel) {
  const UnitRules& rules = units_.rules();
  const int64_t size = rules.unit * lanes_;
  float metric[kMaxUnit * kMaxUnit];
  UnitBlock unit;
  unit.ld = lanes_;
  unit.has_start = true;
  unit.targets = targets_.data();
  unit.metric = metric;
  unit.downs = downs_.data();
  unit.changes = direction_.data();
  for (int first = 0; first < codec_.block; first += rules.unit) {
    const float* const h = gram.h + first * gram.h_stride + first;
    for (int i = 0; i < rules.unit * rules.unit; ++i) {
      metric[i] = h[i / rules.unit * gram.h_stride + i % rules.unit];
    }
    NewtonTargets(form, gram, first);
    units_.Downs(panel, block, first, n_rows, downs_.data());
    unit.steps = gram.fields.steps + first / rules_.sub * lanes_;
    unit.codes = gram.codes + first * lanes_;
    unit.values = gram.values + first * lanes_;
    BlockKernelsForCpu().round_unit(rules, unit);
    if (std::any_of(direction_.begin(), direction_.begin() + size,
                    [](float x) { return x != 0; })) {
      BlockKernelsForCpu().add_products(
          gram.h, gram.h_stride, numbers_.data() + first, rules.unit,
          direction_.data(), 0, codec_.block, gram.gradient, lanes_);
    }
  }
}

// q - G H[s, s]^-1: where the unit would like to be.
void BlockImprover::NewtonTargets(const BlockForm& form, const GramBlock& gram,
                                  int first) {
  const int n = codec_.unit;
  for (int i = 0; i < n; ++i) {
    const float* const inverse = form.inverses.data() + (first + i) * n;
    const float* const values = gram.values + (first + i) * lanes_;
    float* const to = targets_.data() + i * lanes_;
    std::copy(values, values + lanes_, to);
    for (int k = 0; k < n; ++k) {
      const float* const g = gram.gradient + (first + k) * lanes_;
      for (int64_t lane = 0; lane < lanes_; ++lane) {
        to[lane] -= g[lane] * inverse[k];
      }
    }
  }
}

}  // namespace narrow
