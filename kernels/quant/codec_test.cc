// Every codec of codecs.inc: against ggml's own output, every variant against
// the plain one, and the contracts of fit, round, pack and unpack.

#include "kernels/quant/codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

constexpr Isa kIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512};

// The first kind of importance that the type can be encoded with.
int FirstImportanceKind(const BlockCodec& codec) {
  return codec.requires_importance ? static_cast<int>(ImportanceKind::kVaried)
                                   : 0;
}

// All cases of test_weights.h.
template <typename Body>
void ForEachCase(const BlockCodec& codec, const Body& body) {
  for (int d = 0; d < kNumDistributions; ++d) {
    const int n_kinds = codec.uses_importance ? kNumImportanceKinds : 1;
    for (int k = FirstImportanceKind(codec); k < n_kinds; ++k) {
      const auto distribution = static_cast<Distribution>(d);
      const auto kind = static_cast<ImportanceKind>(k);
      SCOPED_TRACE(std::string(DistributionName(distribution)) +
                   ", importance " + ImportanceName(kind));
      body(distribution, kind);
    }
  }
}

std::string ReadGolden(const std::string& name) {
  std::ifstream in("testdata/quant/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Whether ggml ends the process instead of encoding this case, as goldens'
// aborts.txt has it.
bool GgmlAborts(const BlockCodec& codec, Distribution distribution,
                ImportanceKind kind) {
  std::istringstream lines(ReadGolden("aborts.txt"));
  const std::string wanted = std::string(TypeName(codec.type)) + " " +
                             DistributionName(distribution) + " " +
                             ImportanceName(kind);
  std::string line;
  while (std::getline(lines, line)) {
    if (line == wanted) {
      return true;
    }
  }
  return false;
}

std::vector<uint8_t> ArbitraryBytes(int64_t n) {
  TestGenerator generator(2000);
  std::vector<uint8_t> bytes(n);
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(generator.Next());
  }
  return bytes;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), 4 * a.size()) == 0;
}

class CodecTest : public testing::TestWithParam<const BlockCodec*> {
 protected:
  const BlockCodec& codec() const { return *GetParam(); }
  const TypeGeometry& geometry() const { return Geometry(codec().type); }
  // A type whose every float is kept needs no search and has no goldens.
  bool is_exact() const { return codec().error_budget == 0; }

  std::vector<uint8_t> Encode(EncodeRowsFn encode,
                              const std::vector<float>& weights, int64_t n_rows,
                              const std::vector<float>& importance) const {
    const int64_t n_cols = static_cast<int64_t>(weights.size()) / n_rows;
    // A margin shows writes beyond the end.
    const int64_t n_bytes = static_cast<int64_t>(weights.size()) /
                            codec().block * geometry().block_bytes;
    std::vector<uint8_t> bytes(n_bytes + 64, 0xa5);
    encode(weights.data(), n_rows, n_cols,
           importance.empty() ? nullptr : importance.data(), bytes.data());
    EXPECT_EQ(std::count(bytes.begin() + n_bytes, bytes.end(), 0xa5), 64);
    bytes.resize(n_bytes);
    return bytes;
  }

  std::vector<float> Decode(DecodeFn decode,
                            const std::vector<uint8_t>& bytes) const {
    const int64_t n_blocks =
        static_cast<int64_t>(bytes.size()) / geometry().block_bytes;
    std::vector<float> weights(n_blocks * codec().block + 16, 1234.0f);
    decode(bytes.data(), n_blocks, weights.data());
    EXPECT_EQ(std::count(weights.end() - 16, weights.end(), 1234.0f), 16);
    weights.resize(n_blocks * codec().block);
    return weights;
  }

  // 64 blocks of arbitrary bytes, their halves (of which `half_fields` name
  // the offsets) below 2, as tools/make_quant_goldens.py makes them.
  std::vector<uint8_t> FiniteBlocks() const;

