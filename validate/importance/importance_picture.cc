// The picture of importance_report.h: plain SVG, no script, no font but the
// reader's.
//
//   +--------+------------------------------+  +----------+
//   | part   | a cell a layer, coloured by  |  | colours  |
//   |        | log10 of the RMS input       |  | and RMS  |
//   +--------+------------------------------+  +----------+
//            | cosine to the layer before   |
//            +------------------------------+
//            | experts that saw no token    |   if there are any
//            +------------------------------+

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "validate/importance/importance_report.h"

namespace narrow {
namespace {

constexpr int kMargin = 16;
constexpr int kLabelWidth = 150;
constexpr int kRowHeight = 20;
constexpr int kPlotHeight = 90;
constexpr int kTitleHeight = 44;
constexpr int kLegendWidth = 90;
// Cells as wide as fit, within reason.
constexpr int kWantedWidth = 720;
constexpr int kNarrowestCell = 6;
constexpr int kWidestCell = 36;
constexpr int kBars = 6;  // steps of the legend

std::string Escaped(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // Not allowed in XML, or in the middle of a character that may be
        // damaged.
        out += static_cast<unsigned char>(c) < 32 ||
                       static_cast<unsigned char>(c) > 126
                   ? '?'
                   : c;
    }
  }
  return out;
}

// Pale yellow over green to dark blue, the same on paper and to colour-blind
// eyes: straight lines between five points.
std::string Colour(double share) {
  static constexpr int kPoints[5][3] = {{255, 255, 217},
                                        {161, 218, 180},
                                        {65, 182, 196},
                                        {44, 127, 184},
                                        {8, 29, 88}};
  const double at = std::clamp(share, 0.0, 1.0) * 4;
  const int low = std::min(3, static_cast<int>(at));
  std::string out = "#";
  for (int c = 0; c < 3; ++c) {
    const double value =
        kPoints[low][c] + (at - low) * (kPoints[low + 1][c] - kPoints[low][c]);
    absl::StrAppendFormat(&out, "%02x", static_cast<int>(value + 0.5));
  }
  return out;
}

double RmsInput(const TensorStatistics& tensor) {
  return std::sqrt(tensor.energy / static_cast<double>(tensor.n_columns));
}

class Picture {
 public:
  Picture(const ImportanceCollection& collection,
          const ImportanceStatistics& statistics)
      : statistics_(statistics) {
    for (const TensorStatistics& tensor : statistics.tensors) {
      parts_.emplace(tensor.part, 0);
      // What lies outside the blocks is a column of its own.
      columns_.emplace(tensor.layer < 0 ? kOutside : tensor.layer, 0);
      any_without_data_ = any_without_data_ || tensor.n_without_data > 0;
      const double rms = RmsInput(tensor);
      if (rms > 0) {
        low_ = std::min(low_, std::log10(rms));
        high_ = std::max(high_, std::log10(rms));
      }
    }
    int next = 0;
    for (auto& [part, row] : parts_) {
      row = next++;
    }
    next = 0;
    for (auto& [layer, column] : columns_) {
      column = next++;
    }
    cell_ = std::clamp(kWantedWidth / std::max(1, next), kNarrowestCell,
                       kWidestCell);
    Begin(collection);
  }

  std::string Draw() {
    Cells();
    Legend();
    int top = kTitleHeight + Rows() + 36;
    std::vector<std::pair<int, double>> points;
    for (const LayerStatistics& layer : statistics_.layers) {
      points.emplace_back(layer.layer, layer.change.cosine);
    }
    Plot("cosine of the inputs to those of the layer before", top, -1, points);
    if (any_without_data_) {
      top += kPlotHeight + 40;
      Plot("share of experts that no token reached", top, 0, WithoutData());
    }
    return absl::StrCat(svg_, "</svg>\n");
  }

 private:
  static constexpr int kOutside = 1 << 30;

  int Rows() const { return kRowHeight * static_cast<int>(parts_.size()); }
  int Left() const { return kMargin + kLabelWidth; }
  int Width() const { return cell_ * static_cast<int>(columns_.size()); }

