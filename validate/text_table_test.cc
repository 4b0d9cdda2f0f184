#include "validate/text_table.h"

#include "gtest/gtest.h"

namespace narrow {
namespace {

TEST(TextTable, AlignsByCharactersNotBytes) {
  TextTable table({{"model", TextTable::kLeft}, {"ppl"}, {"note"}});
  table.AddRow({"a", "1.50 ± 0.25", ""});
  table.AddRow({"longer.gguf", "12.50 ± 0.25", "x"});
  EXPECT_EQ(table.Render(),
            "model                 ppl  note\n"
            "-----------  ------------  ----\n"
            "a             1.50 ± 0.25\n"
            "longer.gguf  12.50 ± 0.25     x\n");
}

TEST(TextTable, EscapesWhatWouldCommandATerminal) {
  TextTable table({{"name", TextTable::kLeft}});
  table.AddRow({"a\x1b[31m\n"});
  EXPECT_EQ(table.Render(), "name\n-------------\na\\x1b[31m\\x0a\n");
}

TEST(TextTable, WithoutRowsIsItsHead) {
  EXPECT_EQ(TextTable({{"a"}, {"bc"}}).Render(), "a  bc\n-  --\n");
}

}  // namespace
}  // namespace narrow
