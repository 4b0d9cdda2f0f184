// Blocks and spans on a device against the plain loops of kernels/runs, bit
// for bit: on the CPU's device, and a card where there is one.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "formats/base/float8.h"
#include "formats/packing/scale_type.h"
#include "kernels/runs/device/device_blocks.h"
#include "kernels/runs/device/device_spans.h"
#include "kernels/runs/run_candidates.h"
#include "kernels/runs/runs.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

using run_threads::PartErrors;

RunGrid GridOf(RunGrid::Kind kind) {
  RunGrid grid;
  grid.kind = kind;
  for (int i = 0; i < 16; ++i) {
    grid.values[i] = 0.01f * static_cast<float>((i - 7) * (i + 3));
    grid.codes[i] = static_cast<uint8_t>((5 * i + 3) % 16);
  }
  std::sort(grid.values, grid.values + 16);
  for (int i = 0; i < 15; ++i) {
    grid.bounds[i] = (grid.values[i] + grid.values[i + 1]) / 2;
  }
  return grid;
}

constexpr RunGrid::Kind kKinds[] = {RunGrid::Kind::kInteger,
                                    RunGrid::Kind::kE4M3, RunGrid::Kind::kE2M1,
                                    RunGrid::Kind::kTable};

// Weights of all sizes, blocks of zeros, of one number, of tiny ones.
std::vector<float> Weights(int64_t n, uint32_t seed) {
  std::vector<float> weights = NormalNumbers<float>(n, seed);
  const std::vector<float> sizes = NormalNumbers<float>(n, seed + 1);
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] *= 0.05f * std::exp(sizes[i / 40]);
  }
  for (size_t i = 64; i < weights.size() && i < 128; ++i) {
    weights[i] = i < 96 ? 0.0f : i < 112 ? -0.25f : weights[i] * 1e-38f;
  }
  return weights;
}

std::vector<float> Importance(int64_t n) {
  std::vector<float> importance = NormalNumbers<float>(n, 7);
  for (float& value : importance) {
    value = std::exp(value);
  }
  return importance;
}

std::vector<RunCandidates> AllCandidates() {
  RunCandidates times;
  times.n = 4;
  times.factors[1] = 0.9f;
  times.factors[2] = 1.1f;
  times.factors[3] = 0.8f;
  times.least = 1e-38f;
  times.least_searched = 1e-15f;
  RunCandidates one = times;
  one.n = 1;
  RunCandidates e4m3;
  e4m3.kind = RunCandidates::Kind::kE4M3;
  e4m3.n = 12;
  e4m3.steps_below = 4;
  e4m3.global = 1234.5f;
  RunCandidates e8m0;
  e8m0.kind = RunCandidates::Kind::kE8M0;
  e8m0.n = 3;
  return {times, one, e4m3, e8m0};
}

// As converter/solvers/runs/block_scales.cc, by the plain kernels.
void ChoosePlainly(const BlockProblem& p, std::vector<float>* scales,
                   std::vector<PartErrors>* parts) {
  const RunKernels& plain = RunKernelsReference();
  const int64_t n = p.block * kRunsAside;
  std::vector<float> x(static_cast<size_t>(n));
  std::vector<float> w(p.importance.empty() ? 0 : x.size());
  RunGrid zero;
  zero.low = zero.high = 0;
  for (int64_t first = 0; first < p.n_blocks; first += kRunsAside) {
    const int64_t n_runs = std::min(kRunsAside, p.n_blocks - first);
    plain.put_aside(p.weights + first * p.block, p.block, n_runs, p.block,
                    x.data());
    std::vector<float> tried(static_cast<size_t>(p.candidates.n) * kRunsAside,
                             1.0f);
    for (int64_t k = 0; k < n_runs; ++k) {
      const float* const block = p.weights + (first + k) * p.block;
      const RunStart start =
          StartRun(p.candidates, plain.max_abs(block, p.block));
      for (int c = 0; c < p.candidates.n; ++c) {
        tried[static_cast<size_t>(c * kRunsAside + k)] =
            CandidateAt(p.candidates, start, c);
      }
    }
    for (size_t i = 0; i < w.size(); ++i) {
      const size_t k = i % kRunsAside;
      const size_t block = static_cast<size_t>(first) +
                           (k < static_cast<size_t>(n_runs) ? k : 0);
      w[i] =
          p.importance[(block * static_cast<size_t>(p.block) + i / kRunsAside) %
                       p.importance.size()];
    }
    const float* const weights = w.empty() ? nullptr : w.data();
    float best[kRunsAside], others[kRunsAside], energy[kRunsAside],
        before[kRunsAside], after[kRunsAside], error[kRunsAside];
    plain.choose_scales(zero, x.data(), weights, p.block, tried.data(), 1, best,
                        energy);
    plain.choose_scales(p.grid, x.data(), weights, p.block, tried.data(), 1,
                        best, before);
    std::copy(before, before + kRunsAside, after);
    if (p.candidates.n > 1) {
      plain.choose_scales(p.grid, x.data(), weights, p.block,
                          tried.data() + kRunsAside, p.candidates.n - 1, others,
                          error);
      for (int k = 0; k < kRunsAside; ++k) {
        if (error[k] < after[k]) {
          best[k] = others[k];
          after[k] = error[k];
        }
      }
    }
    plain.refit_scales(p.grid, x.data(), weights, p.block, p.n_refits, best,
                       after);
    PartErrors sum = {0, 0, 0};
    for (int64_t k = 0; k < n_runs; ++k) {
      scales->push_back(best[k]);
      sum.energy += double{energy[k]};
      sum.before += double{before[k]};
      sum.after += double{after[k]};
    }
    if (first % p.part_blocks == 0) {
      parts->push_back({0, 0, 0});
    }
    parts->back().energy += sum.energy;
    parts->back().before += sum.before;
    parts->back().after += sum.after;
  }
}

