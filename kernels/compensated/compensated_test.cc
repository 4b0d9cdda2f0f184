// All codecs through feedback and descent: bytes that are legal and mean what
// was optimised, errors below the encoder's, the same bits for any number of
// threads. (Instruction sets: converter/compensated/compensated_digests.cc.)

#include "kernels/compensated/compensated.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "formats/base/parallel.h"
#include "formats/quant_type.h"
#include "kernels/linalg/cholesky.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 37;
constexpr int64_t kCols = 512;

// Numbers of about normal distribution: the sum of four uniform ones.
class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(seed) {}
  float Next() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<float>(state_ >> 48) - 32767.5f;
    }
    return sum * (1.0f / 37838.0f);
  }

 private:
  uint64_t state_;
};

std::vector<float> Weights() {
  Generator generator(3);
  std::vector<float> weights(kRows * kCols);
  for (float& w : weights) {
    w = 0.04f * generator.Next();
  }
  return weights;
}

// Of inputs in which each column resembles those before it; some are strong.
std::vector<double> Gram() {
  Generator generator(4);
  std::vector<double> gram(kCols * kCols, 0.0);
  for (int64_t row = 0; row < 2 * kCols; ++row) {
    std::vector<double> x(kCols);
    double last = 0;
    for (size_t j = 0; j < x.size(); ++j) {
      last = 0.9 * last + 0.4 * double{generator.Next()};
      x[j] = last * (j % 61 == 7 ? 4 : 1);
    }
    for (size_t i = 0; i < x.size(); ++i) {
      for (size_t j = 0; j < x.size(); ++j) {
        gram[i * x.size() + j] += x[i] * x[j] / (2.0 * kCols);
      }
    }
  }
  for (int64_t i = 0; i < kCols; ++i) {
    gram[static_cast<size_t>(i * kCols + i)] += 0.01;
  }
  return gram;
}

const std::vector<double>& SharedGram() {
  static const std::vector<double>* const gram =
      new std::vector<double>(Gram());
  return *gram;
}

std::vector<float> ToFloats(const std::vector<double>& values) {
  return std::vector<float>(values.begin(), values.end());
}

double Sum(const std::vector<RowError>& errors) {
  double sum = 0;
  for (const RowError& error : errors) {
    sum += error.gram;
  }
  return sum;
}

class CompensatedTest : public testing::TestWithParam<const BlockCodec*> {
 protected:
  const BlockCodec& codec() const { return *GetParam(); }

  std::vector<uint8_t> Encode(const std::vector<float>& weights) const {
    std::vector<float> importance;
    for (int64_t i = 0; i < kCols; ++i) {
      importance.push_back(
          static_cast<float>(SharedGram()[static_cast<size_t>(i * kCols + i)]));
    }
    std::vector<uint8_t> bytes(NumBytes());
    codec().EncodeRows(weights.data(), kRows, kCols, importance.data(),
                       bytes.data());
    return bytes;
  }

  size_t NumBytes() const {
    return static_cast<size_t>(kRows * kCols / codec().block *
                               Geometry(codec().type).block_bytes);
  }

  FeedFactor Factor() const {
    std::vector<double> r = SharedGram();
    EXPECT_LT(FactorUpper(nullptr, kCols, r.data()).failed_at, 0);
    return MakeFeedFactor(nullptr, codec(), kCols, r.data(), 1.0);
  }

  std::vector<uint8_t> Solve(const std::vector<float>& weights,
                             ThreadPool* pool) const {
    std::vector<uint8_t> bytes(NumBytes());
    FeedRows(codec(), weights.data(), kRows, Factor(), {}, bytes.data(), pool);
    const std::vector<float> gram = ToFloats(SharedGram());
    DescendRows(codec(), weights.data(), kRows, kCols, gram.data(), {},
                bytes.data(), pool);
    return bytes;
  }

  double Error(const std::vector<float>& weights,
               const std::vector<uint8_t>& bytes) const {
    const std::vector<float> gram = ToFloats(SharedGram());
    return Sum(MeasureRows(codec(), weights.data(), kRows, kCols, gram.data(),
                           bytes.data(), nullptr));
  }
};

