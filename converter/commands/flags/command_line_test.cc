#include "converter/commands/flags/command_line.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

TEST(ShellWord, QuotesWhatAShellWouldRead) {
  EXPECT_EQ(ShellWord("a/b-c.gguf"), "a/b-c.gguf");
  EXPECT_EQ(ShellWord("a b"), "'a b'");
  EXPECT_EQ(ShellWord("$(rm -r x)'"), "'$(rm -r x)'\\'''");
  EXPECT_EQ(ShellWord(""), "''");
  EXPECT_EQ(ShellWord("~"), "'~'");
}

TEST(CommandLine, IsWhatWasGiven) {
  CLI::App app;
  CLI::App* command = app.add_subcommand("judge");
  std::vector<std::string> models;
  std::vector<std::string> texts;
  std::string json;
  double limit = 0;
  bool quiet = false;
  bool early = false;
  int unused = 0;
  command->add_option("models", models);
  command->add_option("-f,--text,--file", texts)->allow_extra_args(false);
  command->add_option("--limit", limit);
  command->add_option("--unused", unused);
  command->add_option("--json", json);
  command->add_flag("-q,--quiet", quiet);
  command->add_flag("--early", early);
  std::vector<std::string> line = {
      "judge",   "m",   "-f",      "a b.txt", "n",      "--file", "c",
      "--limit", "0.5", "--early", "-q",      "--json", "x"};
  std::reverse(line.begin(), line.end());
  app.parse(line);
  EXPECT_EQ(CommandLine(*command, {"--json", "--quiet"}),
            "narrow judge m n --text 'a b.txt' --text c --limit 0.5 --early");
}

}  // namespace
}  // namespace narrow