void ExpectPlainBlocks(const Device& device, const BlockProblem& problem) {
  std::vector<float> expected;
  std::vector<PartErrors> expected_parts;
  ChoosePlainly(problem, &expected, &expected_parts);
  auto blocks =
      DeviceBlocks::New(device, problem, [](int64_t, absl::string_view) {});
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  std::vector<float> scales(expected.size());
  std::vector<PartErrors> parts(expected_parts.size());
  ASSERT_TRUE((*blocks)->Choose(scales.data(), absl::MakeSpan(parts)).ok());
  EXPECT_TRUE(SameBits(scales, expected));
  EXPECT_TRUE(SameBits(parts, expected_parts));
  for (const RunDivision division :
       {RunDivision::kMultiply, RunDivision::kDivide}) {
    std::vector<uint8_t> codes(
        static_cast<size_t>(problem.n_blocks * problem.block));
    std::vector<uint8_t> rounded(codes.size());
    ASSERT_TRUE((*blocks)->Round(scales.data(), division, codes.data()).ok());
    for (int64_t b = 0; b < problem.n_blocks; ++b) {
      const float scale = scales[static_cast<size_t>(b)];
      RunKernelsReference().round(
          problem.grid, problem.weights + b * problem.block, problem.block,
          division == RunDivision::kDivide ? scale : 1.0f / scale, division,
          rounded.data() + b * problem.block);
    }
    EXPECT_EQ(codes, rounded);
  }
}

TEST(DeviceRunsTest, BlocksAreThePlainLoops) {
  constexpr int64_t kCols = 80;
  const std::vector<float> weights = Weights(37 * 64, 3);
  const std::vector<float> importance = Importance(kCols);
  for (const TestDevice& on : TestDevices()) {
    for (const RunGrid::Kind kind : kKinds) {
      for (const RunCandidates& candidates : AllCandidates()) {
        for (const int64_t block : {16, 64, 256}) {
          BlockProblem problem;
          problem.name = "w";
          problem.weights = weights.data();
          problem.block = block;
          problem.n_blocks = 37 * 64 / block;
          problem.n_cols = kCols;
          problem.grid = GridOf(kind);
          problem.candidates = candidates;
          problem.n_refits = candidates.n % 3;
          problem.part_blocks = 32;
          ExpectPlainBlocks(on.device(), problem);
          problem.importance = importance;
          ExpectPlainBlocks(on.device(), problem);
        }
      }
    }
  }
}

TEST(DeviceRunsTest, BlocksGoInBatchesWhereMemoryIsShort) {
  const std::vector<float> weights = Weights(200 * 16, 5);
  BlockProblem problem;
  problem.name = "w";
  problem.weights = weights.data();
  problem.block = 16;
  problem.n_blocks = 200;
  problem.n_cols = 100;
  problem.grid = GridOf(RunGrid::Kind::kE2M1);
  problem.candidates = AllCandidates()[2];
  // 16 blocks take 16 * (16 * 9 + 16) bytes and some.
  ExpectPlainBlocks(Device::Cpu(6000), problem);
  const auto none = DeviceBlocks::New(Device::Cpu(2000), problem,
                                      [](int64_t, absl::string_view) {});
  EXPECT_TRUE(absl::IsResourceExhausted(none.status())) << none.status();
}

