// Bits of published files, what older versions wrote, configurations, and
// what is wrong with damaged ones. What holds for every packing is in
// formats/packing/packing_test.cc, what the library itself packs in
// client_goldens_test.cc.

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/packing/memory_source.h"
#include "formats/packing/packing.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

constexpr char kLayer[] = "model.layers.0.mlp.up_proj";
const Packing& packing = kCompressedTensorsPacking;

WeightScheme Integers(int bits, int64_t group,
                      ZeroKind zero = ZeroKind::kNone) {
  WeightScheme scheme;
  scheme.bits = bits;
  scheme.block_cols = group;
  scheme.zero = zero;
  scheme.scale_type = QuantType::kF32;
  return scheme;
}

// Codes (5j + 3) mod 2^bits along the matrix.
QuantizedMatrix Series(const WeightScheme& scheme, int64_t n_rows,
                       int64_t n_cols) {
  QuantizedMatrix matrix;
  matrix.scheme = scheme;
  matrix.Resize(n_rows, n_cols);
  for (size_t j = 0; j < matrix.codes.size(); ++j) {
    matrix.codes[j] = static_cast<uint8_t>(
        (5 * j + 3) % static_cast<size_t>(scheme.n_codes()));
  }
  for (size_t i = 0; i < matrix.scales.size(); ++i) {
    matrix.scales[i] = 0.25f * static_cast<float>(1 + i % 7);
  }
  for (size_t i = 0; i < matrix.zeros.size(); ++i) {
    matrix.zeros[i] =
        static_cast<float>(i % static_cast<size_t>(scheme.n_codes()));
  }
  return matrix;
}

// Words in hexadecimal as one reads them, not as they lie in memory.
std::string Words(const std::vector<uint8_t>& bytes) {
  std::string text;
  for (size_t i = 0; i + 4 <= bytes.size(); i += 4) {
    uint32_t word;
    std::memcpy(&word, bytes.data() + i, 4);
    absl::StrAppend(&text, i > 0 ? " " : "", absl::Hex(word, absl::kZeroPad8));
  }
  return text;
}

std::vector<std::vector<uint8_t>> Packed(const QuantizedMatrix& matrix) {
  auto planes = packing.pack(matrix, QuantType::kBF16);
  EXPECT_TRUE(planes.ok()) << planes.status();
  return planes.ok() ? *std::move(planes) : std::vector<std::vector<uint8_t>>();
}

TEST(PackQuantized, HasTheBitsOfTheLibrary) {
  // compressed-tensors 0.20.0, pack_to_int32 of code - 2^(bits - 1).
  const std::pair<int, const char*> goldens[] = {
      {2, "93939393 93939393"},
      {3, "43c67543 7543c675 c67543c6"},
      {4, "61c72d83 e94fa50b 61c72d83 e94fa50b"},
      {5, "79793503 fd560b30 77137249 1bb45871 f668f514"},
      {6, "1748d203 5c2b9a17 38913feb 2789d613 503bdb1b 79950f28"},
      {7, "72434403 2b4c84e1 23f74d58 6c539d26 c7667c57 41407bed 3c64a0f1"},
      {8,
       "120d0803 26211c17 3a35302b 4e49443f 625d5853 76716c67 8a85807b "
       "9e99948f"}};
  for (const auto& [bits, words] : goldens) {
    const auto planes = Packed(Series(Integers(bits, 0), 1, 32));
    EXPECT_EQ(Words(planes[0]), words) << bits;
  }
  // The last word of a short row is filled with zeros.
  EXPECT_EQ(Words(Packed(Series(Integers(3, 0), 1, 10))[0]), "03c67543");
}

TEST(PackQuantized, SaysItsShape) {
  const auto planes = Packed(Series(Integers(4, 16), 3, 48));
  EXPECT_EQ(Words(planes[2]), "00000003 00000000 00000030 00000000");
}

