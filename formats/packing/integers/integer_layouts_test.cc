// What is particular to GPTQ's, AWQ's and HQQ's layouts; packing_test.cc has
// what all packings share.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "formats/arch/fake_source.h"
#include "formats/packing/packing.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

// 32 codes of 4 bits; those of b bits are source >> (4 - b).
constexpr uint8_t kSource[32] = {1,  11, 11, 1, 13, 0, 8,  6,  2,  3, 11,
                                 8,  11, 4,  3, 9,  4, 12, 10, 14, 9, 9,
                                 15, 11, 5,  5, 10, 5, 6,  13, 11, 14};

WeightScheme Scheme(int bits, ZeroKind zero, int64_t group) {
  WeightScheme scheme;
  scheme.bits = bits;
  scheme.zero = zero;
  scheme.block_cols = group;
  return scheme;
}

QuantizedMatrix Matrix(const WeightScheme& scheme, int64_t n_rows,
                       int64_t n_cols) {
  QuantizedMatrix m;
  m.scheme = scheme;
  m.Resize(n_rows, n_cols);
  for (float& zero : m.zeros) {
    zero = 1;
  }
  return m;
}

std::vector<uint32_t> Words(const std::vector<uint8_t>& bytes) {
  std::vector<uint32_t> words(bytes.size() / 4);
  std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

std::string ConfigOf(const char* packing, const PackedLayout& layout) {
  const auto config = FindPacking(packing)->config(layout);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : "";
}

PackedModule Module(const std::string& name, const WeightScheme& scheme) {
  PackedModule module;
  module.name = name;
  module.scheme = scheme;
  module.n_rows = 64;
  module.n_cols = 64;
  return module;
}

// gptqmodel 7.7.0 writes these words for symmetric layers.
TEST(Gptq, SymmetricZerosAreThoseOfTheLibrary) {
  struct Golden {
    const char* packing;
    int bits;
    std::vector<uint32_t> words;
  };
  const Golden kGoldens[] = {
      {"gptq", 4, {0x77777777}},
      {"gptq", 8, {0x7f7f7f7f}},
      {"gptq", 2, {0x55555555}},
      {"gptq", 3, {0xdb6db6db, 0xb6db6db6, 0x6db6db6d}},
      {"gptq_v2", 4, {0x88888888}},
      {"gptq_v2", 8, {0x80808080}},
      {"gptq_v2", 2, {0xaaaaaaaa}},
      {"gptq_v2", 3, {0x24924924, 0x49249249, 0x92492492}},
      {"awq", 4, {0x88888888}},
  };
  for (const Golden& golden : kGoldens) {
    const QuantizedMatrix m =
        Matrix(Scheme(golden.bits, ZeroKind::kNone, 32), 32, 32);
    const auto planes = FindPacking(golden.packing)->pack(m, QuantType::kBF16);
    ASSERT_TRUE(planes.ok()) << planes.status();
    std::vector<uint32_t> words = Words((*planes)[1]);
    words.resize(golden.words.size());
    EXPECT_EQ(words, golden.words) << golden.packing << " " << golden.bits;
  }
}

TEST(Awq, InterleavesAsTheLibrary) {
  QuantizedMatrix m = Matrix(Scheme(4, ZeroKind::kNone, 32), 8, 32);
  for (size_t row = 0; row < 8; ++row) {
    m.codes[row * 32] = kSource[row];
  }
  const auto planes = FindPacking("awq")->pack(m, QuantType::kBF16);
  ASSERT_TRUE(planes.ok()) << planes.status();
  EXPECT_EQ(Words((*planes)[0])[0], 0x601b8db1u);
}

// hqq 0.2.8.post1, Quantizer.pack of a column of 32 codes.
TEST(Hqq, PacksAsTheLibrary) {
  struct Golden {
    int bits;
    std::vector<uint8_t> bytes;
  };
  const Golden kGoldens[] = {
      {4,
       {0x14, 0xbc, 0xba, 0x1e, 0xd9, 0x09, 0x8f, 0x6b, 0x25, 0x35, 0xba, 0x85,
        0xb6, 0x4d, 0x3b, 0x9e}},
      {2, {0x05, 0x8d, 0xaa, 0x2d, 0xe9, 0x1b, 0x8e, 0x6b}},
      {1, {0x54, 0x8d, 0xef, 0x3d}},
      {3,
       {0xc0, 0x44, 0x35, 0x06, 0x80, 0x45, 0x2b, 0x28, 0x40, 0xfb, 0xa6, 0x2c,
        0xc0, 0xd5, 0x93, 0x03}},
  };
  for (const Golden& golden : kGoldens) {
    QuantizedMatrix m =
        Matrix(Scheme(golden.bits, ZeroKind::kFloat, 32), 32, 32);
    for (size_t i = 0; i < m.codes.size(); ++i) {
      m.codes[i] = static_cast<uint8_t>(kSource[i / 32] >> (4 - golden.bits));
    }
    const auto planes = FindPacking("hqq")->pack(m, QuantType::kBF16);
    ASSERT_TRUE(planes.ok()) << planes.status();
    // One column of the words.
    const size_t width = golden.bits == 3 ? 4 : 1;
    std::vector<uint8_t> column;
    for (size_t at = 0; at < (*planes)[0].size(); at += 32 * width) {
      column.insert(column.end(), (*planes)[0].begin() + at,
                    (*planes)[0].begin() + at + width);
    }
    EXPECT_EQ(column, golden.bytes) << golden.bits;
  }
}

TEST(Gptq, Version1HasNoZeroOfZero) {
  QuantizedMatrix m = Matrix(Scheme(4, ZeroKind::kInteger, 32), 32, 64);
  m.zeros[2 * 5 + 1] = 0;  // row 5, group 1
  const auto planes = FindPacking("gptq")->pack(m, QuantType::kBF16);
  EXPECT_EQ(planes.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(
      absl::StrContains(planes.status().message(), "row 5, group 1 is 0"))
      << planes.status();
  EXPECT_TRUE(FindPacking("gptq_v2")->pack(m, QuantType::kBF16).ok());
}

// Others write a zero of 0 by subtracting from whole words, and read it by
// adding to whole words: 0x...10 becomes 0x...ff, and back.
TEST(Gptq, ReadsZerosThatBorrowedFromTheirNeighbours) {
  FakeSource source;
  const auto document =
      JsonDocument::Parse(R"({"quant_method": "gptq", "bits": 4,
      "group_size": 32, "sym": false, "checkpoint_format": "gptq"})",
                          "config.json");
  const std::string name = "model.layers.0.mlp.up_proj";
  source.Add(name + ".qweight", QuantType::kI32, {4, 32});
  source.Add(name + ".qzeros", QuantType::kI32, {1, 4});
  source.Add(name + ".scales", QuantType::kF16, {1, 32});
  std::vector<uint32_t> words = {0x33333310 - 0x11111111u, 0x44444444u,
                                 0x55555555u, 0x66666666u};
  std::vector<uint8_t> bytes(16);
  std::memcpy(bytes.data(), words.data(), 16);
  source.FindMutable(name + ".qzeros")->data = bytes;
  const Packing& gptq = *FindPacking("gptq");
  const auto modules = gptq.find((*document)->root(), source);
  ASSERT_TRUE(modules.ok()) << modules.status();
  const auto matrix = gptq.unpack((*modules)[0], 0, 32);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->zeros[0], 0);
  EXPECT_EQ(matrix->zeros[1], 1);
  EXPECT_EQ(matrix->zeros[2], 3);
  EXPECT_EQ(matrix->zeros[8], 5);
}

