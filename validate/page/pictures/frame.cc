// Tested by: page_test.

#include "validate/page/pictures/frame.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "validate/page/escape.h"

namespace narrow {
namespace {

std::string Text(double x, double y, const char* anchor, const char* kind,
                 absl::string_view text) {
  return absl::StrCat("<text class=\"", kind, "\" x=\"", Coordinate(x),
                      "\" y=\"", Coordinate(y), "\" text-anchor=\"", anchor,
                      "\">", HtmlText(text), "</text>\n");
}

}  // namespace

double TextWidth(absl::string_view text) {
  double width = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0) == 0x80) {
      continue;  // of the character before
    }
    const bool wide =
        absl::string_view("MW@%mw").find(c) != absl::string_view::npos;
    width += wide || byte >= 0x80        ? 1.0
             : absl::ascii_isupper(byte) ? 0.75
                                         : 0.62;
  }
  return width * kFontSize;
}

std::string Coordinate(double value) { return absl::StrFormat("%.1f", value); }

std::string BeginPicture(absl::string_view title) {
  return absl::StrCat("<svg viewBox=\"0 0 ", kPictureWidth, " ", kPictureHeight,
                      "\" role=\"img\" aria-label=\"", HtmlText(title),
                      "\">\n");
}

std::string DrawAxes(const std::vector<Tick>& x, const std::vector<Tick>& y,
                     absl::string_view x_title, absl::string_view y_title) {
  std::string svg;
  for (const Tick& tick : y) {
    absl::StrAppend(&svg, "<line class=\"grid\" x1=\"", kPlotLeft, "\" x2=\"",
                    kPlotRight, "\" y1=\"", Coordinate(tick.place), "\" y2=\"",
                    Coordinate(tick.place), "\"/>\n");
    svg += Text(kPlotLeft - 6, tick.place + 4, "end", "tick", tick.label);
  }
  absl::StrAppend(&svg, "<line class=\"axis\" x1=\"", kPlotLeft, "\" x2=\"",
                  kPlotRight, "\" y1=\"", kPlotBottom, "\" y2=\"", kPlotBottom,
                  "\"/>\n");
  // A label that would touch the one before it is left out.
  double free_from = 0;
  for (const Tick& tick : x) {
    absl::StrAppend(&svg, "<line class=\"axis\" x1=\"", Coordinate(tick.place),
                    "\" x2=\"", Coordinate(tick.place), "\" y1=\"", kPlotBottom,
                    "\" y2=\"", kPlotBottom + 4, "\"/>\n");
    const double half = TextWidth(tick.label) / 2;
    if (tick.place - half < free_from) {
      continue;
    }
    free_from = tick.place + half + 8;
    svg += Text(tick.place, kPlotBottom + 17, "middle", "tick", tick.label);
  }
  svg += Text((kPlotLeft + kPlotRight) / 2, kPlotBottom + 38, "middle", "title",
              x_title);
  svg += Text(4, 13, "start", "title", y_title);
  return svg;
}

}  // namespace narrow
