// What was asked of a device, and what it reached: the table at the end of a
// run of benchmarks.
//
//   BenchSummary summary;
//   summary.AtLeast("Q4_K encoded, bfloat16 in", 100, rate, "GB/s",
//                   "31 % of the memory's rate");
//   summary.Print();

#ifndef NARROW_KERNELS_DEVICE_BENCH_SUMMARY_H_
#define NARROW_KERNELS_DEVICE_BENCH_SUMMARY_H_

#include <string>
#include <vector>

namespace narrow {

class BenchSummary {
 public:
  // `bound` tells what limits it, and how near that is.
  void AtLeast(const std::string& what, double asked, double reached,
               const std::string& unit, const std::string& bound);
  void AtMost(const std::string& what, double asked, double reached,
              const std::string& unit, const std::string& bound);
  // Of which nothing was asked.
  void Add(const std::string& what, double reached, const std::string& unit,
           const std::string& bound);

  // As a table of Markdown.
  std::string Table() const;
  void Print() const;

 private:
  struct Row {
    std::string what, asked, reached, bound, verdict;
  };
  std::vector<Row> rows_;
};

}  // namespace narrow

#endif  // NARROW_KERNELS_DEVICE_BENCH_SUMMARY_H_
