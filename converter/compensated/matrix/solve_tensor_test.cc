// Properties of SolveCompensated over types, its correction of drift, and
// statistics that are odd.

#include "converter/compensated/matrix/solve_tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "converter/compensated/matrix/factor_cache.h"
#include "formats/quant_type.h"
#include "kernels/compensated/compensated.h"
#include "kernels/device.h"
#include "kernels/quant/device/shared_encoders.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 24;
constexpr int64_t kCols = 256;

class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(seed) {}
  double Next() {
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<double>(state_ >> 48) / 65536 - 0.5;
    }
    return sum * 1.7320508;
  }

 private:
  uint64_t state_;
};

// Inputs whose neighbours resemble each other, row after row.
std::vector<double> Inputs(int64_t n_rows, uint64_t seed) {
  Generator generator(seed);
  std::vector<double> inputs;
  for (int64_t row = 0; row < n_rows; ++row) {
    double last = 0;
    for (int64_t j = 0; j < kCols; ++j) {
      last = 0.8 * last + 0.6 * generator.Next();
      inputs.push_back(last * (j % 53 == 5 ? 5 : 1));
    }
  }
  return inputs;
}

// sum over rows of left^T right.
std::vector<double> Products(const std::vector<double>& left, int64_t n_left,
                             const std::vector<double>& right) {
  std::vector<double> sums(static_cast<size_t>(n_left * kCols), 0.0);
  const int64_t n_rows = static_cast<int64_t>(right.size()) / kCols;
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t i = 0; i < n_left; ++i) {
      const double x = left[static_cast<size_t>(row * n_left + i)];
      for (int64_t j = 0; j < kCols; ++j) {
        sums[static_cast<size_t>(i * kCols + j)] +=
            x * right[static_cast<size_t>(row * kCols + j)];
      }
    }
  }
  return sums;
}

LayerStats StatsOf(const std::vector<double>& inputs) {
  LayerStats stats;
  stats.n_cols = kCols;
  stats.n_rows = static_cast<int64_t>(inputs.size()) / kCols;
  stats.gram = Products(inputs, kCols, inputs);
  return stats;
}

struct Case {
  std::vector<float> weights;
  LayerStats stats;
  CompensatedOptions options;
  ThreadPool pool{2};
  CompensatedProblem problem;

  explicit Case(QuantType type = QuantType::kQ4_K) {
    Generator generator(7);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      weights.push_back(static_cast<float>(0.03 * generator.Next()));
    }
    stats = StatsOf(Inputs(600, 9));
    problem.name = "blk.0.test.weight";
    problem.weights = weights.data();
    problem.n_rows = kRows;
    problem.n_cols = kCols;
    problem.codec = FindCodec(type);
    problem.stats = &stats;
    problem.options = &options;
    problem.pool = &pool;
  }

  std::vector<float> Decode(const CompensatedResult& result) const {
    std::vector<float> decoded(weights.size());
    problem.codec->Decode(result.bytes.data(),
                          kRows * kCols / problem.codec->block, decoded.data());
    return decoded;
  }
};

std::string Notes(const CompensatedResult& result) {
  return absl::StrJoin(result.notes, "; ");
}

// tr(E H E^T) by rows, plainly.
std::vector<double> RowErrors(const std::vector<float>& targets,
                              const std::vector<float>& values,
                              const std::vector<double>& gram) {
  std::vector<double> errors;
  for (int64_t row = 0; row < kRows; ++row) {
    std::vector<double> e;
    for (int64_t j = 0; j < kCols; ++j) {
      const size_t at = static_cast<size_t>(row * kCols + j);
      e.push_back(double{targets[at]} - double{values[at]});
    }
    double sum = 0;
    for (size_t i = 0; i < e.size(); ++i) {
      for (size_t j = 0; j < e.size(); ++j) {
        sum += e[i] * gram[i * e.size() + j] * e[j];
      }
    }
    errors.push_back(sum);
  }
  return errors;
}

class SolveTensorTest : public testing::TestWithParam<const BlockCodec*> {};

// All types through one cache: what is kept for one is not taken for another
// with other blocks or units.
TEST(SolveTensor, FactorsMayBeShared) {
  FactorCache factors;
  for (const BlockCodec* codec : AllCodecs()) {
    if (!SupportsCompensation(*codec)) {
      continue;
    }
    Case alone(codec->type);
    const auto want = SolveCompensated(alone.problem);
    Case shared(codec->type);
    shared.problem.factors = &factors;
    const auto got = SolveCompensated(shared.problem);
    ASSERT_TRUE(want.ok() && got.ok());
    EXPECT_EQ(got->bytes, want->bytes) << TypeName(codec->type);
    EXPECT_EQ(got->notes, want->notes);
  }
}