  void Begin(const ImportanceCollection& collection) {
    const int height = kTitleHeight + Rows() + 36 + kPlotHeight + 40 +
                       (any_without_data_ ? kPlotHeight + 40 : 0);
    absl::StrAppend(&svg_, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"",
                    Left() + Width() + 30 + kLegendWidth + kMargin,
                    "\" height=\"", height,
                    "\" font-family=\"sans-serif\" font-size=\"11\">\n"
                    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
    Text(kMargin, 20,
         absl::StrCat("Root mean square of each layer's inputs: ",
                      collection.path),
         "font-weight=\"bold\" font-size=\"13\"");
    Text(kMargin, 36,
         absl::StrCat(
             collection.entries.size(), " tensors, ", collection.n_chunks,
             " chunks",
             collection.chunk_size > 0
                 ? absl::StrCat(" of ", collection.chunk_size, " tokens")
                 : ""));
  }

  void Text(int x, int y, absl::string_view text,
            absl::string_view attributes = "") {
    absl::StrAppend(&svg_, "<text x=\"", x, "\" y=\"", y, "\" ", attributes,
                    ">", Escaped(text), "</text>\n");
  }

  double Share(double rms) const {
    return rms <= 0        ? 0
           : high_ <= low_ ? 0.5
                           : (std::log10(rms) - low_) / (high_ - low_);
  }

  void Cells() {
    for (const auto& [part, row] : parts_) {
      Text(Left() - 6, kTitleHeight + row * kRowHeight + 14, part,
           "text-anchor=\"end\"");
    }
    for (const TensorStatistics& tensor : statistics_.tensors) {
      const int column =
          columns_.at(tensor.layer < 0 ? kOutside : tensor.layer);
      const double rms = RmsInput(tensor);
      absl::StrAppendFormat(
          &svg_,
          "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\">"
          "<title>%s: %.4g</title></rect>\n",
          Left() + column * cell_,
          kTitleHeight + parts_.at(tensor.part) * kRowHeight, cell_,
          kRowHeight - 1, Colour(Share(rms)), Escaped(tensor.tensor), rms);
    }
    LayerNumbers(kTitleHeight + Rows() + 14);
  }

  // As many as have room.
  void LayerNumbers(int y) {
    const int every = (24 + cell_ - 1) / cell_;
    for (const auto& [layer, column] : columns_) {
      if (layer == kOutside || column % every == 0) {
        Text(Left() + column * cell_ + cell_ / 2, y,
             layer == kOutside ? "out" : absl::StrCat(layer),
             "text-anchor=\"middle\"");
      }
    }
  }

  void Legend() {
    if (high_ < low_) {
      return;
    }
    const int x = Left() + Width() + 30;
    for (int i = 0; i < kBars; ++i) {
      const double share = 1 - i / (kBars - 1.0);
      absl::StrAppend(&svg_, "<rect x=\"", x, "\" y=\"",
                      kTitleHeight + i * kRowHeight,
                      "\" width=\"18\" height=\"", kRowHeight, "\" fill=\"",
                      Colour(share), "\"/>\n");
      Text(x + 24, kTitleHeight + i * kRowHeight + 14,
           absl::StrFormat("%.3g",
                           std::pow(10.0, low_ + share * (high_ - low_))));
    }
  }

  // Values in [low, 1] over the layers; a gap where there is none.
  void Plot(absl::string_view title, int top, double low,
            const std::vector<std::pair<int, double>>& points) {
    Text(Left(), top, title);
    const int bottom = top + 8 + kPlotHeight;
    const auto y_of = [&](double value) {
      return bottom - kPlotHeight * (value - low) / (1 - low);
    };
    for (double tick = low; tick <= 1.001; tick += (1 - low) / 2) {
      const int y = static_cast<int>(y_of(tick));
      absl::StrAppend(&svg_, "<line x1=\"", Left(), "\" x2=\"",
                      Left() + Width(), "\" y1=\"", y, "\" y2=\"", y,
                      "\" stroke=\"#ccc\"/>\n");
      Text(Left() - 6, y + 4, absl::StrFormat("%.1f", tick),
           "text-anchor=\"end\"");
    }
    for (const auto& [layer, value] : points) {
      if (std::isnan(value)) {
        continue;
      }
      const int height =
          static_cast<int>(std::fabs(y_of(value) - y_of(0)) + 0.5);
      absl::StrAppendFormat(
          &svg_,
          "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" "
          "fill=\"#2c7fb8\"><title>layer %d: %.4f</title></rect>\n",
          Left() + columns_.at(layer) * cell_ + 1,
          static_cast<int>(std::min(y_of(value), y_of(0))),
          std::max(1, cell_ - 2), std::max(1, height), layer, value);
    }
    LayerNumbers(bottom + 14);
  }

  std::vector<std::pair<int, double>> WithoutData() const {
    std::map<int, std::pair<int64_t, int64_t>> counts;
    for (const TensorStatistics& tensor : statistics_.tensors) {
      if (tensor.layer >= 0 && tensor.n_matrices > 1) {
        counts[tensor.layer].first += tensor.n_without_data;
        counts[tensor.layer].second += tensor.n_matrices;
      }
    }
    std::vector<std::pair<int, double>> points;
    for (const auto& [layer, count] : counts) {
      points.emplace_back(layer, static_cast<double>(count.first) /
                                     static_cast<double>(count.second));
    }
    return points;
  }

  const ImportanceStatistics& statistics_;
  std::map<std::string, int> parts_;  // row of each
  std::map<int, int> columns_;        // column of each layer
  bool any_without_data_ = false;
  double low_ = INFINITY, high_ = -INFINITY;  // log10 of the RMS inputs
  int cell_ = 0;                              // width
  std::string svg_;
};

}  // namespace

std::string ImportancePicture(const ImportanceCollection& collection,
                              const ImportanceStatistics& statistics) {
  return Picture(collection, statistics).Draw();
}

}  // namespace narrow