  int sub_block_size() const {
    return codec().block / codec().ranges.n_sub_blocks;
  }
  int sub_block(int i) const { return i / sub_block_size(); }
  // What the interface says a code is worth.
  double Value(const BlockFields& fields, int i, int code) const {
    const int g = sub_block(i);
    return static_cast<double>(fields.d) * codec().ranges.code_unit *
               codec().ranges.Scale(fields.scales[g]) * code -
           static_cast<double>(fields.dmin) * fields.mins[g];
  }
  // Whether some bytes stand for the same fields and codes as others: five
  // trits leave 13 bytes over, and four-bit floats have a zero of each sign.
  bool has_synonyms() const {
    return codec().type == QuantType::kTQ1_0 ||
           codec().type == QuantType::kMXFP4 ||
           codec().type == QuantType::kNVFP4;
  }
  // Importance 1 for types that require some.
  std::vector<float> Uniform(int64_t n_cols) const {
    return std::vector<float>(codec().requires_importance ? n_cols : 0, 1.0f);
  }
  std::vector<std::vector<int8_t>> Candidates(const BlockFields& fields,
                                              int first) const;
};

std::vector<uint8_t> CodecTest::FiniteBlocks() const {
  const int64_t block_bytes = geometry().block_bytes;
  std::vector<uint8_t> bytes = ArbitraryBytes(64 * block_bytes);
  const std::vector<uint8_t> all_ones(block_bytes, 0xff);
  for (int64_t b = 0; b < 64; ++b) {
    uint8_t* block = &bytes[b * block_bytes];
    // A half lies where an exponent of ones makes the block bad, whatever the
    // other bytes are, or where a zero saves a block of ones: the half of
    // IQ1_M is in parts.
    for (int64_t i = 0; i + 1 < block_bytes; i += 2) {
      std::vector<uint8_t> zeros(block_bytes, 0);
      zeros[i + 1] = 0x7c;
      std::vector<uint8_t> ones = all_ones;
      ones[i + 1] = 0xbf;
      if (!codec().block_is_finite(zeros.data()) ||
          (!codec().block_is_finite(all_ones.data()) &&
           codec().block_is_finite(ones.data()))) {
        block[i + 1] &= 0xbf;
      }
    }
  }
  return bytes;
}

TEST_P(CodecTest, GeometryIsTheTypes) {
  EXPECT_EQ(codec().block, geometry().block_weights);
  EXPECT_LE(codec().block, kMaxBlockWeights);
  EXPECT_LE(codec().ranges.n_sub_blocks, kMaxSubBlocks);
  EXPECT_EQ(FindCodec(codec().type), &codec());
}

TEST_P(CodecTest, EncodesAsGgml) {
  if (is_exact()) {
    GTEST_SKIP() << "see ExactTypesKeepEveryFloat";
  }
  const std::string golden = ReadGolden(std::string(geometry().name) + ".bin");
  size_t at = 0;
  ForEachCase(codec(), [&](Distribution distribution, ImportanceKind kind) {
    if (GgmlAborts(codec(), distribution, kind)) {
      return;  // any bytes will do: see VariantsEncodeAsTheReference
    }
    const auto bytes =
        Encode(codec().encode_reference, TestWeights(distribution, 3, 512), 3,
               TestImportance(kind, 512));
    ASSERT_LE(at + bytes.size(), golden.size());
    EXPECT_EQ(std::memcmp(bytes.data(), golden.data() + at, bytes.size()), 0);
    at += bytes.size();
  });
  EXPECT_EQ(at, golden.size());
}

TEST_P(CodecTest, DecodesAsGgml) {
  if (is_exact()) {
    GTEST_SKIP() << "see ExactTypesKeepEveryFloat";
  }
  // The halves' places are the golden maker's; bfloat16 has none.
  const std::vector<float> weights = Decode(
      codec().decode_reference,
      codec().type == QuantType::kBF16 ? ArbitraryBytes(128) : FiniteBlocks());
  uint64_t hash = 0xcbf29ce484222325;
  for (const float weight : weights) {
    uint8_t bytes[4];
    std::memcpy(bytes, &weight, 4);
    for (const uint8_t byte : bytes) {
      hash = (hash ^ byte) * 0x100000001b3;
    }
  }
  std::istringstream lines(ReadGolden("decoded.txt"));
  std::string word;
  std::string golden;
  while (lines >> word) {
    if (word == geometry().name) {
      lines >> golden;
    }
  }
  std::ostringstream text;
  text << std::hex;
  text.width(16);
  text.fill('0');
  text << hash;
  EXPECT_EQ(text.str(), golden);
}

