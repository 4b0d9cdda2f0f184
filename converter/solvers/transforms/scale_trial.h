// What a transform's scales are worth: the error that quantization leaves in a
// group's outputs when its columns are scaled beforehand.
//
//   ASSIGN_OR_RETURN(ScaleTrial trial, ScaleTrial::Create(group, fit, pool));
//   ASSIGN_OR_RETURN(auto errors, trial.Errors({ones, scales}));
//   if (errors[1] < errors[0]) ...
//
// Borrows the group's weights and statistics. Belongs to one thread.

#ifndef NARROW_CONVERTER_SOLVERS_TRANSFORMS_SCALE_TRIAL_H_
#define NARROW_CONVERTER_SOLVERS_TRANSFORMS_SCALE_TRIAL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "converter/solvers/transforms/transform.h"

namespace narrow {

class ScaleTrial {
 public:
  // FailedPrecondition: no statistics. DataLoss: statistics or weights that
  // are not finite, named.
  static absl::StatusOr<ScaleTrial> Create(const TransformGroup& group,
                                           const FitOptions& fit,
                                           ThreadPool* pool);

  // For each of the candidates, the sum over members that will be quantized of
  //   tr((W - Q(W S) / S) H (W - Q(W S) / S)^T),
  // H the Gram matrix over the number of tokens, or its diagonal where there
  // is none. Of large members evenly spaced rows are taken, weighted for all.
  // On the group's device if there is one and a Gram matrix, where no member's
  // rows share scales. Errors: the device's, but for memory.
  absl::StatusOr<std::vector<double>> Errors(
      absl::Span<const std::vector<float>> candidates);

  // What rounding the inputs x / S to bytes adds: their largest magnitude
  // over 127 is a step d, and d^2 / 12 the mean squared error of each column,
  //   sum_j d^2 / 12 |W_j s_j|^2.
  double InputError(const std::vector<float>& scales) const;

  // Largest magnitude of each column over all members (routers too).
  const std::vector<float>& column_max() const { return column_max_; }
  // Mean over all quantized members' rows of |w| over its group's largest.
  const std::vector<float>& column_mean() const { return column_mean_; }
  // Where the device's memory was short.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Sample {
    const TransformMember* member;
    std::vector<float> weights;  // [n_rows, n_cols]
    int64_t n_rows;
    double weight;  // rows that one stands for
  };

  ScaleTrial(const TransformGroup& group, const FitOptions& fit,
             ThreadPool* pool)
      : group_(group), pool_(pool) {
    options_.fit = fit;
  }
  double ErrorOnProcessor(const std::vector<float>& scales) const;
  absl::StatusOr<std::vector<double>> ErrorsOnDevice(
      absl::Span<const std::vector<float>> candidates);
  SolverProblem ProblemOf(const Sample& sample) const;
  std::vector<float> ColumnWeights(const std::vector<float>& scales) const;
  bool IsForDevice() const;
  absl::Status TakeStatistics();
  absl::Status TakeWeights();

  const TransformGroup& group_;
  ThreadPool* pool_;
  SolverOptions options_;
  std::vector<Sample> samples_;
  std::vector<float> gram_;      // [n_cols, n_cols] or empty
  std::vector<float> diagonal_;  // [n_cols]
  std::vector<float> column_max_;
  std::vector<float> column_mean_;
  std::vector<double> column_squares_;  // of quantized members
  std::vector<std::string> notes_;
};

// Scales with one value for all columns of a class (geometric mean), divided
// by the geometric mean of the largest and the least, none beyond 2^16 from 1.
void NormalizeScales(const std::vector<int32_t>& column_class,
                     std::vector<float>* scales);

}  // namespace narrow

#endif  // NARROW_CONVERTER_SOLVERS_TRANSFORMS_SCALE_TRIAL_H_