TEST_P(SolveTensorTest, NoRowIsWorseThanThePlainEncoding) {
  Case c(GetParam()->type);
  const auto result = SolveCompensated(c.problem);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->accepted);
  EXPECT_LT(result->relative_error, 0.8 * result->relative_error_plain);
  // With no rounds of anything the plain encoding remains where feedback
  // alone is worse; it is also what the encoder gives.
  std::vector<float> importance;
  for (int64_t i = 0; i < kCols; ++i) {
    importance.push_back(
        static_cast<float>(c.stats.gram[static_cast<size_t>(i * kCols + i)]));
  }
  CompensatedResult plain;
  plain.bytes.resize(result->bytes.size());
  c.problem.codec->EncodeRows(c.weights.data(), kRows, kCols, importance.data(),
                              plain.bytes.data());
  const std::vector<double> before =
      RowErrors(c.weights, c.Decode(plain), c.stats.gram);
  const std::vector<double> after =
      RowErrors(c.weights, c.Decode(*result), c.stats.gram);
  double sum = 0;
  double energy = 0;
  const std::vector<double> whole = RowErrors(
      c.weights, std::vector<float>(c.weights.size(), 0.0f), c.stats.gram);
  for (size_t row = 0; row < after.size(); ++row) {
    // Importance is scaled, so that the encoder's bytes may differ a little.
    EXPECT_LE(after[row], before[row] * 1.02) << row;
    sum += after[row];
    energy += whole[row];
  }
  EXPECT_NEAR(result->relative_error, sum / energy, 1e-3 * sum / energy);
}

std::vector<const BlockCodec*> BlockCodecs() {
  std::vector<const BlockCodec*> codecs;
  for (const BlockCodec* codec : AllCodecs()) {
    if (SupportsCompensation(*codec)) {
      codecs.push_back(codec);
    }
  }
  return codecs;
}

INSTANTIATE_TEST_SUITE_P(
    AllTypes, SolveTensorTest, testing::ValuesIn(BlockCodecs()),
    [](const testing::TestParamInfo<const BlockCodec*>& info) {
      return std::string(TypeName(info.param->type));
    });

TEST(SolveCompensatedTest, UncorrelatedInputsOfOneSizeGainOnlyByBetterFields) {
  Case c;
  c.stats.gram.assign(kCols * kCols, 0.0);
  for (int64_t i = 0; i < kCols; ++i) {
    c.stats.gram[static_cast<size_t>(i * kCols + i)] = 3;
  }
  const auto result = SolveCompensated(c.problem);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LE(result->relative_error, result->relative_error_plain);
  EXPECT_GT(result->relative_error, 0.8 * result->relative_error_plain);
}

TEST(SolveCompensatedTest, InputsThatWereNeverSeenKeepThePlainEncoding) {
  Case c;
  c.stats.gram.assign(kCols * kCols, 0.0);
  const auto result = SolveCompensated(c.problem);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->accepted);
  EXPECT_TRUE(absl::StrContains(Notes(*result), "no input was seen"));
}

TEST(SolveCompensatedTest, ASingularGramMatrixRaisesTheDamping) {
  Case c(QuantType::kQ4_0);
  c.stats = StatsOf(Inputs(40, 9));
  c.options.damping = 0;
  const auto result = SolveCompensated(c.problem);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(absl::StrContains(Notes(*result), "damping raised from 0 to"));
  EXPECT_TRUE(absl::StrContains(Notes(*result), "only 40 rows were seen"));
  EXPECT_LT(result->relative_error, 0.5 * result->relative_error_plain);
}

