#include "validate/page/pictures/scale.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace narrow {
namespace {

// About so many ticks on a linear axis.
constexpr int kTicks = 5;
constexpr double kLogSpan = 8;
// Values further below the largest are not told apart on a log axis.
constexpr double kLargestSpan = 1e12;

// 1, 2 or 5 times a power of ten, at least `step`.
double RoundStep(double step) {
  const double power = std::pow(10, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= step * (1 - 1e-9)) {
      return factor * power;
    }
  }
  return 10 * power;
}

std::string Label(double value, double step) {
  if (std::abs(value) < step * 1e-6) {
    return "0";
  }
  if (std::abs(value) >= 1e6 || std::abs(value) < 1e-4) {
    return absl::StrFormat("%.3g", value);
  }
  const int digits =
      std::clamp(static_cast<int>(-std::floor(std::log10(step) + 1e-9)), 0, 8);
  return absl::StrFormat("%.*f", digits, value);
}

}  // namespace

void Scale::MakeLinear(double low, double high) {
  if (!(high > low)) {
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= room;
    high += room;
  }
  const double step = RoundStep((high - low) / kTicks);
  low_ = std::floor(low / step + 1e-9) * step;
  high_ = std::ceil(high / step - 1e-9) * step;
  const int n = static_cast<int>(std::lround((high_ - low_) / step));
  for (int i = 0; i <= n; ++i) {
    const double value = low_ + i * step;
    ticks_.push_back({Place(value), Label(value, step)});
  }
}

void Scale::MakeLog(double low, double high) {
  is_log_ = true;
  low = std::max(low, high / kLargestSpan);
  // All of 1, 2 and 5 times a power of ten, of which the ends are two.
  std::vector<double> values;
  const int first = static_cast<int>(std::floor(std::log10(low) + 1e-9));
  const int last = static_cast<int>(std::ceil(std::log10(high) - 1e-9));
  for (int power = first; power <= last; ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      values.push_back(factor * std::pow(10, power));
    }
  }
  size_t from = 0;
  while (from + 1 < values.size() && values[from + 1] <= low * (1 + 1e-9)) {
    ++from;
  }
  size_t to = values.size() - 1;
  while (to > from + 1 && values[to - 1] >= high * (1 - 1e-9)) {
    --to;
  }
  low_ = values[from];
  high_ = values[to];
  // Every one, else whole powers of ten, every second of them, and so on.
  const size_t n = to - from + 1;
  const size_t stride = n <= 8 ? 1 : 3 * ((n - 1) / 24 + 1);
  for (size_t i = from; i <= to; ++i) {
    if (i % stride == 0) {
      ticks_.push_back({Place(values[i]), Label(values[i], values[i])});
    }
  }
}

Scale Scale::Fit(absl::Span<const double> values, Kind kind, double low_place,
                 double high_place) {
  Scale scale;
  scale.low_place_ = low_place;
  scale.high_place_ = high_place;
  double low = INFINITY;
  double high = -INFINITY;
  double positive = INFINITY;
  for (const double value : values) {
    if (std::isfinite(value)) {
      low = std::min(low, value);
      high = std::max(high, value);
      positive = value > 0 ? std::min(positive, value) : positive;
    }
  }
  if (!(low <= high)) {
    low = 0;
    high = 1;
  }
  const bool wide = positive < INFINITY && high / positive > kLogSpan;
  if ((kind == kLog && positive < INFINITY) || (kind == kAuto && wide)) {
    scale.MakeLog(positive, high);
  } else {
    scale.MakeLinear(kind == kFromZero ? std::min(0.0, low) : low,
                     kind == kFromZero ? std::max(0.0, high) : high);
  }
  return scale;
}

double Scale::Place(double value) const {
  double share = 0;
  if (is_log_) {
    share = value > low_ ? std::log(value / low_) / std::log(high_ / low_) : 0;
  } else if (!std::isnan(value)) {
    share = (value - low_) / (high_ - low_);
  }
  return low_place_ + std::clamp(share, 0.0, 1.0) * (high_place_ - low_place_);
}

}  // namespace narrow
