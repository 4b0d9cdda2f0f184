// A table in plain text.
//
//   TextTable table({{"model", TextTable::kLeft}, {"size"}});
//   table.AddRow({"a.gguf", "12.5 MiB"});
//   std::fputs(table.Render().c_str(), stdout);
//
//   model       size
//   ------  --------
//   a.gguf  12.5 MiB
//
// A plain value, owned by one thread at a time.

#ifndef NARROW_VALIDATE_TEXT_TABLE_H_
#define NARROW_VALIDATE_TEXT_TABLE_H_

#include <string>
#include <utility>
#include <vector>

namespace narrow {

class TextTable {
 public:
  enum Alignment { kRight, kLeft };
  struct Column {
    std::string title;
    Alignment alignment = kRight;
  };

  explicit TextTable(std::vector<Column> columns)
      : columns_(std::move(columns)) {}

  // REQUIRES: one cell a column.
  void AddRow(std::vector<std::string> cells);

  // Lines, each ended; two spaces between columns, none at the end of a line.
  // A cell is as wide as it has UTF-8 characters.
  std::string Render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace narrow

#endif  // NARROW_VALIDATE_TEXT_TABLE_H_