TEST_P(CompensatedTest, FeedbackAndDescentBothLowerTheError) {
  const std::vector<float> weights = Weights();
  const double plain = Error(weights, Encode(weights));
  std::vector<uint8_t> bytes(NumBytes());
  FeedRows(codec(), weights.data(), kRows, Factor(), {}, bytes.data(), nullptr);
  const double fed = Error(weights, bytes);
  const std::vector<float> gram = ToFloats(SharedGram());
  DescendRows(codec(), weights.data(), kRows, kCols, gram.data(), {},
              bytes.data(), nullptr);
  const double descended = Error(weights, bytes);
  // The inputs' neighbours share 0.8 of their variance. (Points of IQ1 lie so
  // far apart that feedback alone is no sure gain.)
  const bool coarse = codec().unit > 1 && codec().ranges.min_high > 0;
  EXPECT_LT(fed, (coarse ? 1.1 : 0.7) * plain);
  EXPECT_LT(descended, 0.7 * plain);
  // Little remains to be done at 5 and 6 bits.
  EXPECT_LT(descended, fed);
}

TEST_P(CompensatedTest, MeasuresWhatTheCodecDecodes) {
  const std::vector<float> weights = Weights();
  const std::vector<uint8_t> bytes = Solve(weights, nullptr);
  EXPECT_LT(codec().FirstBadBlock(bytes.data(), kRows * kCols / codec().block),
            0);
  std::vector<float> decoded(weights.size());
  codec().Decode(bytes.data(), kRows * kCols / codec().block, decoded.data());
  // Under the identity the error is a sum of squares, without rounding but
  // for the sum's: so a value that differed in any bit would show.
  std::vector<float> identity(kCols * kCols, 0.0f);
  for (int64_t i = 0; i < kCols; ++i) {
    identity[static_cast<size_t>(i * kCols + i)] = 1;
  }
  const std::vector<RowError> errors =
      MeasureRows(codec(), decoded.data(), kRows, kCols, identity.data(),
                  bytes.data(), nullptr);
  for (const RowError& error : errors) {
    EXPECT_EQ(error.gram, 0);
    EXPECT_EQ(error.square, 0);
  }
}

TEST_P(CompensatedTest, PackedFieldsAreThoseOfTheBytes) {
  const std::vector<float> weights = Weights();
  const std::vector<uint8_t> bytes = Solve(weights, nullptr);
  const int64_t block_bytes = Geometry(codec().type).block_bytes;
  for (int64_t at = 0; at < static_cast<int64_t>(bytes.size());
       at += block_bytes) {
    BlockFields fields;
    std::vector<int8_t> codes(static_cast<size_t>(codec().block));
    codec().unpack(bytes.data() + at, &fields, codes.data());
    std::vector<uint8_t> again(static_cast<size_t>(block_bytes));
    codec().pack(fields, codes.data(), again.data());
    ASSERT_EQ(again, std::vector<uint8_t>(bytes.begin() + at,
                                          bytes.begin() + at + block_bytes));
  }
}

TEST_P(CompensatedTest, OtherOrdersKeepFields) {
  const std::vector<float> weights = Weights();
  const std::vector<uint8_t> bytes = Solve(weights, nullptr);
  // Units backwards.
  std::vector<int32_t> order;
  const int unit = codec().unit;
  for (int32_t first = kCols - unit; first >= 0; first -= unit) {
    for (int32_t i = 0; i < unit; ++i) {
      order.push_back(first + i);
    }
  }
  std::vector<double> r(kCols * kCols);
  for (size_t i = 0; i < order.size(); ++i) {
    for (size_t j = 0; j < order.size(); ++j) {
      r[i * order.size() + j] =
          SharedGram()[static_cast<size_t>(order[i] * kCols + order[j])];
    }
  }
  ASSERT_LT(FactorUpper(nullptr, kCols, r.data()).failed_at, 0);
  const FeedFactor factor =
      MakeFeedFactor(nullptr, codec(), kCols, r.data(), 1.0, order);
  std::vector<uint8_t> other = bytes;
  RefeedRows(codec(), weights.data(), kRows, factor, other.data(), nullptr);
  EXPECT_NE(other, bytes);
  // Feedback alone, in the worst order for such inputs, under fields made for
  // another one: still no worse than the encoder by much.
  EXPECT_LT(Error(weights, other), 1.1 * Error(weights, Encode(weights)));
  const int64_t block_bytes = Geometry(codec().type).block_bytes;
  for (size_t at = 0; at < bytes.size();
       at += static_cast<size_t>(block_bytes)) {
    BlockFields is;
    BlockFields was;
    std::vector<int8_t> codes(static_cast<size_t>(codec().block));
    codec().unpack(bytes.data() + at, &was, codes.data());
    codec().unpack(other.data() + at, &is, codes.data());
    ASSERT_EQ(is.d, was.d);
    ASSERT_EQ(is.dmin, was.dmin);
    for (int g = 0; g < codec().ranges.n_sub_blocks; ++g) {
      ASSERT_EQ(is.scales[g], was.scales[g]);
      ASSERT_EQ(is.mins[g], was.mins[g]);
    }
  }
}