// As converter/solvers/runs/run_scales.cc, by the plain kernels.
void SolvePlainly(const SpanProblem& p, QuantType type, SpanResults* results) {
  const RunKernels& plain = RunKernelsReference();
  const int64_t across = (p.n_cols + p.width - 1) / p.width;
  const int64_t down = (p.n_rows + p.height - 1) / p.height;
  results->codes.resize(static_cast<size_t>(p.n_rows * p.n_cols));
  for (int64_t span = 0; span < across * down; ++span) {
    struct Part {
      int64_t first, column, n;
    };
    std::vector<Part> pieces;
    const int64_t row = span / across * p.height;
    const int64_t column = span % across * p.width;
    const int64_t end = std::min(column + p.width, p.n_cols);
    for (int64_t r = row; r < std::min(row + p.height, p.n_rows); ++r) {
      for (int64_t j = column; j < end; j += kMaxRun) {
        pieces.push_back({r * p.n_cols + j, j, std::min(kMaxRun, end - j)});
      }
    }
    const auto measure = [&](float scale) {
      RunSums total;
      for (size_t first = 0; first < pieces.size(); first += 64) {
        RunSums sum;
        for (size_t i = first; i < std::min(first + 64, pieces.size()); ++i) {
          const Part& piece = pieces[i];
          sum.Add(plain.measure(p.grid, p.weights + piece.first,
                                p.importance.empty()
                                    ? nullptr
                                    : p.importance.data() + piece.column,
                                piece.n, scale * p.unit));
        }
        total.Add(sum);
      }
      return total;
    };
    const auto legal = [&](float scale) {
      const float stored = RoundToScaleType(type, scale);
      const float least = type == QuantType::kF16      ? 0x1p-14f
                          : type == QuantType::kF8E4M3 ? 0x1p-9f
                                                       : 0x1p-126f;
      return stored > 0 ? stored : least;
    };
    float top = 0;
    for (const Part& piece : pieces) {
      top = std::max(top, plain.max_abs(p.weights + piece.first, piece.n));
    }
    float best = top > 0 ? legal(top / p.over) : 1.0f;
    RunSums least = measure(best);
    results->before.push_back(least.error);
    for (size_t c = 0; top > 0 && c < p.factors.size(); ++c) {
      const float trial = legal(top / p.over * p.factors[c]);
      const RunSums sums = measure(trial);
      if (sums.error < least.error) {
        best = trial;
        least = sums;
      }
    }
    for (int i = 0; top > 0 && i < p.n_refits && least.product > 0; ++i) {
      const float trial = legal(
          static_cast<float>(least.product / least.square / double{p.unit}));
      const RunSums sums = measure(trial);
      if (trial == best || !(sums.error < least.error)) {
        break;
      }
      best = trial;
      least = sums;
    }
    results->scales.push_back(best);
    results->after.push_back(least.error);
    for (const Part& piece : pieces) {
      plain.round(p.grid, p.weights + piece.first, piece.n,
                  p.division == RunDivision::kDivide
                      ? best * p.unit
                      : 1.0f / best * p.inverse_unit,
                  p.division, results->codes.data() + piece.first);
    }
  }
  for (int64_t r = 0; r < p.n_rows; ++r) {
    double sum = 0;
    for (int64_t j = 0; j < p.n_cols; ++j) {
      const double w = double{p.weights[r * p.n_cols + j]};
      sum += p.importance.empty()
                 ? w * w
                 : w * w * double{p.importance[static_cast<size_t>(j)]};
    }
    results->energies.push_back(sum);
  }
}

void ExpectPlainSpans(const Device& device, const SpanProblem& problem,
                      QuantType type) {
  SpanResults expected;
  SolvePlainly(problem, type, &expected);
  SpanResults results;
  const absl::Status status = SolveSpans(
      device, problem, [](int64_t, absl::string_view) {}, &results);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(SameBits(results.scales, expected.scales));
  EXPECT_EQ(results.codes, expected.codes);
  EXPECT_TRUE(SameBits(results.before, expected.before));
  EXPECT_TRUE(SameBits(results.after, expected.after));
  EXPECT_TRUE(SameBits(results.energies, expected.energies));
}

