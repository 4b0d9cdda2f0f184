// The code of a card's threads, run one after the other, against the codecs'
// definitions, over all the traps of test_weights.h.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/team/emulate.h"
#include "kernels/quant/team/tables.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

using team::EncodeTask;

constexpr int64_t kRows = 6;
constexpr int64_t kCols = 768;

std::vector<const BlockCodec*> CodecsOfTeams() {
  std::vector<const BlockCodec*> codecs;
  for (const BlockCodec* codec : AllCodecs()) {
    if (team::HasTeam(codec->type)) {
      codecs.push_back(codec);
    }
  }
  return codecs;
}

// Memory of 16-byte alignment.
template <typename T>
struct alignas(16) Slot {
  T values[16 / sizeof(T)];
};
template <typename T>
class Aligned {
 public:
  explicit Aligned(const std::vector<T>& values)
      : slots_(values.size() * sizeof(T) / 16 + 1) {
    std::memcpy(slots_.data(), values.data(), values.size() * sizeof(T));
  }
  const T* data() const { return reinterpret_cast<const T*>(slots_.data()); }

 private:
  std::vector<Slot<T>> slots_;
};

struct Encoded {
  std::vector<uint8_t> bytes;
  std::vector<uint8_t> failed;
  uint32_t n_failed = 0;
};

class TeamTest : public testing::TestWithParam<const BlockCodec*> {
 protected:
  const BlockCodec& codec() const { return *GetParam(); }
  int64_t block_bytes() const { return Geometry(codec().type).block_bytes; }

  Encoded Encode(const void* weights, bool is_bf16,
                 const std::vector<float>& importance) const {
    const int64_t n_blocks = kRows * kCols / codec().block;
    const Aligned<float> columns(importance);
    std::vector<float> mean_squares(kRows);
    Encoded encoded;
    // A margin shows writes beyond the end.
    encoded.bytes.assign(n_blocks * block_bytes() + 64, 0xa5);
    encoded.failed.resize(n_blocks);
    EncodeTask task;
    task.weights = weights;
    task.is_bf16 = is_bf16;
    task.n_rows = kRows;
    task.n_cols = kCols;
    task.importance = importance.empty() ? nullptr : columns.data();
    task.mean_squares = mean_squares.data();
    task.tables = team::TablesOf(codec().type).tables;
    task.bytes = encoded.bytes.data();
    task.failed = encoded.failed.data();
    task.n_failed = &encoded.n_failed;
    team::Emulate(codec().type, task);
    for (int i = 0; i < 64; ++i) {
      EXPECT_EQ(encoded.bytes[n_blocks * block_bytes() + i], 0xa5);
    }
    encoded.bytes.resize(n_blocks * block_bytes());
    return encoded;
  }

  // That all blocks but those that failed are the definition's.
  void ExpectSame(const std::vector<float>& weights, const Encoded& encoded,
                  const std::vector<float>& importance) const {
    std::vector<uint8_t> wanted(encoded.bytes.size());
    codec().encode_reference(weights.data(), kRows, kCols,
                             importance.empty() ? nullptr : importance.data(),
                             wanted.data());
    int n_wrong = 0;
    for (size_t b = 0; b < encoded.failed.size(); ++b) {
      n_wrong +=
          encoded.failed[b] == 0 &&
          std::memcmp(&wanted[b * block_bytes()],
                      &encoded.bytes[b * block_bytes()], block_bytes()) != 0;
    }
    EXPECT_EQ(n_wrong, 0) << "of " << encoded.failed.size() << " blocks";
  }
};

// Of blocks that are not all finite, or whose units half precision cannot
// hold, the host takes care; there must be no others.
bool MayFail(Distribution distribution) {
  switch (distribution) {
    case Distribution::kNotFinite:
    case Distribution::kHuge:
    case Distribution::kSubnormal:
    case Distribution::kTiny:
    case Distribution::kLarge:
    case Distribution::kRamp:
      return true;
    default:
      return false;
  }
}