TEST(Nvfp4, HasTheBytesOfTheLibrary) {
  // .5 -1 1.5 6 -6 0 3 -.5 2 4 -4 -2 -3 -1.5 1 0, compressed-tensors 0.20.0.
  const uint8_t codes[] = {1, 10, 3,  7,  15, 0,  5, 9,
                           4, 6,  14, 12, 13, 11, 2, 0};
  QuantizedMatrix matrix;
  matrix.scheme.code = CodeKind::kE2M1;
  matrix.scheme.block_cols = 16;
  matrix.scheme.scale_type = QuantType::kF8E4M3;
  matrix.scheme.global_scale = true;
  matrix.Resize(1, 16);
  matrix.codes.assign(std::begin(codes), std::end(codes));
  const auto planes = Packed(matrix);
  EXPECT_EQ(
      absl::BytesToHexString(std::string(planes[0].begin(), planes[0].end())),
      "a173"
      "0f95"
      "64ce"
      "bd02");
}

// A packed layer and its configuration.
struct Model {
  MemorySource source;
  std::string config;
};

void Fill(const QuantizedMatrix& matrix, Model* model) {
  PackedLayout layout;
  layout.modules.resize(1);
  layout.modules[0].name = kLayer;
  layout.modules[0].scheme = matrix.scheme;
  model->source.Add(packing.planes(matrix.scheme, kLayer, matrix.n_rows,
                                   matrix.n_cols, QuantType::kBF16),
                    Packed(matrix));
  model->config = packing.config(layout).value();
}

absl::StatusOr<QuantizedMatrix> Read(const Model& model) {
  const auto document = JsonDocument::Parse(model.config, "config.json");
  if (!document.ok()) {
    return document.status();
  }
  const auto modules = packing.find((*document)->root(), model.source);
  if (!modules.ok()) {
    return modules.status();
  }
  if (modules->size() != 1) {
    return absl::InternalError(absl::StrCat(modules->size(), " modules"));
  }
  return packing.unpack((*modules)[0], 0, (*modules)[0].n_rows);
}

void ExpectError(const Model& model, absl::StatusCode code,
                 std::vector<std::string> words) {
  const auto matrix = Read(model);
  EXPECT_EQ(matrix.status().code(), code) << matrix.status();
  for (const std::string& word : words) {
    EXPECT_TRUE(absl::StrContains(matrix.status().message(), word))
        << word << " is not in: " << matrix.status();
  }
}

std::string Plane(absl::string_view suffix) {
  return absl::StrCat(kLayer, suffix);
}

// floor(32 / bits) codes a word.
std::vector<uint8_t> Loose(const uint8_t* codes, int64_t stride, int64_t n,
                           int bits) {
  const int64_t per_word = 32 / bits;
  std::vector<uint8_t> bytes;
  for (int64_t i = 0; i < n; i += per_word) {
    uint32_t word = 0;
    for (int64_t j = i; j < std::min(n, i + per_word); ++j) {
      word |= static_cast<uint32_t>(codes[j * stride]) << (bits * (j - i));
    }
    for (int k = 0; k < 4; ++k) {
      bytes.push_back(static_cast<uint8_t>(word >> (8 * k)));
    }
  }
  return bytes;
}