TEST(SolveCompensatedTest, RefusesWhatIsNoNumber) {
  {
    Case c;
    c.stats.gram[5 * kCols + 7] = std::nan("");
    EXPECT_EQ(SolveCompensated(c.problem).status().code(),
              absl::StatusCode::kDataLoss);
  }
  {
    Case c;
    c.weights[3 * kCols + 4] = std::numeric_limits<float>::infinity();
    const absl::Status status = SolveCompensated(c.problem).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(absl::StrContains(status.message(), "[3, 4]")) << status;
  }
  {
    Case c;
    c.stats.cross.assign(kCols * kCols, std::nan(""));
    EXPECT_EQ(SolveCompensated(c.problem).status().code(),
              absl::StatusCode::kDataLoss);
  }
  {
    Case c;
    c.stats.residual.assign(kRows * kCols - 1, 0.0);
    EXPECT_EQ(SolveCompensated(c.problem).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  {
    Case c;
    c.stats.gram.clear();
    EXPECT_EQ(SolveCompensated(c.problem).status().code(),
              absl::StatusCode::kFailedPrecondition);
  }
  {
    Case c(QuantType::kF16);
    EXPECT_EQ(SolveCompensated(c.problem).status().code(),
              absl::StatusCode::kUnimplemented);
  }
}

TEST(SolveCompensatedTest, WeightsBeyondHalfPrecisionGiveFiniteBlocks) {
  Case c(QuantType::kQ4_0);
  for (int64_t j = 0; j < kCols; ++j) {
    c.weights[static_cast<size_t>(j)] *= 1e9f;
  }
  const auto result = SolveCompensated(c.problem);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LT(
      c.problem.codec->FirstBadBlock(result->bytes.data(), kRows * kCols / 32),
      0);
}

// Statistics of inputs z = x + drift, where the original's were x.
struct DriftCase : Case {
  std::vector<double> x = Inputs(800, 21);
  std::vector<double> z = x;

  DriftCase() {
    // A tenth of the neighbour leaks in, and some noise of its own.
    Generator generator(5);
    for (size_t i = 0; i + 1 < z.size(); ++i) {
      z[i] = x[i] + 0.2 * x[i + 1] + 0.05 * generator.Next();
    }
    stats = StatsOf(z);
    std::vector<double> moved(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      moved[i] = x[i] - z[i];
    }
    stats.cross = Products(moved, kCols, z);
  }

  // |W x - Q z|^2.
  double OutputError(const std::vector<float>& q) const {
    double sum = 0;
    for (size_t token = 0; token < x.size() / kCols; ++token) {
      for (int64_t row = 0; row < kRows; ++row) {
        double miss = 0;
        for (int64_t j = 0; j < kCols; ++j) {
          const size_t at = static_cast<size_t>(row * kCols + j);
          const size_t in = token * kCols + static_cast<size_t>(j);
          miss += double{weights[at]} * x[in] - double{q[at]} * z[in];
        }
        sum += miss * miss;
      }
    }
    return sum;
  }
};

TEST(SolveCompensatedTest, DriftOfInputsIsMadeUpFor) {
  DriftCase c;
  const auto with = SolveCompensated(c.problem);
  ASSERT_TRUE(with.ok()) << with.status();
  EXPECT_TRUE(absl::StrContains(Notes(*with), "drift of inputs corrected"));
  c.options.drift = 0;
  const auto without = SolveCompensated(c.problem);
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_LT(c.OutputError(c.Decode(*with)),
            0.5 * c.OutputError(c.Decode(*without)));
}

TEST(SolveCompensatedTest, RowsHeldOutScaleTheCorrection) {
  // Held-out rows without any drift: nothing is to be corrected.
  DriftCase c;
  auto held = std::make_shared<HeldOutRows>();
  held->n_rows = 100;
  held->inputs.assign(c.x.begin(), c.x.begin() + 100 * kCols);
  held->originals = held->inputs;
  held->weights.assign(100, 1.0f);
  c.stats.held_out = held;
  const auto judged = SolveCompensated(c.problem);
  ASSERT_TRUE(judged.ok()) << judged.status();
  EXPECT_TRUE(absl::StrContains(Notes(*judged), "ask for 0 of it"))
      << Notes(*judged);
  c.options.drift = 0;
  c.stats.held_out = nullptr;
  const auto without = SolveCompensated(c.problem);
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_EQ(judged->bytes, without->bytes);
  // And some with it.
  for (size_t i = 0; i < held->inputs.size(); ++i) {
    held->inputs[i] = static_cast<float>(c.z[i]);
  }
  c.options.drift = 1;
  c.stats.held_out = held;
  const auto agreed = SolveCompensated(c.problem);
  ASSERT_TRUE(agreed.ok()) << agreed.status();
  EXPECT_NE(agreed->bytes, without->bytes);
}

TEST(SolveCompensatedTest, TheResidualStreamsDriftIsSharedOut) {
  Case c;
  const std::vector<double> z = Inputs(600, 9);
  // What is missing in the stream is a linear map of the inputs.
  std::vector<double> missing(static_cast<size_t>(600 * kRows));
  for (int64_t token = 0; token < 600; ++token) {
    for (int64_t row = 0; row < kRows; ++row) {
      missing[static_cast<size_t>(token * kRows + row)] =
          0.01 * z[static_cast<size_t>(token * kCols + row + 3)];
    }
  }
  c.stats.residual = Products(missing, kRows, z);
  c.options.residual = 1;
  c.options.drift_damping = 1e-6;
  const auto result = SolveCompensated(c.problem);
  ASSERT_TRUE(result.ok()) << result.status();
  const std::vector<float> q = c.Decode(*result);
  // So the targets are the weights with 0.01 added to one column each.
  double moved = 0;
  for (int64_t row = 0; row < kRows; ++row) {
    const size_t at = static_cast<size_t>(row * kCols + row + 3);
    moved += double{q[at]} - double{c.weights[at]};
  }
  EXPECT_NEAR(moved / kRows, 0.01, 0.004);
}

// tr(H_O E H E^T), plainly.
double TwoSided(const std::vector<float>& targets,
                const std::vector<float>& values,
                const std::vector<double>& gram,
                const std::vector<double>& moments) {
  std::vector<double> products(static_cast<size_t>(kRows * kCols), 0.0);
  std::vector<double> e(products.size());
  for (size_t i = 0; i < e.size(); ++i) {
    e[i] = double{values[i]} - double{targets[i]};
  }
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t i = 0; i < kCols; ++i) {
      for (int64_t j = 0; j < kCols; ++j) {
        products[static_cast<size_t>(row * kCols + j)] +=
            e[static_cast<size_t>(row * kCols + i)] *
            gram[static_cast<size_t>(i * kCols + j)];
      }
    }
  }
  double sum = 0;
  for (int64_t a = 0; a < kRows; ++a) {
    for (int64_t b = 0; b < kRows; ++b) {
      double dot = 0;
      for (int64_t j = 0; j < kCols; ++j) {
        dot += products[static_cast<size_t>(a * kCols + j)] *
               e[static_cast<size_t>(b * kCols + j)];
      }
      sum += moments[static_cast<size_t>(a * kRows + b)] * dot;
    }
  }
  return sum;
}

