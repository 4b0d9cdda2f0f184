// Rows of every type's blocks on a device against the processor's: bytes and
// errors must be the same, bit for bit.

#include "kernels/compensated/device/device_blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/quant_type.h"
#include "kernels/compensated/compensated.h"
#include "kernels/linalg/cholesky.h"
#include "kernels/quant/codec.h"
#include "kernels/test_device.h"

namespace narrow {
namespace {

// More rows than a line of memory has, and no multiple.
constexpr int64_t kRows = 35;

// A scalar type, one with units that are shifted and one of few columns a
// block, in more rounds and columns; the rest has the same code.
bool AtLength(const BlockCodec& codec) {
  return codec.type == QuantType::kQ4_K || codec.type == QuantType::kIQ1_M ||
         codec.type == QuantType::kQ4_1;
}
// Two groups of columns of those, and of all small blocks.
int64_t ColumnsOf(const BlockCodec& codec) {
  return AtLength(codec) && codec.block == 256 ? 512 : 256;
}

// Of inputs that resemble those before them; some are strong.
std::vector<double> GramOf(int64_t n) {
  const std::vector<double> noise = NormalNumbers<double>(2 * n * n, 4);
  std::vector<double> gram(static_cast<size_t>(n * n), 0.0);
  for (int64_t row = 0; row < 2 * n; ++row) {
    std::vector<double> x;
    double last = 0;
    for (int64_t j = 0; j < n; ++j) {
      last = 0.9 * last + 0.4 * noise[static_cast<size_t>(row * n + j)];
      x.push_back(last * (j % 61 == 7 ? 4 : 1));
    }
    for (size_t i = 0; i < x.size(); ++i) {
      for (size_t j = 0; j < x.size(); ++j) {
        gram[i * x.size() + j] += x[i] * x[j] / (2.0 * static_cast<double>(n));
      }
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    gram[static_cast<size_t>(i * n + i)] += 0.01;
  }
  return gram;
}

const std::vector<double>& SharedGram(int64_t n) {
  static const std::vector<double>* const small =
      new std::vector<double>(GramOf(256));
  static const std::vector<double>* const large =
      new std::vector<double>(GramOf(512));
  return n == 256 ? *small : *large;
}

class DeviceBlocksTest : public testing::TestWithParam<const BlockCodec*> {
 protected:
  const BlockCodec& codec() const { return *GetParam(); }
  int64_t n() const { return ColumnsOf(codec()); }

  size_t NumBytes() const {
    return static_cast<size_t>(kRows * n() / codec().block *
                               Geometry(codec().type).block_bytes);
  }
  std::vector<float> Gram() const {
    const std::vector<double>& gram = SharedGram(n());
    return std::vector<float>(gram.begin(), gram.end());
  }
  // A row of zeros, one beyond half precision, one of few large weights.
  std::vector<float> Targets() const {
    std::vector<float> targets = NormalNumbers<float>(kRows * n(), 3, 0.04f);
    for (int64_t j = 0; j < n(); ++j) {
      targets[static_cast<size_t>(3 * n() + j)] = 0;
      targets[static_cast<size_t>(5 * n() + j)] *= 1e7f;
      targets[static_cast<size_t>(7 * n() + j)] *= j % 19 == 0 ? 9.0f : 0.1f;
    }
    return targets;
  }
  // In the natural order, or backwards.
  FeedFactor Factor(bool backwards) const {
    const size_t size = static_cast<size_t>(n());
    std::vector<int32_t> order;
    for (int64_t i = 0; backwards && i < n(); ++i) {
      const int64_t unit = codec().unit;
      order.push_back(
          static_cast<int32_t>(n() - (i / unit + 1) * unit + i % unit));
    }
    std::vector<double> r = SharedGram(n());
    for (size_t i = 0; backwards && i < size * size; ++i) {
      r[i] = SharedGram(n())[static_cast<size_t>(order[i / size]) * size +
                             static_cast<size_t>(order[i % size])];
    }
    EXPECT_LT(FactorUpper(nullptr, n(), r.data()).failed_at, 0);
    return MakeFeedFactor(nullptr, codec(), n(), r.data(), 1.0, order);
  }
};

void ExpectSame(const std::vector<RowError>& got,
                const std::vector<RowError>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t row = 0; row < got.size(); ++row) {
    EXPECT_EQ(got[row].gram, want[row].gram) << row;
    EXPECT_EQ(got[row].square, want[row].square) << row;
  }
}

TEST_P(DeviceBlocksTest, IsTheProcessor) {
  const std::vector<float> gram = Gram();
  const std::vector<float> targets = Targets();
  const FeedFactor factor = Factor(false);
  const FeedFactor backwards = Factor(true);
  ThreadPool pool(2);
  std::vector<uint8_t> fed(NumBytes());
  FeedOptions feed;
  feed.block_rounds = AtLength(codec()) ? 2 : 1;
  FeedRows(codec(), targets.data(), kRows, factor, feed, fed.data(), &pool);
  std::vector<uint8_t> descended = fed;
  DescendOptions descend;
  descend.rounds = AtLength(codec()) ? 2 : 1;
  DescendRows(codec(), targets.data(), kRows, n(), gram.data(), descend,
              descended.data(), &pool);
  EXPECT_NE(descended, fed);
  std::vector<uint8_t> refed = descended;
  RefeedRows(codec(), targets.data(), kRows, backwards, refed.data(), &pool);
  EXPECT_NE(refed, descended);
  OnEachDevice([&](const TestDevice& on) {
    const auto blocks = DeviceCodecBlocks::New(on.device(), codec(), n(),
                                               gram.data(), &pool, "test");
    ASSERT_TRUE(blocks.ok()) << blocks.status();
    const auto natural = (*blocks)->Upload(factor);
    ASSERT_TRUE(natural.ok()) << natural.status();
    const auto other = (*blocks)->Upload(backwards);
    ASSERT_TRUE(other.ok()) << other.status();
    std::vector<uint8_t> bytes(NumBytes());
    ASSERT_TRUE((*blocks)
                    ->Feed(targets.data(), kRows, **natural, feed, bytes.data())
                    .ok());
    EXPECT_EQ(bytes, fed);
    bytes = fed;
    ASSERT_TRUE(
        (*blocks)->Descend(targets.data(), kRows, descend, bytes.data()).ok());
    EXPECT_EQ(bytes, descended);
    bytes = descended;
    ASSERT_TRUE(
        (*blocks)->Refeed(targets.data(), kRows, **other, bytes.data()).ok());
    EXPECT_EQ(bytes, refed);
    for (const uint8_t* state : {static_cast<const uint8_t*>(bytes.data()),
                                 static_cast<const uint8_t*>(nullptr)}) {
      const auto errors = (*blocks)->Measure(targets.data(), kRows, state);
      ASSERT_TRUE(errors.ok()) << errors.status();
      ExpectSame(*errors, MeasureRows(codec(), targets.data(), kRows, n(),
                                      gram.data(), state, &pool));
    }
    EXPECT_EQ((*blocks)->memory_note(), "");
  });
}

std::vector<const BlockCodec*> Codecs() {
  std::vector<const BlockCodec*> codecs;
  for (const BlockCodec* codec : AllCodecs()) {
    if (SupportsCompensation(*codec)) {
      codecs.push_back(codec);
    }
  }
  return codecs;
}

INSTANTIATE_TEST_SUITE_P(
    AllTypes, DeviceBlocksTest, testing::ValuesIn(Codecs()),
    [](const testing::TestParamInfo<const BlockCodec*>& info) {
      std::string name(TypeName(info.param->type));
      return name;
    });

// Parts of the rows, and none at all.
TEST(DeviceCodecBlocks, MemoryMayBeShort) {
  const BlockCodec& codec = *FindCodec(QuantType::kQ4_0);
  constexpr int64_t kCols = 256;
  const std::vector<double>& wide = SharedGram(kCols);
  const std::vector<float> gram(wide.begin(), wide.end());
  const std::vector<float> targets =
      NormalNumbers<float>(100 * kCols, 8, 0.05f);
  std::vector<double> r = wide;
  ASSERT_LT(FactorUpper(nullptr, kCols, r.data()).failed_at, 0);
  const FeedFactor factor =
      MakeFeedFactor(nullptr, codec, kCols, r.data(), 1.0);
  const size_t n_bytes = static_cast<size_t>(100 * kCols / 32 * 18);
  std::vector<uint8_t> want(n_bytes);
  FeedRows(codec, targets.data(), 100, factor, {}, want.data(), nullptr);
  int n_short = 0;
  int n_none = 0;
  for (const int64_t limit : {300000, 800000, 1 << 24}) {
    const Device device = Device::Cpu(limit);
    std::vector<uint8_t> bytes(n_bytes);
    std::string note;
    const absl::Status status = [&]() -> absl::Status {
      auto blocks = DeviceCodecBlocks::New(device, codec, kCols, gram.data(),
                                           nullptr, "test");
      if (!blocks.ok()) {
        return blocks.status();
      }
      const auto uploaded = (*blocks)->Upload(factor);
      if (!uploaded.ok()) {
        return uploaded.status();
      }
      const absl::Status fed =
          (*blocks)->Feed(targets.data(), 100, **uploaded, {}, bytes.data());
      note = (*blocks)->memory_note();
      return fed;
    }();
    if (status.ok()) {
      EXPECT_EQ(bytes, want) << limit;
      n_short += note.empty() ? 0 : 1;
    } else {
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
      ++n_none;
    }
  }
  EXPECT_GT(n_short, 0);
  EXPECT_GT(n_none, 0);
}

}  // namespace
}  // namespace narrow
