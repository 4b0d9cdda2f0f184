#include "validate/text_table.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "formats/base/status.h"

namespace narrow {
namespace {

// Characters, counted by the bytes that begin one.
size_t Width(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  });
}

}  // namespace

void TextTable::AddRow(std::vector<std::string> cells) {
  assert(cells.size() == columns_.size());
  for (std::string& cell : cells) {
    cell = OneLine(cell);
  }
  rows_.push_back(std::move(cells));
}

std::string TextTable::Render() const {
  std::vector<std::string> titles, rules;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = Width(columns_[c].title);
    for (const std::vector<std::string>& row : rows_) {
      width = std::max(width, Width(row[c]));
    }
    titles.push_back(columns_[c].title);
    rules.push_back(std::string(width, '-'));
  }

  std::string text;
  const auto add_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t c = 0; c < cells.size(); ++c) {
      const std::string fill(rules[c].size() - Width(cells[c]), ' ');
      line += c == 0 ? "" : "  ";
      line +=
          columns_[c].alignment == kLeft ? cells[c] + fill : fill + cells[c];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add_line(titles);
  add_line(rules);
  for (const std::vector<std::string>& row : rows_) {
    add_line(row);
  }
  return text;
}

}  // namespace narrow
