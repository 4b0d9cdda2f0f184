// Tested by: page_test.

#include "validate/page/pictures/scatter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "validate/page/escape.h"
#include "validate/page/names.h"
#include "validate/page/pictures/frame.h"
#include "validate/page/pictures/place_labels.h"

namespace narrow {
namespace {

constexpr size_t kLabelCharacters = 24;
constexpr double kLabelHeight = 13;
constexpr double kMarkRadius = 4.5;
// Kept from the ends of the axes, so that marks stand in the plot.
constexpr double kInset = 12;

const char* ClassOf(const std::optional<Verdict>& verdict) {
  if (!verdict) {
    return "mark";
  }
  switch (*verdict) {
    case Verdict::kPass:
      return "mark pass";
    case Verdict::kUndecided:
      return "mark undecided";
    case Verdict::kFail:
      return "mark fail";
  }
  return "mark";
}

// A disc; a triangle where the gate is undecided, a cross where it failed, so
// that colours are not needed.
std::string Mark(const ScatterPoint& point, double x, double y) {
  const double r = kMarkRadius;
  if (point.verdict == Verdict::kFail) {
    return absl::StrFormat(
        "<path d=\"M%.1f %.1fL%.1f %.1fM%.1f %.1fL%.1f %.1f\" class=\"%s "
        "cross\">",
        x - r, y - r, x + r, y + r, x - r, y + r, x + r, y - r,
        ClassOf(point.verdict));
  }
  if (point.verdict == Verdict::kUndecided) {
    return absl::StrFormat(
        "<path d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1fZ\" class=\"%s\">", x,
        y - r - 1, x + r + 1, y + r, x - r - 1, y + r, ClassOf(point.verdict));
  }
  return absl::StrFormat(
      "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" "
      "class=\"%s\">",
      x, y, r, ClassOf(point.verdict));
}

const char* EndOfMark(const ScatterPoint& point) {
  return point.verdict == Verdict::kFail || point.verdict == Verdict::kUndecided
             ? "</path>\n"
             : "</circle>\n";
}

class Scatter {
 public:
  Scatter(const std::vector<ScatterPoint>& points,
          const ScatterOptions& options)
      : points_(points), options_(options) {
    std::vector<double> xs;
    std::vector<double> ys;
    for (const ScatterPoint& point : points) {
      xs.push_back(point.x);
      ys.insert(ys.end(), {point.y, point.low, point.high});
    }
    if (options.line) {
      ys.push_back(*options.line);
    }
    x_ = Scale::Fit(xs, Scale::kAuto, kPlotLeft + kInset, kPlotRight - kInset);
    y_ = Scale::Fit(ys, options.y_kind, kPlotBottom, kPlotTop + kInset);
  }

  std::string Draw() {
    svg_ = BeginPicture(options_.title);
    svg_ +=
        DrawAxes(x_.ticks(), y_.ticks(), options_.x_title, options_.y_title);
    DrawLine();
    for (const ScatterPoint& point : points_) {
      DrawPoint(point);
    }
    DrawLabels();
    return absl::StrCat(svg_, "</svg>\n");
  }

 private:
  void DrawLine() {
    if (!options_.line) {
      return;
    }
    const double y = y_.Place(*options_.line);
    // At the left: small files lie well above the original's line.
    absl::StrAppend(
        &svg_, "<line class=\"original\" x1=\"", kPlotLeft, "\" x2=\"",
        kPlotRight, "\" y1=\"", Coordinate(y), "\" y2=\"", Coordinate(y),
        "\"/>\n<text class=\"tick\" x=\"", kPlotLeft + 4, "\" y=\"",
        Coordinate(y - 4), "\">", HtmlText(options_.line_label), "</text>\n");
    const double width = TextWidth(options_.line_label);
    obstacles_.push_back({kPlotLeft + 4, y - 16, kPlotLeft + 4 + width, y - 1});
    obstacles_.push_back({kPlotLeft, y - 1, kPlotRight, y + 1});
  }

  void DrawPoint(const ScatterPoint& point) {
    const double x = x_.Place(point.x);
    const double y = y_.Place(point.y);
    const double low = y_.Place(point.low);
    const double high = y_.Place(point.high);
    if (low - high > 2 * kMarkRadius) {
      absl::StrAppend(&svg_, "<line class=\"", ClassOf(point.verdict),
                      " bar\" x1=\"", Coordinate(x), "\" x2=\"", Coordinate(x),
                      "\" y1=\"", Coordinate(low), "\" y2=\"", Coordinate(high),
                      "\"/>\n");
      obstacles_.push_back({x - 1, high, x + 1, low});
    }
    const std::string tooltip = absl::StrFormat(
        "%s: %.6g (%.6g … %.6g)", point.name, point.y, point.low, point.high);
    absl::StrAppend(&svg_, Mark(point, x, y), "<title>", HtmlText(tooltip),
                    "</title>", EndOfMark(point));
  }

  void DrawLabels() {
    std::vector<LabelledPoint> labelled;
    std::vector<std::string> names;
    for (const ScatterPoint& point : points_) {
      names.push_back(Shortened(Harmless(point.name), kLabelCharacters));
      labelled.push_back({x_.Place(point.x), y_.Place(point.y),
                          TextWidth(names.back()), kLabelHeight});
    }
    // Above the plot only the title stands, at the left.
    const Box bounds = {kPlotLeft + 2, kPlotTop - 10, kPictureWidth - 1,
                        kPlotBottom - 1};
    const auto places = PlaceLabels(labelled, obstacles_, bounds);
    for (size_t i = 0; i < places.size(); ++i) {
      if (places[i].shown) {
        DrawLabel(labelled[i], places[i], names[i]);
      }
    }
  }

  void DrawLabel(const LabelledPoint& point, const LabelPlace& place,
                 const std::string& name) {
    const Box& box = place.box;
    const double middle = (box.left + box.right) / 2;
    if (place.has_line) {
      const double x = std::min(std::max(point.x, box.left), box.right);
      const double y = std::min(std::max(point.y, box.top), box.bottom);
      absl::StrAppend(&svg_, "<line class=\"leader\" x1=\"",
                      Coordinate(point.x), "\" y1=\"", Coordinate(point.y),
                      "\" x2=\"", Coordinate(x), "\" y2=\"", Coordinate(y),
                      "\"/>\n");
    }
    absl::StrAppend(&svg_, "<text class=\"label\" x=\"", Coordinate(middle),
                    "\" y=\"", Coordinate(box.bottom - 3),
                    "\" text-anchor=\"middle\">", HtmlText(name), "</text>\n");
  }

  const std::vector<ScatterPoint>& points_;
  const ScatterOptions& options_;
  Scale x_;
  Scale y_;
  std::vector<Box> obstacles_;
  std::string svg_;
};

}  // namespace

std::string DrawScatter(const std::vector<ScatterPoint>& points,
                        const ScatterOptions& options) {
  return Scatter(points, options).Draw();
}

}  // namespace narrow
