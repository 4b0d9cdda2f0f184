#include "kernels/device_bench/summary.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace narrow {
namespace {

std::string Number(double value, const std::string& unit) {
  return absl::StrFormat("%.4g %s", value, unit);
}

}  // namespace

void BenchSummary::AtLeast(const std::string& what, double asked,
                           double reached, const std::string& unit,
                           const std::string& bound) {
  rows_.push_back({what, absl::StrCat("at least ", Number(asked, unit)),
                   Number(reached, unit), bound,
                   reached >= asked ? "met" : "not met"});
}

void BenchSummary::AtMost(const std::string& what, double asked, double reached,
                          const std::string& unit, const std::string& bound) {
  rows_.push_back({what, absl::StrCat("at most ", Number(asked, unit)),
                   Number(reached, unit), bound,
                   reached <= asked ? "met" : "not met"});
}

void BenchSummary::Add(const std::string& what, double reached,
                       const std::string& unit, const std::string& bound) {
  rows_.push_back({what, "–", Number(reached, unit), bound, "–"});
}

std::string BenchSummary::Table() const {
  std::string table =
      "| what | asked | reached | bound | |\n| --- | --- | --- | --- | --- |\n";
  for (const Row& row : rows_) {
    absl::StrAppend(&table, "| ", row.what, " | ", row.asked, " | ",
                    row.reached, " | ", row.bound, " | ", row.verdict, " |\n");
  }
  return table;
}

void BenchSummary::Print() const {
  std::printf("\n%s", Table().c_str());
  std::fflush(stdout);
}

}  // namespace narrow
