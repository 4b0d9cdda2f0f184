#include "kernels/grid/grid.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "kernels/grid/grid_kernels.h"
#include "kernels/grid/grid_rules.h"
#include "kernels/grid/panel.h"

namespace narrow {
namespace {

int64_t NumGroups(const GridSpec& spec, int64_t n_cols) {
  return spec.group > 0 ? (n_cols + spec.group - 1) / spec.group : 1;
}

// Column weights, or as many ones.
std::vector<float> WeightsOrOnes(const float* weights, int64_t n) {
  return weights != nullptr ? std::vector<float>(weights, weights + n)
                            : std::vector<float>(static_cast<size_t>(n), 1.0f);
}

// Groups [begin, end) of the rows of one panel.
void FitPanelGroups(const GridRules& rules, const FitPlan& plan,
                    const float* weights, int64_t ld,
                    const float* column_weights, int64_t begin, int64_t end,
                    const RowPanel& panel, GridRows* rows) {
  const int64_t lanes = panel.n_lanes;
  std::vector<float> columns;
  float scales[kMaxPanelRows];
  float zeros[kMaxPanelRows];
  for (int64_t group = begin; group < end; ++group) {
    const int64_t first = rows->GroupBegin(group);
    const int64_t n = rows->GroupEnd(group) - first;
    columns.resize(static_cast<size_t>(n * lanes));
    panel.Gather(weights, ld, first, n, columns.data());
    GridKernelsForCpu().fit(rules, plan, columns.data(), lanes, n,
                            column_weights + first, scales, zeros);
    ScatterGroup(panel, group, scales, zeros, rows);
  }
}

void Fit(const float* weights, int64_t ld, const float* column_weights,
         const FitOptions& options, int64_t begin, int64_t end, GridRows* rows,
         ThreadPool* pool) {
  const GridRules rules = MakeGridRules(rows->spec);
  std::vector<FitStart> starts;
  const FitPlan plan = MakeFitPlan(rows->spec, options, &starts);
  const std::vector<float> v = WeightsOrOnes(column_weights, rows->n_cols);
  ForEachPanel(rows->n_rows, kPanelLanes, pool, [&](const RowPanel& panel) {
    FitPanelGroups(rules, plan, weights, ld, v.data(), begin, end, panel, rows);
  });
}

}  // namespace

GridRows::GridRows(const GridSpec& grid_spec, int64_t rows, int64_t cols)
    : spec(grid_spec),
      n_rows(rows),
      n_cols(cols),
      n_groups(NumGroups(grid_spec, cols)),
      codes(static_cast<size_t>(rows * cols)),
      scales(static_cast<size_t>(rows * n_groups), 1.0f) {
  if (spec.zero != ZeroKind::kNone) {
    zeros.assign(scales.size(), static_cast<float>(1 << (spec.bits - 1)));
  }
}

int64_t GridRows::GroupBegin(int64_t group) const { return group * spec.group; }

int64_t GridRows::GroupEnd(int64_t group) const {
  return spec.group > 0 ? std::min(n_cols, (group + 1) * spec.group) : n_cols;
}

void GridRows::Decode(int64_t row, float* out) const {
  const bool is_integer = spec.code == CodeKind::kInteger;
  const float* const table = CodeTable(spec.code);
  for (int64_t group = 0; group < n_groups; ++group) {
    const size_t at = static_cast<size_t>(row * n_groups + group);
    const float step = scales[at] * spec.scale_unit / spec.global_scale;
    const float zero = !is_integer ? 0
                       : zeros.empty()
                           ? static_cast<float>(1 << (spec.bits - 1))
                           : zeros[at];
    for (int64_t j = GroupBegin(group); j < GroupEnd(group); ++j) {
      const float level = table[codes[static_cast<size_t>(row * n_cols + j)]];
      out[j] = (level - zero) * step;
    }
  }
}

void FitGroup(const float* weights, int64_t ld, const float* column_weights,
              const FitOptions& options, int64_t group, GridRows* rows,
              ThreadPool* pool) {
  assert(group >= 0 && group < rows->n_groups);
  Fit(weights, ld, column_weights, options, group, group + 1, rows, pool);
}

void FitGroups(const float* weights, int64_t ld, const float* column_weights,
               const FitOptions& options, GridRows* rows, ThreadPool* pool) {
  Fit(weights, ld, column_weights, options, 0, rows->n_groups, rows, pool);
}

void RoundRows(const float* weights, int64_t ld, GridRows* rows,
               ThreadPool* pool) {
  const GridRules rules = MakeGridRules(rows->spec);
  ForEachPanel(rows->n_rows, kPanelLanes, pool, [&](const RowPanel& panel) {
    const int64_t lanes = panel.n_lanes;
    std::vector<float> columns;
    std::vector<uint8_t> codes;
    float scales[kMaxPanelRows];
    float zeros[kMaxPanelRows];
    for (int64_t group = 0; group < rows->n_groups; ++group) {
      const int64_t first = rows->GroupBegin(group);
      const int64_t n = rows->GroupEnd(group) - first;
      columns.resize(static_cast<size_t>(n * lanes));
      codes.resize(columns.size());
      panel.Gather(weights, ld, first, n, columns.data());
      GatherGroup(panel, *rows, group, scales, zeros);
      GridKernelsForCpu().round(rules, columns.data(), lanes, n, scales, zeros,
                                codes.data());
      ScatterCodes(panel, codes.data(), first, n, rows);
    }
  });
}

}  // namespace narrow
