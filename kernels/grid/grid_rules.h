// A GridSpec as the kernels of grid_kernels.h need it.
//
//   const GridRules rules = MakeGridRules(spec);
//   std::vector<FitStart> starts;
//   const FitPlan plan = MakeFitPlan(spec, options, &starts);
//
// Plain values; tables they point to are constant.

#ifndef NARROW_KERNELS_GRID_GRID_RULES_H_
#define NARROW_KERNELS_GRID_GRID_RULES_H_

#include <vector>

#include "kernels/grid/grid.h"
#include "kernels/grid/grid_kernels.h"

namespace narrow {

// REQUIRES: integers of 1 ... 8 bits; a scale type of QuantizedMatrix.
GridRules MakeGridRules(const GridSpec& spec);

// The plan points into `starts`.
FitPlan MakeFitPlan(const GridSpec& spec, const FitOptions& options,
                    std::vector<FitStart>* starts);

}  // namespace narrow

#endif  // NARROW_KERNELS_GRID_GRID_RULES_H_
