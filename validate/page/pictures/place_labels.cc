#include "validate/page/pictures/place_labels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace narrow {
namespace {

// Of a point's mark, with a little room.
constexpr double kPointRadius = 6;
constexpr std::array<double, 7> kDistances = {9, 15, 24, 36, 52, 72, 100};
constexpr double kLineFrom = 20;
// Directions tried at each distance: right, left, above, below, diagonals.
constexpr std::array<std::array<double, 2>, 12> kDirections = {{
    {1, 0},
    {-1, 0},
    {0, -1},
    {0, 1},
    {0.8, -0.6},
    {0.8, 0.6},
    {-0.8, -0.6},
    {-0.8, 0.6},
    {0.5, -0.87},
    {0.5, 0.87},
    {-0.5, -0.87},
    {-0.5, 0.87},
}};

Box PointBox(const LabelledPoint& point) {
  return {point.x - kPointRadius, point.y - kPointRadius,
          point.x + kPointRadius, point.y + kPointRadius};
}

// The label's box when its nearest edge or corner lies that way.
Box LabelBox(const LabelledPoint& point, const std::array<double, 2>& way,
             double distance) {
  const double half_width = point.label_width / 2;
  const double half_height = point.label_height / 2;
  const double x = point.x + way[0] * (distance + half_width);
  const double y = point.y + way[1] * (distance + half_height);
  return {x - half_width, y - half_height, x + half_width, y + half_height};
}

// Whether the line from a point to its label passes through `box`: looked at
// in steps, since boxes are larger than those.
bool LineCrosses(const LabelledPoint& point, const Box& label, const Box& box) {
  constexpr int kSteps = 24;
  const double x = std::clamp(point.x, label.left, label.right);
  const double y = std::clamp(point.y, label.top, label.bottom);
  for (int i = 1; i < kSteps; ++i) {
    const double part = static_cast<double>(i) / kSteps;
    const double at_x = point.x + part * (x - point.x);
    const double at_y = point.y + part * (y - point.y);
    if (at_x > box.left && at_x < box.right && at_y > box.top &&
        at_y < box.bottom) {
      return true;
    }
  }
  return false;
}

// Points within reach of a label, of the first ones at most: who has many
// neighbours chooses first.
std::vector<size_t> MostCrowdedFirst(absl::Span<const LabelledPoint> points) {
  std::vector<int> neighbours(points.size());
  for (size_t i = 0; i < points.size(); ++i) {
    for (size_t k = 0; k < points.size(); ++k) {
      neighbours[i] +=
          std::hypot(points[i].x - points[k].x, points[i].y - points[k].y) < 50;
    }
  }
  std::vector<size_t> order(points.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return neighbours[a] > neighbours[b];
  });
  return order;
}

class Placer {
 public:
  Placer(absl::Span<const LabelledPoint> points,
         absl::Span<const Box> obstacles, const Box& bounds)
      : points_(points),
        obstacles_(obstacles),
        bounds_(bounds),
        places_(points.size()) {}

  std::vector<LabelPlace> Run() {
    for (const size_t i : MostCrowdedFirst(points_)) {
      Place(i);
    }
    return places_;
  }

 private:
  enum Tier { kClear, kOverObstacles, kOverPoints };

  // A label that finds no place clear of all may cover obstacles, then have a
  // line that passes over points.
  void Place(size_t i) {
    for (const Tier tier : {kClear, kOverObstacles, kOverPoints}) {
      for (const double distance : kDistances) {
        for (const auto& way : kDirections) {
          const Box box = LabelBox(points_[i], way, distance);
          const bool line = distance >= kLineFrom;
          if (IsFree(i, box, line, tier) && (tier != kClear || IsClear(box))) {
            places_[i] = {true, box, line};
            return;
          }
        }
      }
    }
  }

  bool IsClear(const Box& box) const {
    return std::none_of(
        obstacles_.begin(), obstacles_.end(),
        [&](const Box& obstacle) { return box.Overlaps(obstacle); });
  }

  bool IsFree(size_t i, const Box& box, bool line, Tier tier) const {
    if (!bounds_.Contains(box)) {
      return false;
    }
    for (size_t k = 0; k < points_.size(); ++k) {
      const Box point = PointBox(points_[k]);
      if (box.Overlaps(point) || (line && k != i && tier != kOverPoints &&
                                  LineCrosses(points_[i], box, point))) {
        return false;
      }
      const LabelPlace& other = places_[k];
      if (other.shown &&
          (box.Overlaps(other.box) ||
           (line && LineCrosses(points_[i], box, other.box)) ||
           (other.has_line && LineCrosses(points_[k], other.box, box)))) {
        return false;
      }
    }
    return true;
  }

  const absl::Span<const LabelledPoint> points_;
  const absl::Span<const Box> obstacles_;
  const Box bounds_;
  std::vector<LabelPlace> places_;
};

}  // namespace

std::vector<LabelPlace> PlaceLabels(absl::Span<const LabelledPoint> points,
                                    absl::Span<const Box> obstacles,
                                    const Box& bounds) {
  return Placer(points, obstacles, bounds).Run();
}

}  // namespace narrow
