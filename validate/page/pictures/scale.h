// The scale of an axis: numbers to places, and where to write which.
//
//   Scale scale = Scale::Fit({12.5, 40}, Scale::kAuto, 60, 400);
//   scale.Place(20);
//   for (const Tick& tick : scale.ticks()) ... tick.place, tick.label ...
//
// A plain value.

#ifndef NARROW_VALIDATE_PAGE_PICTURES_SCALE_H_
#define NARROW_VALIDATE_PAGE_PICTURES_SCALE_H_

#include <string>
#include <vector>

#include "absl/types/span.h"

namespace narrow {

struct Tick {
  double place;
  std::string label;
};

class Scale {
 public:
  enum Kind {
    kLinear,
    kFromZero,  // linear, and 0 is on it
    kLog,
    kAuto,  // kLog if the values span more than a factor of eight
  };

  // From `low_place` to `high_place` (which may be less), with room for all
  // finite values and round ends. On kLog what is not above 0 counts as the
  // smallest value that is; without such a one the scale is linear.
  static Scale Fit(absl::Span<const double> values, Kind kind, double low_place,
                   double high_place);

  // Values beyond the ends have the place of the end; NaN that of the lower.
  double Place(double value) const;
  const std::vector<Tick>& ticks() const { return ticks_; }
  bool is_log() const { return is_log_; }

 private:
  void MakeLinear(double low, double high);
  void MakeLog(double low, double high);

  bool is_log_ = false;
  double low_ = 0;
  double high_ = 1;
  double low_place_ = 0;
  double high_place_ = 1;
  std::vector<Tick> ticks_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_PICTURES_SCALE_H_
