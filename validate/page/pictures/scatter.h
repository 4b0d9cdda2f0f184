// A picture of models by size and loss: a mark each with its error and name.
//
// Inline SVG, coloured by classes that the page's style sheet defines, so that
// it follows the reader's theme. The names do not cover one another; one that
// finds no place is in the mark's tooltip, as they all are.

#ifndef NARROW_VALIDATE_PAGE_PICTURES_SCATTER_H_
#define NARROW_VALIDATE_PAGE_PICTURES_SCATTER_H_

#include <optional>
#include <string>
#include <vector>

#include "validate/gate/verdict.h"
#include "validate/page/pictures/scale.h"

namespace narrow {

struct ScatterPoint {
  std::string name;  // not escaped
  double x = 0;
  double y = 0;
  double low = 0;  // ends of the error bar
  double high = 0;
  std::optional<Verdict> verdict;
};

struct ScatterOptions {
  std::string title;  // for readers that do not see
  std::string x_title;
  std::string y_title;
  Scale::Kind y_kind = Scale::kAuto;
  // A line across, such as the original's perplexity.
  std::optional<double> line;
  std::string line_label;
};

// REQUIRES: at least one point; all numbers of points finite.
std::string DrawScatter(const std::vector<ScatterPoint>& points,
                        const ScatterOptions& options);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_PICTURES_SCATTER_H_
