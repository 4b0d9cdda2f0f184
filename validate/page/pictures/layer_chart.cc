// Tested by: page_test.

#include "validate/page/pictures/layer_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "validate/page/escape.h"
#include "validate/page/names.h"
#include "validate/page/pictures/frame.h"
#include "validate/page/pictures/scale.h"

namespace narrow {
namespace {

constexpr size_t kColours = 8;  // classes s0 … s7 of the style sheet
constexpr double kInset = 10;
constexpr size_t kLegendCharacters = 40;

// Another dash for every round through the colours.
std::string StyleOf(size_t series) {
  static constexpr const char* kDashes[] = {"", "5 3", "2 3", "8 3 2 3"};
  const char* dash = kDashes[series / kColours % 4];
  return absl::StrCat(
      "class=\"series s", series % kColours, "\"",
      *dash == '\0' ? "" : absl::StrCat(" stroke-dasharray=\"", dash, "\""));
}

class LayerChart {
 public:
  LayerChart(const std::vector<std::string>& layers,
             const std::vector<LayerSeries>& series)
      : layers_(layers), series_(series) {
    std::vector<double> all;
    for (const LayerSeries& one : series) {
      for (const double error : one.errors) {
        all.push_back(100 * error);
      }
    }
    y_ = Scale::Fit(all, Scale::kAuto, kPlotBottom, kPlotTop + kInset);
    if (!y_.is_log()) {
      y_ = Scale::Fit(all, Scale::kFromZero, kPlotBottom, kPlotTop + kInset);
    }
  }

  std::string Draw() const {
    std::string svg = BeginPicture("Relative error of the weights by layer");
    svg += DrawAxes(XTicks(), y_.ticks(), "layer",
                    "relative error of the weights, %");
    for (size_t s = 0; s < series_.size(); ++s) {
      svg += DrawSeries(s);
    }
    svg += "</svg>\n<ul class=\"legend\">\n";
    for (size_t s = 0; s < series_.size(); ++s) {
      absl::StrAppend(&svg, "<li><svg viewBox=\"0 0 22 8\"><line ", StyleOf(s),
                      " x1=\"0\" x2=\"22\" y1=\"4\" y2=\"4\"/></svg>",
                      HtmlText(Shortened(series_[s].name, kLegendCharacters)),
                      "</li>\n");
    }
    return svg + "</ul>\n";
  }

 private:
  double X(size_t layer) const {
    const double step = (kPlotRight - kPlotLeft - 2 * kInset) /
                        std::max<double>(1, layers_.size() - 1.0);
    return kPlotLeft + kInset + static_cast<double>(layer) * step;
  }

  // Numbers of blocks at round distances; what lies outside them by a short
  // name.
  std::vector<Tick> XTicks() const {
    const size_t stride = layers_.size() <= 24   ? 2
                          : layers_.size() <= 60 ? 5
                                                 : 10;
    std::vector<Tick> ticks;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const std::string& name = layers_[i];
      uint64_t block = 0;
      if (!absl::SimpleAtoi(name, &block)) {
        ticks.push_back({X(i), name == "token_embd" ? "emb"
                               : name == "output"   ? "out"
                                                    : Shortened(name, 6)});
      } else if (block % stride == 0) {
        ticks.push_back({X(i), name});
      }
    }
    return ticks;
  }

  std::string DrawSeries(size_t s) const {
    const LayerSeries& one = series_[s];
    std::string path;
    std::string dots;
    bool drawing = false;
    for (size_t i = 0; i < one.errors.size(); ++i) {
      if (!std::isfinite(one.errors[i])) {
        drawing = false;
        continue;
      }
      const double x = X(i);
      const double y = y_.Place(100 * one.errors[i]);
      absl::StrAppendFormat(&path, "%c%.1f %.1f", drawing ? 'L' : 'M', x, y);
      drawing = true;
      absl::StrAppendFormat(&dots,
                            "<circle class=\"dot s%d\" cx=\"%.1f\" cy=\"%.1f\" "
                            "r=\"2\"><title>%s, %s: %.3g %%</title></circle>\n",
                            s % kColours, x, y, HtmlText(one.name),
                            HtmlText(layers_[i]), 100 * one.errors[i]);
    }
    return absl::StrCat("<path ", StyleOf(s), " d=\"", path, "\"/>\n", dots);
  }

  const std::vector<std::string>& layers_;
  const std::vector<LayerSeries>& series_;
  Scale y_;
};

}  // namespace

std::string DrawLayerChart(const std::vector<std::string>& layers,
                           const std::vector<LayerSeries>& series) {
  return LayerChart(layers, series).Draw();
}

}  // namespace narrow