TEST(Gptq, RefusesGroupsThatAreNotThere) {
  const WeightScheme scheme = Scheme(4, ZeroKind::kNone, 32);
  const Packing& gptq = *FindPacking("gptq");
  auto planes = *gptq.pack(Matrix(scheme, 32, 64), QuantType::kBF16);
  const std::vector<TensorMeta> metas =
      gptq.planes(scheme, "m", 32, 64, QuantType::kBF16);
  for (const int32_t group : {-1, 2, 1 << 30}) {
    std::memcpy(planes[3].data() + 4 * 7, &group, 4);
    FakeSource source;
    for (size_t i = 0; i < metas.size(); ++i) {
      source.Add(metas[i].name, metas[i].type, metas[i].shape).data = planes[i];
    }
    const auto document = JsonDocument::Parse(
        R"({"quant_method": "gptq", "bits": 4, "group_size": 32})",
        "config.json");
    const auto modules = gptq.find((*document)->root(), source);
    EXPECT_EQ(modules.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(absl::StrContains(modules.status().message(), "element 7 is"))
        << modules.status();
  }
}

TEST(Gptq, ConfigTellsLayersApart) {
  PackedLayout layout;
  layout.modules = {
      Module("model.layers.0.mlp.up_proj", Scheme(4, ZeroKind::kNone, 64)),
      Module("model.layers.0.mlp.down_proj", Scheme(8, ZeroKind::kNone, 32)),
      Module("model.layers.1.mlp.up_proj", Scheme(4, ZeroKind::kNone, 64))};
  layout.dense_linears = {"lm_head", "model.layers.1.mlp.down_proj"};
  layout.facts = {{"damp_percent", "0.05"}, {"quantizer", "[\"x\"]"}};
  const std::string config = ConfigOf("gptq", layout);
  for (const char* part :
       {"\"bits\": 4", "\"group_size\": 64", "\"sym\": true",
        "\"desc_act\": false", "\"checkpoint_format\": \"gptq\"",
        "\"format\": \"gptq\"", "\"damp_percent\": 0.05", "\"quantizer\"",
        "\"+:^model\\\\.layers\\\\.0\\\\.mlp\\\\.down_proj$\"",
        "\"-:^model\\\\.layers\\\\.1\\\\.mlp\\\\.down_proj$\"",
        "\"modules_in_block_to_quantize\""}) {
    EXPECT_TRUE(absl::StrContains(config, part)) << part << " in " << config;
  }
  EXPECT_FALSE(absl::StrContains(config, "lm_head$")) << config;
  for (const char* packing : {"awq", "hqq"}) {
    PackedLayout other = layout;
    const ZeroKind zero =
        std::string(packing) == "hqq" ? ZeroKind::kFloat : ZeroKind::kNone;
    for (PackedModule& module : other.modules) {
      module.scheme.zero = zero;
    }
    const auto refused = FindPacking(packing)->config(other);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_TRUE(absl::StrContains(refused.status().message(), "down_proj"))
        << refused.status();
  }
}

TEST(Gptq, NamesVariantsThatAreNotRead) {
  FakeSource source;
  const std::pair<const char*, const char*> kConfigs[] = {
      {R"({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"})",
       "'marlin'"},
      {R"({"quant_method": "awq", "bits": 4, "version": "GEMV"})", "'gemv'"},
      {R"({"quant_method": "awq", "w_bit": 3})", "3 bits"},
  };
  for (const auto& [text, words] : kConfigs) {
    const auto document = JsonDocument::Parse(text, "config.json");
    const auto packing = RecognisePacking((*document)->root());
    ASSERT_TRUE(packing.ok());
    const auto modules = (*packing)->find((*document)->root(), source);
    EXPECT_EQ(modules.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_TRUE(absl::StrContains(modules.status().message(), words))
        << modules.status();
  }
  const auto document =
      JsonDocument::Parse(R"({"quant_method": "aqlm"})", "config.json");
  EXPECT_TRUE(absl::StrContains(
      RecognisePacking((*document)->root()).status().message(), "'aqlm'"));
}

}  // namespace
}  // namespace narrow
