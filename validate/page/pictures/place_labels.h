// Labels of points in a picture, so that none covers another or a point.
//
//   std::vector<LabelPlace> places = PlaceLabels(points, sizes, box);
//
// Points are taken from the most crowded on; each label tries places around
// its point, nearer ones first, and takes the first that is free. One that
// finds none is not shown. Deterministic.

#ifndef NARROW_VALIDATE_PAGE_PICTURES_PLACE_LABELS_H_
#define NARROW_VALIDATE_PAGE_PICTURES_PLACE_LABELS_H_

#include <vector>

#include "absl/types/span.h"

namespace narrow {

struct Box {
  double left = 0;
  double top = 0;
  double right = 0;
  double bottom = 0;

  bool Overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom &&
           other.top < bottom;
  }
  bool Contains(const Box& other) const {
    return left <= other.left && other.right <= right && top <= other.top &&
           other.bottom <= bottom;
  }
};

struct LabelledPoint {
  double x = 0;
  double y = 0;
  double label_width = 0;
  double label_height = 0;
};

struct LabelPlace {
  bool shown = false;
  Box box;
  // Far enough from its point to need a line to it.
  bool has_line = false;
};

// One place a point, within `bounds`; `obstacles` are kept free while there is
// a place without them.
std::vector<LabelPlace> PlaceLabels(absl::Span<const LabelledPoint> points,
                                    absl::Span<const Box> obstacles,
                                    const Box& bounds);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_PICTURES_PLACE_LABELS_H_
