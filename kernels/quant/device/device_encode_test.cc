// Encoding through a device against the codecs: the CPU's device, for what
// the host does, and a card where there is one.

#include "kernels/quant/device/device_encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "formats/base/float16.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

std::vector<uint8_t> OnTheProcessor(const BlockCodec& codec,
                                    const std::vector<float>& weights,
                                    int64_t n_cols,
                                    const std::vector<float>& importance) {
  const auto n = static_cast<int64_t>(weights.size());
  std::vector<uint8_t> bytes(n / codec.block *
                             Geometry(codec.type).block_bytes);
  codec.EncodeRows(weights.data(), n / n_cols, n_cols,
                   importance.empty() ? nullptr : importance.data(),
                   bytes.data());
  return bytes;
}

absl::StatusOr<std::vector<uint8_t>> OnDevice(
    DeviceEncoder* encoder, const BlockCodec& codec,
    const std::vector<float>& weights, int64_t n_cols,
    const std::vector<float>& importance) {
  const auto n = static_cast<int64_t>(weights.size());
  std::vector<uint8_t> bytes(n / codec.block * Geometry(codec.type).block_bytes,
                             0xee);
  const absl::Status status = encoder->EncodeRows(
      codec, {weights.data(), false}, n / n_cols, n_cols,
      importance.empty() ? nullptr : importance.data(), bytes.data(), "w");
  if (!status.ok()) {
    return status;
  }
  return bytes;
}

// All types, weights and importances on `device`, `n_rows` of `n_cols`.
void ExpectTheCodecsBytes(const Device& device, int64_t n_rows,
                          int64_t n_cols) {
  DeviceEncoderOptions options;
  options.batch_bytes = 5 * n_cols * 4;  // several batches, the last short
  auto encoder = DeviceEncoder::Create(device, options);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  for (const BlockCodec* codec : AllCodecs()) {
    if (!(*encoder)->Supports(codec->type)) {
      continue;
    }
    for (int d = 0; d < kNumDistributions; ++d) {
      const int n_kinds = codec->uses_importance ? kNumImportanceKinds : 1;
      for (int k = codec->requires_importance ? 1 : 0; k < n_kinds; ++k) {
        const auto distribution = static_cast<Distribution>(d);
        const auto kind = static_cast<ImportanceKind>(k);
        const std::vector<float> weights =
            TestWeights(distribution, n_rows, n_cols);
        const std::vector<float> importance = TestImportance(kind, n_cols);
        const auto bytes =
            OnDevice(encoder->get(), *codec, weights, n_cols, importance);
        ASSERT_TRUE(bytes.ok()) << bytes.status();
        EXPECT_TRUE(*bytes ==
                    OnTheProcessor(*codec, weights, n_cols, importance))
            << TypeName(codec->type) << ", " << DistributionName(distribution)
            << ", importance " << ImportanceName(kind);
      }
    }
  }
}

TEST(DeviceEncodeTest, GivesTheCodecsBytesInBatches) {
  ExpectTheCodecsBytes(Device::Cpu(), 12, 512);
}

TEST(DeviceEncodeTest, GivesTheCodecsBytesOnACard) {
  const absl::StatusOr<Device> card = OpenDevice(DeviceChoice::kCuda);
  if (!card.ok()) {
    GTEST_SKIP() << card.status();
  }
  ExpectTheCodecsBytes(*card, 96, 2048);
}

TEST(DeviceEncodeTest, DecodesOnACard) {
  const absl::StatusOr<Device> card = OpenDevice(DeviceChoice::kCuda);
  if (!card.ok()) {
    GTEST_SKIP() << card.status();
  }
  auto stream = card->NewStream();
  ASSERT_TRUE(stream.ok());
  for (const BlockCodec* codec : AllCodecs()) {
    if (codec->error_budget == 0) {
      continue;  // copies
    }
    const std::vector<float> importance(codec->requires_importance ? 1024 : 0,
                                        1.0f);
    const std::vector<uint8_t> bytes =
        OnTheProcessor(*codec, TestWeights(Distribution::kOutliers, 64, 1024),
                       1024, importance);
    const int64_t n_blocks = 64 * 1024 / codec->block;
    auto tables = DeviceTables::Copy(*card, codec->type, &*stream);
    auto d_bytes = card->Allocate(bytes.size(), "blocks");
    auto d_weights = card->Allocate(4 * 64 * 1024, "weights");
    ASSERT_TRUE(tables.ok() && d_bytes.ok() && d_weights.ok());
    ASSERT_TRUE(stream->Copy(bytes.data(), bytes.size(), d_bytes->data()).ok());
    team::DecodeTask task;
    task.bytes = d_bytes->as<uint8_t>();
    task.n_blocks = n_blocks;
    task.tables = tables->tables();
    task.floats = d_weights->as<float>();
    ASSERT_TRUE(RunDecode(codec->type, task, &*stream).ok());
    std::vector<float> weights(64 * 1024);
    ASSERT_TRUE(
        stream->Copy(d_weights->data(), 4 * weights.size(), weights.data())
            .ok());
    ASSERT_TRUE(stream->Synchronize("decode").ok());
    std::vector<float> wanted(weights.size());
    codec->Decode(bytes.data(), n_blocks, wanted.data());
    EXPECT_TRUE(weights == wanted) << TypeName(codec->type);
  }
}