TEST_P(CodecTest, ExactTypesKeepEveryFloat) {
  if (!is_exact()) {
    GTEST_SKIP() << "not exact";
  }
  ForEachCase(codec(), [&](Distribution distribution, ImportanceKind) {
    const auto weights = TestWeights(distribution, 3, 512);
    const auto bytes = Encode(codec().encode_reference, weights, 3, {});
    EXPECT_TRUE(SameBits(Decode(codec().decode_reference, bytes), weights));
  });
}

TEST_P(CodecTest, VariantsEncodeAsTheReference) {
  const std::vector<int64_t> n_cols_of =
      codec().block == 1
          ? std::vector<int64_t>{1, 3, 15, 16, 33, 160}
          : std::vector<int64_t>{codec().block, 3 * codec().block};
  ForEachCase(codec(), [&](Distribution distribution, ImportanceKind kind) {
    for (const int64_t n_rows : {1, 3, 8, 17}) {
      for (const int64_t n_cols : n_cols_of) {
        const auto weights = TestWeights(distribution, n_rows, n_cols);
        const auto importance = TestImportance(kind, n_cols);
        const auto expected =
            Encode(codec().encode_reference, weights, n_rows, importance);
        for (const Isa isa : kIsas) {
          if (isa <= CpuIsa()) {
            EXPECT_EQ(
                Encode(codec().encode_for(isa), weights, n_rows, importance),
                expected)
                << IsaName(isa) << ", " << n_rows << " x " << n_cols;
          }
        }
      }
    }
  });
}

TEST_P(CodecTest, VariantsDecodeAsTheReference) {
  // Infinities and NaN among them.
  const auto all = ArbitraryBytes(131 * geometry().block_bytes);
  for (const int64_t n_blocks : {1, 7, 16, 33, 131}) {
    const std::vector<uint8_t> bytes(
        all.begin(), all.begin() + n_blocks * geometry().block_bytes);
    const auto expected = Decode(codec().decode_reference, bytes);
    for (const Isa isa : kIsas) {
      if (isa > CpuIsa()) {
        continue;
      }
      const auto weights = Decode(codec().decode_for(isa), bytes);
      for (size_t i = 0; i < weights.size(); ++i) {
        // Which NaN comes of two is left to the compiler.
        const bool both_nan = std::isnan(weights[i]) && std::isnan(expected[i]);
        ASSERT_TRUE(both_nan || std::memcmp(&weights[i], &expected[i], 4) == 0)
            << IsaName(isa) << ", weight " << i << " of " << n_blocks
            << " blocks: " << weights[i] << ", not " << expected[i];
      }
    }
  }
}

TEST_P(CodecTest, FiniteBlocksAreThoseThatDecodeToFiniteWeights) {
  std::vector<uint8_t> bytes = ArbitraryBytes(2048 * geometry().block_bytes);
  int64_t first_bad = -1;
  for (int64_t b = 0; b < 2048; ++b) {
    const uint8_t* block = &bytes[b * geometry().block_bytes];
    float weights[kMaxBlockWeights];
    codec().decode_reference(block, 1, weights);
    const bool finite =
        std::all_of(weights, weights + codec().block,
                    [](float weight) { return std::isfinite(weight); });
    // MXFP4's scales are finite numbers, but for one, even where the weights
    // are too large for a float.
    const bool sound =
        codec().type == QuantType::kMXFP4 ? block[0] != 255 : finite;
    EXPECT_EQ(codec().block_is_finite(block), sound) << "block " << b;
    if (!sound && first_bad < 0) {
      first_bad = b;
    }
  }
  EXPECT_EQ(codec().FirstBadBlock(bytes.data(), 2048), first_bad);
}

