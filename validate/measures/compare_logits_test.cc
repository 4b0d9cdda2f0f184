#include "validate/measures/compare_logits.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "calibration/device/compare_logits.h"
#include "gtest/gtest.h"
#include "kernels/device.h"
#include "validate/measures/divergence.h"

namespace narrow {
namespace {

std::vector<float> Random(int64_t n, float scale, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> logits(static_cast<size_t>(n));
  for (float& value : logits) {
    value = normal(random);
  }
  return logits;
}

// ln of the sum of exponentials, in long double.
long double LogSum(const std::vector<float>& logits, size_t n) {
  long double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    sum += std::exp(static_cast<long double>(logits[i]));
  }
  return std::log(sum);
}

TokenComparison CompareLogits(const std::vector<float>& p, std::vector<float> q,
                              int32_t target) {
  ReferenceRow row;
  row.Load(p.data(), static_cast<int64_t>(p.size()), target);
  return row.Compare(q.data(), static_cast<int64_t>(q.size()));
}

// The kernels' exponentials are within 2e-7, and logits of 16 are rounded to
// 1e-6 when they are subtracted.
constexpr double kTolerance = 4e-6;

TEST(CompareLogits, AsTheDefinition) {
  for (const float scale : {0.1f, 2.0f, 6.0f}) {
    const std::vector<float> p = Random(1003, scale, 1);
    std::vector<float> q = Random(1003, 0.2f * scale, 2);
    for (size_t i = 0; i < q.size(); ++i) {
      q[i] += p[i];
    }
    const long double log_p = LogSum(p, p.size());
    const long double log_q = LogSum(q, q.size());
    long double divergence = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      divergence += std::exp(p[i] - log_p) * (p[i] - log_p - q[i] + log_q);
    }
    const TokenComparison token = CompareLogits(p, q, 17);
    EXPECT_NEAR(token.reference_nll, static_cast<double>(log_p - p[17]),
                kTolerance);
    EXPECT_NEAR(token.candidate_nll, static_cast<double>(log_q - q[17]),
                kTolerance);
    EXPECT_NEAR(token.divergence, static_cast<double>(divergence), kTolerance);
  }
}

// Each model's loss is over its own ids, the divergence over those of both.
TEST(CompareLogits, IdsThatOneModelLacks) {
  const std::vector<float> p = Random(100, 1, 3);
  std::vector<float> q(p.begin(), p.begin() + 90);
  const TokenComparison token = CompareLogits(p, q, 5);
  EXPECT_NEAR(token.reference_nll, static_cast<double>(LogSum(p, 100) - p[5]),
              kTolerance);
  EXPECT_NEAR(token.candidate_nll, static_cast<double>(LogSum(p, 90) - p[5]),
              kTolerance);
  EXPECT_NEAR(token.divergence, 0, kTolerance);
}

// Candidates beside each other say what each says by itself, bit for bit,
// whatever vocabulary the one before had; the divergence is that of
// DivergenceOfLogits.
TEST(CompareLogits, CandidatesDoNotMeetEachOther) {
  std::vector<float> p = Random(515, 3, 4);
  ReferenceRow row;
  row.Load(p.data(), 515, 7);
  for (const int64_t n : {515, 515, 400, 515, 600}) {
    const std::vector<float> q = Random(n, 3, static_cast<uint32_t>(n));
    const TokenComparison alone = CompareLogits(p, q, 7);
    std::vector<float> q_spoilt = q;
    const TokenComparison beside = row.Compare(q_spoilt.data(), n);
    EXPECT_EQ(beside.reference_nll, alone.reference_nll);
    EXPECT_EQ(beside.candidate_nll, alone.candidate_nll);
    EXPECT_EQ(beside.divergence, alone.divergence);
    EXPECT_EQ(beside.same_top, alone.same_top);
    std::vector<float> p_spoilt = p;
    q_spoilt = q;
    EXPECT_EQ(beside.divergence,
              DivergenceOfLogits(std::min<int64_t>(n, 515), p_spoilt.data(),
                                 q_spoilt.data()));
  }
}

TEST(CompareLogits, TheLowestOfEqualTokensIsTheTop) {
  const std::vector<float> p = {0, 3, 1, 3};
  EXPECT_EQ(ScoreLogits(p.data(), 4, 0).top_token, 1);
  EXPECT_TRUE(CompareLogits(p, {0, 2, 1, 2}, 0).same_top);
  EXPECT_FALSE(CompareLogits(p, {0, 2, 1, 2.5}, 0).same_top);
}

TEST(CompareLogits, WhatIsNoNumberStaysNone) {
  const std::vector<float> q(3, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(std::isnan(CompareLogits({0, 1, 2}, q, 1).divergence));
}

// Rows of two vocabularies, of which a device finds the terms.
TEST(CompareLogits, ADeviceGivesTheSameNumbers) {
  const Device device = Device::Cpu();
  for (const auto& [n_p, n_q] :
       {std::pair<int64_t, int64_t>{1003, 1003}, {1003, 997}, {640, 800}}) {
    const int64_t n_rows = 5;
    const std::vector<float> p = Random(n_rows * n_p, 4, 1);
    const std::vector<float> q = Random(n_rows * n_q, 4, 2);
    const std::vector<int32_t> targets = {3, 0, 600, 17, 639};
    const auto there = [&](const std::vector<float>& logits, int64_t n) {
      DeviceLogits on_device;
      on_device.n_rows = n_rows;
      on_device.n_vocab = n;
      auto memory = device.Allocate(4 * logits.size(), "test");
      EXPECT_TRUE(memory.ok());
      on_device.memory = *std::move(memory);
      std::copy(logits.begin(), logits.end(), on_device.memory.as<float>());
      return on_device;
    };
    const auto terms =
        CompareOnDevice(device, there(p, n_p), there(q, n_q), targets);
    ASSERT_TRUE(terms.ok()) << terms.status();
    for (int64_t r = 0; r < n_rows; ++r) {
      const TokenComparison wanted =
          CompareLogits({p.begin() + r * n_p, p.begin() + (r + 1) * n_p},
                        {q.begin() + r * n_q, q.begin() + (r + 1) * n_q},
                        targets[static_cast<size_t>(r)]);
      const TokenComparison got =
          ComparisonOf((*terms)[static_cast<size_t>(r)]);
      EXPECT_EQ(got.reference_nll, wanted.reference_nll);
      EXPECT_EQ(got.candidate_nll, wanted.candidate_nll);
      EXPECT_EQ(got.divergence, wanted.divergence);
      EXPECT_EQ(got.same_top, wanted.same_top);
    }
  }
}

}  // namespace
}  // namespace narrow