TEST(OldFiles, CodesThatCrossNoWord) {
  for (const int bits : {3, 5, 6, 7}) {
    SCOPED_TRACE(bits);
    const int64_t n_rows = 37;
    const int64_t n_cols = 64;
    const QuantizedMatrix matrix =
        Series(Integers(bits, 32, ZeroKind::kInteger), n_rows, n_cols);
    Model model;
    Fill(matrix, &model);
    std::vector<uint8_t> words;
    for (int64_t row = 0; row < n_rows; ++row) {
      const auto of_row =
          Loose(matrix.codes.data() + row * n_cols, 1, n_cols, bits);
      words.insert(words.end(), of_row.begin(), of_row.end());
    }
    TensorView* weight = model.source.Mutable(Plane(".weight_packed"));
    weight->meta.shape[1] = static_cast<int64_t>(words.size()) / 4 / n_rows;
    model.source.SetBytes(weight->meta.name, words);
    // Zero points: streams down the rows, one a group.
    const int64_t n_groups = 2;
    std::vector<uint8_t> zeros(matrix.zeros.begin(), matrix.zeros.end());
    std::vector<std::vector<uint8_t>> streams;
    for (int64_t group = 0; group < n_groups; ++group) {
      streams.push_back(Loose(zeros.data() + group, n_groups, n_rows, bits));
    }
    std::vector<uint8_t> plane;
    for (size_t word = 0; word < streams[0].size(); word += 4) {
      for (const auto& stream : streams) {
        plane.insert(plane.end(), stream.begin() + static_cast<long>(word),
                     stream.begin() + static_cast<long>(word) + 4);
      }
    }
    TensorView* zero = model.source.Mutable(Plane(".weight_zero_point"));
    zero->meta.shape[0] = static_cast<int64_t>(streams[0].size()) / 4;
    model.source.SetBytes(zero->meta.name, plane);
    const auto read = Read(model);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->codes, matrix.codes);
    EXPECT_EQ(read->zeros, matrix.zeros);
  }
}

TEST(OldFiles, ZeroPointsThatAreNotPacked) {
  const QuantizedMatrix matrix =
      Series(Integers(4, 32, ZeroKind::kInteger), 8, 64);
  Model model;
  Fill(matrix, &model);
  std::vector<uint8_t> zeros;
  for (const float zero : matrix.zeros) {
    zeros.push_back(static_cast<uint8_t>(static_cast<int>(zero) - 8));
  }
  model.source.SetBytes(Plane(".weight_zero_point"), zeros);
  TensorMeta& meta = model.source.Mutable(Plane(".weight_zero_point"))->meta;
  meta.type = QuantType::kI8;
  meta.shape = {8, 2};
  const auto read = Read(model);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->zeros, matrix.zeros);
  zeros[3] = 8;  // 7 is the largest of 4 bits
  model.source.SetBytes(Plane(".weight_zero_point"), zeros);
  ExpectError(model, absl::StatusCode::kDataLoss,
              {"weight_zero_point", "element 3 is 8", "packed.safetensors"});
}

std::vector<uint8_t> Int32Bytes(const std::vector<int32_t>& values) {
  std::vector<uint8_t> bytes(values.size() * 4);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

TEST(OldFiles, GroupsNamedByColumn) {
  const QuantizedMatrix matrix = Series(Integers(4, 32), 4, 64);
  Model model;
  Fill(matrix, &model);
  std::vector<int32_t> groups(64);
  model.source.Add({Plane(".weight_g_idx"), QuantType::kI32, {64}},
                   Int32Bytes(groups));
  for (size_t i = 0; i < 64; ++i) {
    groups[i] = static_cast<int32_t>(i / 32);
  }
  model.source.SetBytes(Plane(".weight_g_idx"), Int32Bytes(groups));
  auto read = Read(model);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_FALSE(read->scheme.column_groups);

  model.source.SetBytes(Plane(".weight_g_idx"),
                        Int32Bytes(std::vector<int32_t>(64, -1)));
  read = Read(model);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_FALSE(read->scheme.column_groups);

  groups[0] = 1;
  groups[63] = 0;
  model.source.SetBytes(Plane(".weight_g_idx"), Int32Bytes(groups));
  read = Read(model);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->scheme.column_groups);
  EXPECT_EQ(read->group_of_column, groups);

  groups[5] = 2;
  model.source.SetBytes(Plane(".weight_g_idx"), Int32Bytes(groups));
  ExpectError(model, absl::StatusCode::kDataLoss,
              {"column 5 is of group 2 of 2", "weight_g_idx"});
}

// Two layers of one plane each would do; the configuration decides bits.
constexpr char kTwoGroups[] = R"({
  "quant_method": "compressed-tensors", "format": "pack-quantized",
  "quantization_status": "compressed", "ignore": [IGNORE],
  "config_groups": {
    "a": {"targets": [A], "weights": {"num_bits": 8, "type": "int",
          "symmetric": true, "strategy": "group", "group_size": 16}},
    "b": {"targets": [B], "weights": {"num_bits": 4, "type": "int",
          "symmetric": true, "strategy": "group", "group_size": 32}}}})";