TEST(SolveCompensatedTest, CoupledOutputsMakeUpForEachOther) {
  for (const QuantType type :
       {QuantType::kQ4_0, QuantType::kQ2_K, QuantType::kIQ3_S}) {
    Case c(type);
    // Gradients in which each row shares much with the next.
    std::vector<double> moments(kRows * kRows);
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t j = 0; j < kRows; ++j) {
        moments[static_cast<size_t>(i * kRows + j)] =
            std::pow(0.6, static_cast<double>(std::abs(i - j)));
      }
    }
    const auto alone = SolveCompensated(c.problem);
    c.problem.output_moments = moments.data();
    const auto coupled = SolveCompensated(c.problem);
    ASSERT_TRUE(alone.ok() && coupled.ok());
    EXPECT_LT(
        TwoSided(c.weights, c.Decode(*coupled), c.stats.gram, moments),
        0.97 * TwoSided(c.weights, c.Decode(*alone), c.stats.gram, moments))
        << Notes(*coupled);
  }
}

// Gradients that are nearly one direction: rows that are solved after others
// can make up for all that those miss in it.
TEST(SolveCompensatedTest, RowsMakeUpForThoseBeforeThem) {
  Case c(QuantType::kQ4_0);
  std::vector<double> moments(kRows * kRows);
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < kRows; ++j) {
      moments[static_cast<size_t>(i * kRows + j)] =
          (i % 2 == 0 ? 1 : -1) * (j % 2 == 0 ? 1 : -1) + (i == j ? 0.05 : 0);
    }
  }
  const auto alone = SolveCompensated(c.problem);
  c.problem.output_moments = moments.data();
  const auto coupled = SolveCompensated(c.problem);
  ASSERT_TRUE(alone.ok() && coupled.ok());
  EXPECT_TRUE(coupled->accepted);
  EXPECT_LT(TwoSided(c.weights, c.Decode(*coupled), c.stats.gram, moments),
            0.4 * TwoSided(c.weights, c.Decode(*alone), c.stats.gram, moments))
      << Notes(*coupled);
}

// Not the moments of anything: 3, -2 along a row and its neighbour.
TEST(SolveCompensatedTest, MomentsWithoutAFactorNeverDoHarm) {
  Case c(QuantType::kQ4_0);
  std::vector<double> moments(kRows * kRows, 0.0);
  for (int64_t i = 0; i < kRows; ++i) {
    moments[static_cast<size_t>(i * kRows + i)] = 1;
    if (i + 1 < kRows && i % 2 == 0) {
      moments[static_cast<size_t>(i * kRows + i + 1)] = 2;
      moments[static_cast<size_t>((i + 1) * kRows + i)] = 2;
    }
  }
  CompensatedResult plain;
  const auto alone = SolveCompensated(c.problem);
  c.problem.output_moments = moments.data();
  const auto coupled = SolveCompensated(c.problem);
  ASSERT_TRUE(alone.ok() && coupled.ok());
  plain.bytes = coupled->plain_bytes;
  EXPECT_LE(TwoSided(c.weights, c.Decode(*coupled), c.stats.gram, moments),
            TwoSided(c.weights, c.Decode(plain), c.stats.gram, moments));
}

