// A picture of the weights' relative error, layer by layer, a line a model.
//
// Inline SVG like scatter.h's.

#ifndef NARROW_VALIDATE_PAGE_PICTURES_LAYER_CHART_H_
#define NARROW_VALIDATE_PAGE_PICTURES_LAYER_CHART_H_

#include <string>
#include <vector>

namespace narrow {

struct LayerSeries {
  std::string name;            // not escaped
  std::vector<double> errors;  // shares, one a layer; NaN: none
};

// With a legend below. REQUIRES: each series has as many errors as there are
// layers.
std::string DrawLayerChart(const std::vector<std::string>& layers,
                           const std::vector<LayerSeries>& series);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_PICTURES_LAYER_CHART_H_