// Every kernel once or twice: what compute-sanitizer has time for.
TEST(DeviceEncodeTest, SanitizedRunGivesTheCodecsBytes) {
  const absl::StatusOr<Device> card = OpenDevice(DeviceChoice::kCuda);
  if (!card.ok()) {
    GTEST_SKIP() << card.status();
  }
  auto encoder = DeviceEncoder::Create(*card, {});
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  for (const BlockCodec* codec : AllCodecs()) {
    for (int k = codec->requires_importance ? 1 : 0;
         k < (codec->uses_importance ? 2 : 1) &&
         (*encoder)->Supports(codec->type);
         ++k) {
      const std::vector<float> weights =
          TestWeights(Distribution::kOutliers, 3, 768);
      const std::vector<float> importance =
          TestImportance(static_cast<ImportanceKind>(k), 768);
      const auto bytes =
          OnDevice(encoder->get(), *codec, weights, 768, importance);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      EXPECT_TRUE(*bytes == OnTheProcessor(*codec, weights, 768, importance))
          << TypeName(codec->type);
    }
  }
}

TEST(DeviceEncodeTest, TakesBf16Weights) {
  std::vector<Device> devices = {Device::Cpu()};
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*card);
  }
  const BlockCodec& codec = *FindCodec(QuantType::kQ4_K);
  std::vector<float> weights = TestWeights(Distribution::kBf16, 9, 768);
  weights[768 + 3] = HUGE_VALF;  // one for the host
  std::vector<uint16_t> halves;
  for (const float weight : weights) {
    halves.push_back(Bf16FromFloat(weight));
  }
  for (const Device& device : devices) {
    auto encoder = DeviceEncoder::Create(device, {});
    ASSERT_TRUE(encoder.ok());
    std::vector<uint8_t> bytes(9 * 3 * 144);
    ASSERT_TRUE((*encoder)
                    ->EncodeRows(codec, {halves.data(), true}, 9, 768, nullptr,
                                 bytes.data(), "w")
                    .ok());
    EXPECT_TRUE(bytes == OnTheProcessor(codec, weights, 768, {}));
    EXPECT_EQ((*encoder)->n_host_rows(), 1);
  }
}

TEST(DeviceEncodeTest, LittleMemoryMakesSmallerBatches) {
  const BlockCodec& codec = *FindCodec(QuantType::kQ6_K);
  const std::vector<float> weights =
      TestWeights(Distribution::kNormal, 40, 256);
  std::vector<int64_t> sizes;
  DeviceEncoderOptions options;
  options.on_smaller_batch = [&](int64_t n_rows, absl::string_view why) {
    sizes.push_back(n_rows);
    EXPECT_THAT(std::string(why), testing::HasSubstr("'w'"));
  };
  // Two slots of ten rows, some 25 kB.
  auto encoder = DeviceEncoder::Create(Device::Cpu(30000), options);
  ASSERT_TRUE(encoder.ok());
  const auto bytes = OnDevice(encoder->get(), codec, weights, 256, {});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(sizes, (std::vector<int64_t>{20, 10}));
  EXPECT_TRUE(*bytes == OnTheProcessor(codec, weights, 256, {}));
}

TEST(DeviceEncodeTest, TooLittleForARowIsAnError) {
  auto encoder = DeviceEncoder::Create(Device::Cpu(1000), {});
  ASSERT_TRUE(encoder.ok());
  const std::vector<float> weights = TestWeights(Distribution::kNormal, 4, 256);
  const absl::Status status =
      OnDevice(encoder->get(), *FindCodec(QuantType::kQ6_K), weights, 256, {})
          .status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

}  // namespace
}  // namespace narrow