std::string TwoGroups(absl::string_view a, absl::string_view b,
                      absl::string_view ignore) {
  return absl::StrReplaceAll(kTwoGroups,
                             {{"[A]", absl::StrCat("[", a, "]")},
                              {"[B]", absl::StrCat("[", b, "]")},
                              {"[IGNORE]", absl::StrCat("[", ignore, "]")}});
}

TEST(Targets, ByNameClassAndPattern) {
  const QuantizedMatrix matrix = Series(Integers(4, 32), 4, 64);
  Model model;
  Fill(matrix, &model);
  const std::pair<const char*, const char*> fitting[] = {
      {R"("model.layers.0.mlp.down_proj")", R"("model.layers.0.mlp.up_proj")"},
      {R"("re:.*down_proj$")", R"("re:.*up_proj$")"},
      {R"("re:up_proj")", R"("Linear")"},  // matches from the start alone
      {R"("Linear")", R"("re:.*mlp.*")"},  // a name before a class
      {R"("Conv2d", "re:model\\.layers\\.1\\..*")", R"("Linear")"}};
  for (const auto& [a, b] : fitting) {
    model.config = TwoGroups(a, b, R"("lm_head", "re:.*gate$")");
    const auto read = Read(model);
    ASSERT_TRUE(read.ok()) << a << b << read.status();
    EXPECT_EQ(read->codes, matrix.codes) << a << b;
  }
  model.config = TwoGroups(R"("x")", R"("re:.*conv")", "");
  ExpectError(model, absl::StatusCode::kDataLoss,
              {"no target of any of 2 config groups", "packed.safetensors"});
  for (const char* ignore :
       {R"("model.layers.0.mlp.up_proj")", R"("re:.*up_.*")"}) {
    model.config = TwoGroups(R"("x")", R"("Linear")", ignore);
    ExpectError(model, absl::StatusCode::kDataLoss, {"ignore", kLayer});
  }
  model.config = TwoGroups(R"("re:(unclosed")", R"("Linear")", "");
  ExpectError(model, absl::StatusCode::kUnimplemented, {"(unclosed"});
}

TEST(Targets, OneGroupNeedsNoNames) {
  Model model;
  Fill(Series(Integers(4, 32), 4, 64), &model);
  model.config = absl::StrReplaceAll(model.config,
                                     {{"\"Linear\"", "\"language.layers\""}});
  EXPECT_TRUE(Read(model).ok()) << Read(model).status();
}

TEST(ReadConfig, NamesWhatItDoesNotRead) {
  Model model;
  Fill(Series(Integers(4, 32), 4, 64), &model);
  const std::string config = model.config;
  const auto with = [&](absl::string_view from, absl::string_view to) {
    model.config = absl::StrReplaceAll(config, {{from, to}});
    EXPECT_NE(model.config, config) << from;
  };
  with("pack-quantized", "mxfp6-pack-quantized");
  ExpectError(model, absl::StatusCode::kUnimplemented,
              {"mxfp6-pack-quantized"});
  with("pack-quantized", "marlin-24");
  ExpectError(model, absl::StatusCode::kUnimplemented, {"marlin-24"});
  with("\"ignore\"",
       R"("sparsity_config": {"format": "sparse-24-bitmask"}, "ignore")");
  ExpectError(model, absl::StatusCode::kUnimplemented, {"sparse-24-bitmask"});
  with("\"ignore\"",
       R"("transform_config": {"config_groups": {"R1": {}}}, "ignore")");
  ExpectError(model, absl::StatusCode::kUnimplemented, {"transform_config"});
  with("\"num_bits\": 4", "\"num_bits\": 9");
  ExpectError(model, absl::StatusCode::kUnimplemented, {"9 bits"});
  with("\"strategy\": \"group\"", "\"strategy\": \"attn_head\"");
  ExpectError(model, absl::StatusCode::kUnimplemented, {"attn_head"});
  with("\"group_size\": 32", "\"group_size\": -5");
  ExpectError(model, absl::StatusCode::kDataLoss,
              {"-5", "config_groups.group_0.weights.group_size"});
  with("\"type\": \"int\"", "\"type\": \"complex\"");
  ExpectError(model, absl::StatusCode::kDataLoss, {"complex"});
  with("\"config_groups\"", "\"groups\"");
  ExpectError(model, absl::StatusCode::kDataLoss, {"config_groups"});
}

TEST(DamagedPlanes, AreNamed) {
  const auto fresh = [](Model* model) {
    Fill(Series(Integers(4, 32, ZeroKind::kInteger), 4, 64), model);
  };
  {
    Model model;
    fresh(&model);
    int64_t shape[2] = {4, -64};
    std::vector<uint8_t> bytes(16);
    std::memcpy(bytes.data(), shape, 16);
    model.source.SetBytes(Plane(".weight_shape"), bytes);
    ExpectError(model, absl::StatusCode::kDataLoss,
                {"weight_shape", "4 x -64", "offset", "packed.safetensors"});
    shape[1] = int64_t{1} << 40;
    std::memcpy(bytes.data(), shape, 16);
    model.source.SetBytes(Plane(".weight_shape"), bytes);
    ExpectError(model, absl::StatusCode::kDataLoss, {"weight_shape"});
    shape[1] = 96;
    std::memcpy(bytes.data(), shape, 16);
    model.source.SetBytes(Plane(".weight_shape"), bytes);
    ExpectError(model, absl::StatusCode::kDataLoss,
                {"weight_packed", "[4, 8]", "[4, 12]"});
  }
  for (const char* plane :
       {".weight_scale", ".weight_zero_point", ".weight_shape"}) {
    Model model;
    fresh(&model);
    model.source.Remove(Plane(plane));
    ExpectError(model, absl::StatusCode::kDataLoss,
                {Plane(plane), "weight_packed", "packed.safetensors"});
  }
  {
    Model model;
    fresh(&model);
    model.source.Remove(Plane(".weight_packed"));
    ExpectError(model, absl::StatusCode::kDataLoss,
                {"weight_packed", "weight_scale"});
  }
  {
    Model model;
    fresh(&model);
    std::vector<float> scales(8, 1);
    scales[5] = std::nanf("");
    std::vector<uint8_t> bytes(32);
    std::memcpy(bytes.data(), scales.data(), 32);
    model.source.SetBytes(Plane(".weight_scale"), bytes);
    ExpectError(model, absl::StatusCode::kDataLoss,
                {"weight_scale", "element 5", "not finite"});
    model.source.Mutable(Plane(".weight_scale"))->meta.type = QuantType::kI32;
    ExpectError(model, absl::StatusCode::kDataLoss, {"weight_scale", "i32"});
  }
  {
    Model model;
    fresh(&model);
    model.source.Mutable(Plane(".weight_packed"))->meta.shape = {2, 4, 4};
    ExpectError(model, absl::StatusCode::kUnimplemented,
                {"weight_packed", "[2, 4, 4]"});
  }
}

TEST(DamagedPlanes, NanAmongFp8) {
  WeightScheme scheme;
  scheme.code = CodeKind::kE4M3;
  scheme.bits = 8;
  scheme.block_cols = 0;
  scheme.scale_type = QuantType::kBF16;
  scheme.activations = ActivationKind::kDynamicFp8;
  Model model;
  Fill(Series(scheme, 2, 16), &model);
  std::vector<uint8_t> bytes(32, 0x38);
  bytes[17] = 0xff;
  model.source.SetBytes(Plane(".weight"), bytes);
  ExpectError(model, absl::StatusCode::kDataLoss,
              {"up_proj.weight'", "element 17 is NaN", "packed.safetensors"});
}

TEST(DamagedPlanes, GlobalScaleThatDividesByNothing) {
  WeightScheme scheme;
  scheme.code = CodeKind::kE2M1;
  scheme.block_cols = 16;
  scheme.scale_type = QuantType::kF8E4M3;
  scheme.global_scale = true;
  Model model;
  QuantizedMatrix matrix = Series(scheme, 2, 32);
  Fill(matrix, &model);
  model.source.SetBytes(Plane(".weight_global_scale"), {0, 0, 0, 0});
  ExpectError(model, absl::StatusCode::kDataLoss,
              {"weight_global_scale", "is 0, not positive"});
}

TEST(WriteConfig, OneSchemeTakesAllLinearLayers) {
  PackedLayout layout;
  layout.modules.resize(2);
  for (size_t i = 0; i < 2; ++i) {
    layout.modules[i].name = absl::StrCat("model.layers.", i, ".mlp.up_proj");
    layout.modules[i].scheme = Integers(4, 128);
  }
  layout.dense_linears = {"model.layers.0.mlp.gate"};
  EXPECT_EQ(packing.config(layout).value(), R"({
  "quant_method": "compressed-tensors",
  "format": "pack-quantized",
  "quantization_status": "compressed",
  "config_groups": {
    "group_0": {
      "format": "pack-quantized",
      "targets": [
        "Linear"
      ],
      "weights": {
        "num_bits": 4,
        "type": "int",
        "symmetric": true,
        "strategy": "group",
        "group_size": 128,
        "dynamic": false
      },
      "input_activations": null,
      "output_activations": null
    }
  },
  "ignore": [
    "model.layers.0.mlp.gate",
    "lm_head"
  ],
  "kv_cache_scheme": null
})");
}