TEST_P(TeamTest, BytesAreTheDefinitions) {
  for (int d = 0; d < kNumDistributions; ++d) {
    const int n_kinds = codec().uses_importance ? kNumImportanceKinds : 1;
    for (int k = codec().requires_importance ? 1 : 0; k < n_kinds; ++k) {
      const auto distribution = static_cast<Distribution>(d);
      const auto kind = static_cast<ImportanceKind>(k);
      SCOPED_TRACE(std::string(DistributionName(distribution)) +
                   ", importance " + ImportanceName(kind));
      const std::vector<float> weights =
          TestWeights(distribution, kRows, kCols);
      const std::vector<float> importance = TestImportance(kind, kCols);
      const Aligned<float> aligned(weights);
      const Encoded encoded = Encode(aligned.data(), false, importance);
      ExpectSame(weights, encoded, importance);
      if (!MayFail(distribution)) {
        EXPECT_EQ(encoded.n_failed, 0u);
      }
    }
  }
}

TEST_P(TeamTest, Bf16WeightsAreThoseNumbers) {
  std::vector<float> weights = TestWeights(Distribution::kBf16, kRows, kCols);
  std::vector<uint16_t> halves;
  for (const float weight : weights) {
    halves.push_back(Bf16FromFloat(weight));
  }
  const std::vector<float> importance =
      codec().uses_importance ? TestImportance(ImportanceKind::kVaried, kCols)
                              : std::vector<float>();
  const Aligned<uint16_t> aligned(halves);
  const Encoded encoded = Encode(aligned.data(), true, importance);
  ExpectSame(weights, encoded, importance);
  EXPECT_EQ(encoded.n_failed, 0u);
}

TEST_P(TeamTest, InfiniteWeightsFail) {
  if (codec().block == 1) {
    GTEST_SKIP() << "bits are all there is to it";
  }
  std::vector<float> weights = TestWeights(Distribution::kNormal, kRows, kCols);
  weights[kCols + codec().block + 3] = HUGE_VALF;
  const std::vector<float> importance =
      codec().uses_importance ? TestImportance(ImportanceKind::kVaried, kCols)
                              : std::vector<float>();
  const Aligned<float> aligned(weights);
  const Encoded encoded = Encode(aligned.data(), false, importance);
  EXPECT_GE(encoded.n_failed, 1u);
  EXPECT_EQ(encoded.failed[kCols / codec().block + 1], 1);
}

// Arbitrary bytes, but for NaNs, whose bits are a processor's own.
TEST_P(TeamTest, DecodesTheDefinitionsWeights) {
  constexpr int64_t kBlocks = 200;
  TestGenerator generator(7);
  std::vector<uint8_t> bytes(kBlocks * block_bytes());
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(generator.Next());
  }
  std::vector<float> wanted(kBlocks * codec().block);
  codec().decode_reference(bytes.data(), kBlocks, wanted.data());
  std::vector<float> floats(wanted.size());
  std::vector<uint16_t> halves(wanted.size());
  team::DecodeTask task;
  task.bytes = bytes.data();
  task.n_blocks = kBlocks;
  task.tables = team::TablesOf(codec().type).tables;
  task.floats = floats.data();
  task.halves = halves.data();
  team::Emulate(codec().type, task);
  int n_wrong = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    n_wrong += !(std::isnan(wanted[i]) && std::isnan(floats[i])) &&
               (FloatBits(wanted[i]) != FloatBits(floats[i]) ||
                Bf16FromFloat(wanted[i]) != halves[i]);
  }
  EXPECT_EQ(n_wrong, 0) << "of " << wanted.size();
}

INSTANTIATE_TEST_SUITE_P(
    AllTypes, TeamTest, testing::ValuesIn(CodecsOfTeams()),
    [](const testing::TestParamInfo<const BlockCodec*>& info) {
      return std::string(TypeName(info.param->type));
    });

}  // namespace
}  // namespace narrow
