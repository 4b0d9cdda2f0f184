// The frame of a picture: its place in the SVG, axes with their ticks and
// titles.
//
//   std::string svg = BeginPicture(title) + DrawAxes(x, y, "MiB", "KL");

#ifndef NARROW_VALIDATE_PAGE_PICTURES_FRAME_H_
#define NARROW_VALIDATE_PAGE_PICTURES_FRAME_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "validate/page/pictures/scale.h"

namespace narrow {

// Units of the view box; about the pixels of a phone, where text of this size
// is still read. Wider places show the picture larger.
inline constexpr double kPictureWidth = 420;
inline constexpr double kPictureHeight = 310;
inline constexpr double kPlotLeft = 54;
inline constexpr double kPlotRight = 410;
inline constexpr double kPlotTop = 26;
inline constexpr double kPlotBottom = 262;
inline constexpr double kFontSize = 11;

// A generous width of `text` in that font.
double TextWidth(absl::string_view text);

// A number as SVG has it, to a tenth.
std::string Coordinate(double value);

std::string BeginPicture(absl::string_view title);

// Lines at the ticks of `y`, marks at those of `x`, and titles.
std::string DrawAxes(const std::vector<Tick>& x, const std::vector<Tick>& y,
                     absl::string_view x_title, absl::string_view y_title);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_PICTURES_FRAME_H_