TEST(WriteConfig, GroupsOfSeveralSchemesAreDisjoint) {
  PackedLayout layout;
  for (const char* name : {"a.up_proj", "a.down_proj", "b.up_proj"}) {
    PackedModule module;
    module.name = name;
    module.scheme = Integers(absl::StrContains(name, "down") ? 8 : 4, 64);
    layout.modules.push_back(module);
  }
  std::string text = packing.config(layout).value();
  EXPECT_TRUE(absl::StrContains(text, "\"format\": \"pack-quantized\""));
  const auto document = JsonDocument::Parse(text, "config.json");
  const auto groups = (*document)->root().Get("config_groups");
  const auto members = groups->GetMembers();
  ASSERT_EQ(members->size(), 2u);
  const auto first = (*members)[0].second.Get("targets")->GetElements();
  ASSERT_EQ(first->size(), 2u);
  EXPECT_EQ((*first)[0].GetString().value(), "a.up_proj");
  EXPECT_EQ((*first)[1].GetString().value(), "b.up_proj");
  // Different formats are a format of their own at the top.
  layout.modules[1].scheme.activations = ActivationKind::kDynamicInt8;
  text = packing.config(layout).value();
  EXPECT_TRUE(absl::StrContains(text, "\"format\": \"mixed-precision\""));
  EXPECT_TRUE(absl::StrContains(text, "\"format\": \"int-quantized\""));
}

TEST(Supports, SaysWhyNot) {
  const auto why = [](const WeightScheme& scheme, int64_t n_cols) {
    return packing.supports(scheme, 64, n_cols);
  };
  EXPECT_TRUE(why(Integers(4, 32), 96).ok());
  EXPECT_EQ(why(Integers(4, 64), 96).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(why(Integers(1, 32), 96).code(), absl::StatusCode::kUnimplemented);
  WeightScheme scheme = Integers(4, 32);
  scheme.column_groups = true;
  EXPECT_EQ(why(scheme, 96).code(), absl::StatusCode::kUnimplemented);
  scheme = Integers(4, 32);
  scheme.activations = ActivationKind::kDynamicInt8;
  EXPECT_EQ(why(scheme, 96).code(), absl::StatusCode::kUnimplemented);
  scheme = Integers(4, 32);
  scheme.code = CodeKind::kNf4;
  EXPECT_EQ(why(scheme, 96).code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace narrow