TEST_P(CodecTest, PackUndoesUnpack) {
  if (geometry().block_bytes > 4 * codec().block) {
    GTEST_SKIP() << "holds more than a float does";
  }
  const auto bytes = FiniteBlocks();
  for (int64_t b = 0; b < 64; ++b) {
    const uint8_t* block = &bytes[b * geometry().block_bytes];
    if (!codec().block_is_finite(block)) {
      continue;
    }
    BlockFields fields;
    int8_t codes[kMaxBlockWeights];
    codec().unpack(block, &fields, codes);
    std::vector<uint8_t> packed(geometry().block_bytes, 0xa5);
    codec().pack(fields, codes, packed.data());
    float weights[kMaxBlockWeights];
    codec().decode_reference(block, 1, weights);
    if (has_synonyms()) {
      float packed_weights[kMaxBlockWeights];
      codec().decode_reference(packed.data(), 1, packed_weights);
      EXPECT_EQ(std::memcmp(packed_weights, weights, 4 * codec().block), 0);
    } else {
      EXPECT_EQ(std::memcmp(packed.data(), block, packed.size()), 0) << b;
    }
    for (int i = 0; i < codec().block; ++i) {
      if (std::isinf(weights[i])) {
        // MXFP4's scales reach beyond the floats.
        EXPECT_GE(std::fabs(Value(fields, i, codes[i])), 0x1p128);
        continue;
      }
      EXPECT_GE(codes[i], codec().ranges.code_low);
      EXPECT_LE(codes[i], codec().ranges.code_high);
      // Three roundings, each of at most 2^-24 of the larger term.
      const int g = sub_block(i);
      const double size =
          std::fabs(static_cast<double>(fields.d) * codec().ranges.code_unit *
                    codec().ranges.Scale(fields.scales[g]) * codes[i]) +
          std::fabs(static_cast<double>(fields.dmin) * fields.mins[g]);
      EXPECT_NEAR(weights[i], Value(fields, i, codes[i]), size * 0x1p-22);
    }
  }
}

// Calls body(block of weights, fields of fit), for finite weights.
template <typename Body>
void ForEachFit(const BlockCodec& codec, const Body& body) {
  for (int d = 0; d < kNumDistributions; ++d) {
    if (static_cast<Distribution>(d) == Distribution::kNotFinite) {
      continue;
    }
    for (int k = 0; k < kNumImportanceKinds; ++k) {
      // (A fit needs no importance, whatever the type.)
      const auto weights =
          TestWeights(static_cast<Distribution>(d), 6, codec.block);
      const auto importance =
          TestImportance(static_cast<ImportanceKind>(k), codec.block);
      SCOPED_TRACE(std::string(DistributionName(static_cast<Distribution>(d))) +
                   ", importance " +
                   ImportanceName(static_cast<ImportanceKind>(k)));
      for (int row = 0; row < 6; ++row) {
        const float* block = &weights[row * codec.block];
        BlockFields fields;
        codec.fit(block, importance.empty() ? nullptr : importance.data(),
                  &fields);
        body(block, fields);
      }
    }
  }
}

TEST_P(CodecTest, FitIsLegal) {
  const FieldRanges& ranges = codec().ranges;
  ForEachFit(codec(), [&](const float*, const BlockFields& fields) {
    EXPECT_TRUE(std::isfinite(fields.d));
    EXPECT_TRUE(std::isfinite(fields.dmin));
    EXPECT_TRUE(ranges.has_dmin || fields.dmin == 0);
    for (int g = 0; g < ranges.n_sub_blocks; ++g) {
      EXPECT_GE(fields.scales[g], ranges.scale_low);
      EXPECT_LE(fields.scales[g], ranges.scale_high);
      EXPECT_GE(fields.mins[g], ranges.min_low);
      EXPECT_LE(fields.mins[g], ranges.min_high);
    }
    // And the file holds just these, with any codes that exist under them.
    int8_t codes[kMaxBlockWeights];
    const auto targets = TestWeights(Distribution::kNormal, 1, codec().block);
    for (int i = 0; i < codec().block; i += codec().unit) {
      float values[kMaxUnit];
      codec().round(fields, i, &targets[i], nullptr, codes + i, values);
    }
    std::vector<uint8_t> bytes(geometry().block_bytes);
    codec().pack(fields, codes, bytes.data());
    BlockFields stored;
    int8_t stored_codes[kMaxBlockWeights];
    codec().unpack(bytes.data(), &stored, stored_codes);
    EXPECT_EQ(stored.d, fields.d);
    EXPECT_EQ(stored.dmin, fields.dmin);
    for (int g = 0; g < ranges.n_sub_blocks; ++g) {
      EXPECT_EQ(stored.scales[g], fields.scales[g]) << g;
      EXPECT_EQ(stored.mins[g], fields.mins[g]) << g;
    }
    EXPECT_EQ(std::memcmp(codes, stored_codes, codec().block), 0);
  });
}