struct Stored {
  QuantType type;
  one_lane::StoredScale stored;
};
constexpr Stored kStored[] = {
    {QuantType::kF32, one_lane::StoredScale::kF32},
    {QuantType::kF16, one_lane::StoredScale::kF16},
    {QuantType::kBF16, one_lane::StoredScale::kBF16},
    {QuantType::kF8E4M3, one_lane::StoredScale::kE4M3}};

SpanProblem ProblemOf(const std::vector<float>& weights, int64_t n_rows,
                      int64_t n_cols) {
  static constexpr float kFactors[] = {0.9f, 0.8f, 1.1f};
  SpanProblem problem;
  problem.name = "w";
  problem.weights = weights.data();
  problem.n_rows = n_rows;
  problem.n_cols = n_cols;
  problem.width = n_cols;
  problem.factors = kFactors;
  problem.n_refits = 3;
  return problem;
}

TEST(DeviceRunsTest, SpansAreThePlainLoops) {
  constexpr int64_t kRows = 70;
  constexpr int64_t kCols = 100;
  const std::vector<float> weights = Weights(kRows * kCols, 11);
  const std::vector<float> importance = Importance(kCols);
  for (const TestDevice& on : TestDevices()) {
    for (const RunGrid::Kind kind : kKinds) {
      for (const Stored& stored : kStored) {
        SpanProblem problem = ProblemOf(weights, kRows, kCols);
        problem.grid = GridOf(kind);
        problem.stored = stored.stored;
        problem.over = kind == RunGrid::Kind::kE4M3 ? 448.0f : 6.0f;
        ExpectPlainSpans(on.device(), problem, stored.type);
        problem.importance = importance;
        problem.height = 32;
        problem.width = 48;
        ExpectPlainSpans(on.device(), problem, stored.type);
        problem.height = kRows;
        problem.width = kCols;
        problem.division = RunDivision::kMultiply;
        problem.unit = 1.0f / 127;
        problem.inverse_unit = 127;
        ExpectPlainSpans(on.device(), problem, stored.type);
        problem.factors = {};
        problem.n_refits = 0;
        ExpectPlainSpans(on.device(), problem, stored.type);
      }
    }
  }
}

TEST(DeviceRunsTest, LongRowsAreMeasuredInPieces) {
  const std::vector<float> weights = Weights(3 * 9000, 13);
  SpanProblem problem = ProblemOf(weights, 3, 9000);
  for (const TestDevice& on : TestDevices()) {
    ExpectPlainSpans(on.device(), problem, QuantType::kF32);
  }
  // Row by row: 5 bytes a weight, some for pieces.
  ExpectPlainSpans(Device::Cpu(60000), problem, QuantType::kF32);
  problem.height = 3;
  SpanResults results;
  EXPECT_TRUE(absl::IsResourceExhausted(SolveSpans(
      Device::Cpu(60000), problem, [](int64_t, absl::string_view) {},
      &results)));
}

// Every E4M3 number and what lies between, as formats/base has them.
TEST(DeviceRunsTest, CandidatesAreTheStoredScales) {
  RunCandidates e4m3 = AllCandidates()[2];
  RunCandidates e8m0 = AllCandidates()[3];
  for (int i = 0; i < 4000; ++i) {
    const float top = std::exp(0.02f * static_cast<float>(i - 2000));
    const float first = CandidateAt(e4m3, StartRun(e4m3, top), 0);
    const uint8_t byte = E4M3FromFloat(e4m3.global * (top / 6));
    EXPECT_EQ(first, FloatFromE4M3(byte == 0 ? E4M3FromFloat(0.125f) : byte) /
                         e4m3.global);
    const float second = CandidateAt(e4m3, StartRun(e4m3, top), 1);
    EXPECT_EQ(E4M3FromFloat(second * e4m3.global),
              std::max(1, (byte == 0 ? E4M3FromFloat(0.125f) : byte) - 4));
    int exponent;
    // The next power of two from a mantissa of 1.75 up.
    std::frexp(top / 4 * (8.0f / 7), &exponent);
    if (top > 1e-30f && top < 1e30f) {
      EXPECT_EQ(CandidateAt(e8m0, StartRun(e8m0, top), 0),
                std::ldexp(1.0f, exponent - 1))
          << top;
    }
  }
}

}  // namespace
}  // namespace narrow