TEST_P(CompensatedTest, ThreadsDoNotMatter) {
  const std::vector<float> weights = Weights();
  const std::vector<uint8_t> alone = Solve(weights, nullptr);
  for (const int n_threads : {2, 8}) {
    ThreadPool pool(n_threads);
    EXPECT_EQ(Solve(weights, &pool), alone) << n_threads;
  }
}

TEST_P(CompensatedTest, DescentKeepsRowsItCannotImprove) {
  // Weights that blocks hold exactly.
  std::vector<float> weights = Weights();
  const std::vector<uint8_t> bytes = Encode(weights);
  codec().Decode(bytes.data(), kRows * kCols / codec().block, weights.data());
  std::vector<uint8_t> after = bytes;
  const std::vector<float> gram = ToFloats(SharedGram());
  DescendRows(codec(), weights.data(), kRows, kCols, gram.data(), {},
              after.data(), nullptr);
  EXPECT_EQ(after, bytes);
}

TEST_P(CompensatedTest, ExtremeWeightsGiveSoundBlocks) {
  for (const float size : {0.0f, 1e-30f, 1e-7f, 1e6f, 1e18f}) {
    std::vector<float> weights = Weights();
    for (float& w : weights) {
      w *= size;
    }
    const std::vector<uint8_t> bytes = Solve(weights, nullptr);
    EXPECT_LT(
        codec().FirstBadBlock(bytes.data(), kRows * kCols / codec().block), 0)
        << size;
    std::vector<float> decoded(weights.size());
    codec().Decode(bytes.data(), kRows * kCols / codec().block, decoded.data());
    for (const float w : decoded) {
      ASSERT_TRUE(std::isfinite(w)) << size;
    }
  }
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
    AllTypes, CompensatedTest, testing::ValuesIn(BlockCodecs()),
    [](const testing::TestParamInfo<const BlockCodec*>& info) {
      return std::string(TypeName(info.param->type));
    });

TEST(FeedFactorTest, UnitsSplitTheTriangle) {
  // H = R R^T; the target's change for errors e in unit 0 is e R01 R11^-1.
  const std::vector<double> r = {2, 1, 3, 1,  //
                                 0, 1, 2, 4,  //
                                 0, 0, 2, 1,  //
                                 0, 0, 0, 4};
  BlockCodec codec = *FindCodec(QuantType::kIQ3_S);
  codec.block = 4;
  codec.unit = 2;
  const FeedFactor factor = MakeFeedFactor(nullptr, codec, 4, r.data(), 2.0);
  const std::vector<float> m = {1, 0, 1.5f, -0.125f,  //
                                0, 1, 1,    0.75f,    //
                                0, 0, 1,    0,        //
                                0, 0, 0,    1};
  EXPECT_EQ(factor.m, m);
  EXPECT_EQ(factor.metric, (std::vector<float>{2.5f, 0.5f, 0.5f, 0.5f,  //
                                               2.5f, 2, 2, 8}));
  EXPECT_EQ(factor.pivots, (std::vector<float>{2.5f, 0.5f, 2.5f, 8}));
}

}  // namespace
}  // namespace narrow