TEST(SolveCompensatedTest, OutputsThatHaveNothingInCommonAreNotCoupled) {
  Case c;
  std::vector<double> moments(kRows * kRows, 0.0);
  for (int64_t i = 0; i < kRows; ++i) {
    moments[static_cast<size_t>(i * kRows + i)] = 2;
  }
  const auto alone = SolveCompensated(c.problem);
  c.problem.output_moments = moments.data();
  const auto coupled = SolveCompensated(c.problem);
  ASSERT_TRUE(alone.ok() && coupled.ok());
  // More rounds of descent, if anything.
  EXPECT_LE(coupled->relative_error, alone->relative_error * 1.0001);
  EXPECT_GT(coupled->relative_error, alone->relative_error * 0.95);
}

// Bytes, errors and notes are the processor's, whatever fits into the device's
// memory: notes then say what did not.
void ExpectTheSameOnADevice(Case* c, const std::vector<int64_t>& limits) {
  c->problem.device = nullptr;
  c->problem.encoders = nullptr;
  const auto want = SolveCompensated(c->problem);
  ASSERT_TRUE(want.ok()) << want.status();
  for (const int64_t limit : limits) {
    SCOPED_TRACE(limit);
    const Device device = Device::Cpu(limit);
    const auto encoders = SharedEncoders::Create(device, 1, nullptr);
    ASSERT_TRUE(encoders.ok()) << encoders.status();
    c->problem.device = &device;
    c->problem.encoders = encoders->get();
    const auto got = SolveCompensated(c->problem);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->bytes, want->bytes);
    EXPECT_EQ(got->plain_bytes, want->plain_bytes);
    EXPECT_EQ(got->relative_error, want->relative_error);
    EXPECT_EQ(got->accepted, want->accepted);
    std::vector<std::string> notes = got->notes;
    if (limit > 0) {
      ASSERT_EQ(notes.size(), want->notes.size() + 1);
      EXPECT_TRUE(absl::StrContains(notes.back(), "by the processor: "))
          << notes.back();
      notes.pop_back();
    }
    EXPECT_EQ(notes, want->notes);
  }
}

TEST(SolveCompensatedTest, ADeviceDoesNotMatter) {
  std::vector<double> moments(kRows * kRows, 0.5);
  for (int64_t i = 0; i < kRows; ++i) {
    moments[static_cast<size_t>(i * kRows + i)] = 1;
  }
  {
    Case c(QuantType::kQ4_0);
    c.options.n_orders = 2;
    // (Room for one factor, not for that of another order; for none.)
    ExpectTheSameOnADevice(&c, {0, 850000, 300000});
    c.problem.output_moments = moments.data();
    ExpectTheSameOnADevice(&c, {0, 300000});
  }
  {
    Case c(QuantType::kIQ3_S);
    c.options.rounds = 1;
    ExpectTheSameOnADevice(&c, {0});
  }
}

TEST(SolveCompensatedTest, BytesDoNotDependOnThreads) {
  Case c(QuantType::kIQ2_XS);
  const auto two = SolveCompensated(c.problem);
  ASSERT_TRUE(two.ok()) << two.status();
  std::vector<double> moments(kRows * kRows, 0.5);
  for (int64_t i = 0; i < kRows; ++i) {
    moments[static_cast<size_t>(i * kRows + i)] = 1;
  }
  c.problem.output_moments = moments.data();
  const auto coupled = SolveCompensated(c.problem);
  ASSERT_TRUE(coupled.ok()) << coupled.status();
  EXPECT_NE(coupled->bytes, two->bytes);
  for (const int n_threads : {1, 8}) {
    ThreadPool pool(n_threads);
    c.problem.pool = &pool;
    c.problem.output_moments = nullptr;
    const auto other = SolveCompensated(c.problem);
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ(other->bytes, two->bytes) << n_threads;
    c.problem.output_moments = moments.data();
    const auto again = SolveCompensated(c.problem);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->bytes, coupled->bytes) << n_threads;
  }
}

}  // namespace
}  // namespace narrow