// Codes to which a unit at `first` may be rounded under `fields`: for single
// weights all there are, for units those of other blocks.
std::vector<std::vector<int8_t>> CodecTest::Candidates(
    const BlockFields& fields, int first) const {
  const FieldRanges& ranges = codec().ranges;
  std::vector<std::vector<int8_t>> candidates;
  if (codec().unit == 1) {
    for (int c = ranges.code_low; c <= ranges.code_high; ++c) {
      if (ranges.code_table.empty() ||
          std::find(ranges.code_table.begin(), ranges.code_table.end(), c) !=
              ranges.code_table.end()) {
        candidates.push_back({static_cast<int8_t>(c)});
      }
    }
    return candidates;
  }
  const auto bytes = FiniteBlocks();
  for (int b = 0; b < 64; ++b) {
    BlockFields other;
    int8_t codes[kMaxBlockWeights];
    codec().unpack(&bytes[b * geometry().block_bytes], &other, codes);
    for (int i = 0; i < codec().block; i += codec().unit) {
      // At the same place in the sub-block: IQ1_M's shifts differ there.
      if (other.mins[sub_block(i)] == fields.mins[sub_block(first)] &&
          (first - i) % sub_block_size() == 0) {
        candidates.emplace_back(codes + i, codes + i + codec().unit);
      }
    }
  }
  return candidates;
}

TEST_P(CodecTest, RoundIsNearest) {
  const FieldRanges& ranges = codec().ranges;
  const int unit = codec().unit;
  ForEachFit(codec(), [&](const float* weights, const BlockFields& fields) {
    for (int i = 0; i < codec().block; i += unit) {
      int8_t codes[kMaxUnit];
      float values[kMaxUnit];
      float metric[kMaxUnit];
      for (int j = 0; j < unit; ++j) {
        metric[j] = static_cast<float>(1 + (i + 3 * j) % 5);
      }
      codec().round(fields, i, weights + i, unit == 1 ? nullptr : metric, codes,
                    values);
      const auto miss = [&](const int8_t* of) {
        double sum = 0;
        for (int j = 0; j < unit; ++j) {
          const double diff = Value(fields, i + j, of[j]) - weights[i + j];
          sum += (unit == 1 ? 1.0 : metric[j]) * diff * diff;
        }
        return std::sqrt(sum);
      };
      double least = INFINITY;
      for (const auto& candidate : Candidates(fields, i)) {
        least = std::min(least, miss(candidate.data()));
      }
      // A target near the middle of two codes may go to either: the
      // quotient and the value are rounded a few times, each by 2^-24 of
      // the target or of the terms of the value.
      double size = 0;
      for (int j = 0; j < unit; ++j) {
        ASSERT_GE(codes[j], ranges.code_low);
        ASSERT_LE(codes[j], ranges.code_high);
        size += std::fabs(weights[i + j]) +
                std::fabs(Value(fields, i + j, ranges.code_high)) +
                std::fabs(static_cast<double>(fields.dmin) *
                          fields.mins[sub_block(i)]);
      }
      ASSERT_LE(miss(codes), least + size * 0x1p-20)
          << "target " << weights[i] << ", code " << int{codes[0]};
    }
  });
}

TEST_P(CodecTest, DecodeGivesTheValuesOfRound) {
  ForEachFit(codec(), [&](const float* weights, const BlockFields& fields) {
    int8_t codes[kMaxBlockWeights];
    std::vector<float> values(codec().block);
    for (int i = 0; i < codec().block; i += codec().unit) {
      codec().round(fields, i, weights + i, nullptr, codes + i, &values[i]);
    }
    std::vector<uint8_t> bytes(geometry().block_bytes);
    codec().pack(fields, codes, bytes.data());
    const auto decoded = Decode(codec().decode_reference, bytes);
    EXPECT_EQ(decoded, values);
  });
}

double RelativeError(const std::vector<float>& weights,
                     const std::vector<float>& decoded) {
  double error = 0;
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double miss = static_cast<double>(decoded[i]) - weights[i];
    error += miss * miss;
    sum += static_cast<double>(weights[i]) * weights[i];
  }
  return std::sqrt(error / sum);
}

TEST_P(CodecTest, ErrorOfNormalWeightsIsWithinItsBudget) {
  const auto weights = TestWeights(Distribution::kNormal, 64, 512);
  const auto bytes =
      Encode(codec().encode_reference, weights, 64, Uniform(512));
  const double error =
      RelativeError(weights, Decode(codec().decode_reference, bytes));
  EXPECT_LE(error, codec().error_budget);
  // A budget far above the error would show nothing.
  EXPECT_GE(error, 0.7 * codec().error_budget);
}

TEST_P(CodecTest, KeepsWeightsThatLieOnItsGrid) {
  const FieldRanges& ranges = codec().ranges;
  if (codec().unit > 1 || !ranges.code_table.empty()) {
    GTEST_SKIP() << "no grid of equal steps";
  }
  // Q8_0 alone maps the largest magnitude to 127, not to its lowest code, and
  // the types of two bits that have the codes -1 … 2 map it to -1 or 1.
  const int low = std::max<int>(ranges.code_low, -127);
  const int high = low == -1 ? 1 : ranges.code_high;
  const int n_codes = high - low + 1;
  std::vector<float> weights(4 * 256);
  for (size_t i = 0; i < weights.size(); ++i) {
    const int step = i % 16 == 0   ? 0
                     : i % 16 == 1 ? n_codes - 1
                                   : static_cast<int>(i * 5) % n_codes;
    const float offset = ranges.has_dmin ? 0.25f : 0.0f;
    weights[i] = static_cast<float>(low + step) * 0x1p-6f - offset;
  }
  for (const ImportanceKind kind :
       {ImportanceKind::kNone, ImportanceKind::kVaried}) {
    const auto bytes =
        Encode(codec().encode_reference, weights, 4, TestImportance(kind, 256));
    // Half-precision fields are off by at most 2^-11, and in affine types
    // the scale's share is up to twice the weight's size.
    EXPECT_LE(RelativeError(weights, Decode(codec().decode_reference, bytes)),
              0x1p-8)
        << ImportanceName(kind);
  }
}

TEST_P(CodecTest, KeepsFlatRows) {
  for (const float level : {0.0f, 0.75f, -0.75f, 0x1p-3f}) {
    const std::vector<float> weights(512, level);
    const auto bytes =
        Encode(codec().encode_reference, weights, 2, Uniform(256));
    const std::vector<float> decoded = Decode(codec().decode_reference, bytes);
    if (codec().unit > 1 && level != 0) {
      // Not every unit can have eight equal magnitudes, and the search may
      // miss the best scale.
      EXPECT_LE(RelativeError(weights, decoded), 1.5f * codec().error_budget)
          << level;
      continue;
    }
    const float share = codec().ranges.code_table.empty()
                            ? 0x1p-8f
                            : 1.5f * codec().error_budget;
    for (const float weight : decoded) {
      ASSERT_NEAR(weight, level, std::fabs(level) * share) << level;
    }
  }
}

std::string CodecName(const testing::TestParamInfo<const BlockCodec*>& info) {
  return TypeName(info.param->type);
}

INSTANTIATE_TEST_SUITE_P(AllCodecs, CodecTest,
                         testing::ValuesIn(AllCodecs().begin(),
                                           AllCodecs().end()),
                         CodecName);

}  // namespace
}  // namespace narrow
