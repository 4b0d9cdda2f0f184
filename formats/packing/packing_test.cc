// What holds for every packing: planes are as declared, and what is packed is
// found and unpacked again, whole and in parts; damaged planes are errors.

#include "formats/packing/packing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/packing/bitsandbytes/nested_scales.h"
#include "formats/packing/packed_source.h"
#include "formats/packing/scale_type.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

// Tensors in memory, each with bytes of its own.
class MemorySource : public TensorSource {
 public:
  void Add(TensorMeta meta, std::vector<uint8_t> bytes) {
    bytes_.push_back(std::make_unique<std::vector<uint8_t>>(std::move(bytes)));
    TensorView view;
    view.meta = std::move(meta);
    view.data = *bytes_.back();
    view.origin = {"packed.safetensors", static_cast<int64_t>(views_.size())};
    views_.push_back(std::move(view));
  }
  std::vector<TensorView>* views() { return &views_; }
  std::vector<uint8_t>* bytes(size_t i) { return bytes_[i].get(); }

  absl::Span<const TensorView> tensors() const override { return views_; }
  const TensorView* Find(absl::string_view name) const override {
    for (const TensorView& view : views_) {
      if (view.meta.name == name) {
        return &view;
      }
    }
    return nullptr;
  }
  const Metadata& metadata() const override { return metadata_; }
  absl::string_view format() const override { return "memory"; }
  void Release(absl::Span<const uint8_t>) const override {}

 private:
  std::vector<TensorView> views_;
  std::vector<std::unique_ptr<std::vector<uint8_t>>> bytes_;
  Metadata metadata_;
};

class Random {
 public:
  uint32_t Next(uint32_t below) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33) % below;
  }

 private:
  uint64_t state_ = 20240607;
};

std::vector<WeightScheme> Schemes() {
  std::vector<WeightScheme> all;
  const std::pair<int64_t, int64_t> blocks[] = {
      {1, 0}, {1, 16}, {1, 32}, {1, 64}, {1, 128}, {0, 0}, {128, 128}};
  const auto add_blocks = [&](WeightScheme scheme) {
    for (const auto& [rows, cols] : blocks) {
      scheme.block_rows = rows;
      scheme.block_cols = cols;
      for (const bool flat : {false, true}) {
        scheme.flat = flat;
        for (const QuantType type :
             {QuantType::kF16, QuantType::kBF16, QuantType::kF32,
              QuantType::kF8E4M3, QuantType::kF8E8M0}) {
          scheme.scale_type = type;
          all.push_back(scheme);
        }
      }
    }
  };
  for (int bits = 1; bits <= 8; ++bits) {
    for (const ZeroKind zero :
         {ZeroKind::kNone, ZeroKind::kInteger, ZeroKind::kFloat}) {
      WeightScheme scheme;
      scheme.bits = bits;
      scheme.zero = zero;
      add_blocks(scheme);
      scheme.column_groups = true;
      add_blocks(scheme);
      scheme.column_groups = false;
      scheme.scale_unit = 1.0f / 127.0f;
      add_blocks(scheme);
    }
  }
  for (const CodeKind code :
       {CodeKind::kE2M1, CodeKind::kE4M3, CodeKind::kNf4, CodeKind::kFp4}) {
    WeightScheme scheme;
    scheme.code = code;
    scheme.bits = code == CodeKind::kE4M3 ? 8 : 4;
    add_blocks(scheme);
    scheme.global_scale = true;
    add_blocks(scheme);
    scheme.global_scale = false;
    scheme.nested_scales = true;
    add_blocks(scheme);
  }
  // With every treatment of activations.
  std::vector<WeightScheme> with_activations;
  for (const WeightScheme& scheme : all) {
    for (int kind = 0; kind <= static_cast<int>(ActivationKind::kMxfp4);
         ++kind) {
      with_activations.push_back(scheme);
      with_activations.back().activations = static_cast<ActivationKind>(kind);
    }
  }
  return with_activations;
}

QuantizedMatrix Filled(const WeightScheme& scheme, int64_t n_rows,
                       int64_t n_cols, Random* random) {
  QuantizedMatrix m;
  m.scheme = scheme;
  m.Resize(n_rows, n_cols);
  const uint32_t n_codes = static_cast<uint32_t>(scheme.n_codes());
  for (uint8_t& code : m.codes) {
    code = static_cast<uint8_t>(random->Next(n_codes));
    if (scheme.code == CodeKind::kE4M3 && (code & 0x7f) == 0x7f) {
      code = 0;
    }
  }
  for (float& scale : m.scales) {
    scale = RoundToScaleType(
        scheme.scale_type, static_cast<float>(1 + random->Next(1000)) / 512.0f);
  }
  for (float& zero : m.zeros) {
    // From 1 on, as version 1 of GPTQ has no 0.
    zero = static_cast<float>(1 + random->Next(n_codes - 1));
    if (scheme.zero == ZeroKind::kFloat) {
      zero = RoundToScaleType(scheme.scale_type, zero + 0.25f);
    }
  }
  for (int32_t& group : m.group_of_column) {
    group = static_cast<int32_t>(
        random->Next(static_cast<uint32_t>(m.n_scale_cols())));
  }
  if (scheme.global_scale) {
    m.global_scale = 96.5f;
  }
  switch (scheme.activations) {
    case ActivationKind::kStaticInt8:
    case ActivationKind::kStaticFp8:
    case ActivationKind::kNvfp4:
      m.input_scale = 0.5f;
      break;
    default:
      break;
  }
  return m;
}

constexpr int64_t kRows = 256;
constexpr int64_t kCols = 256;

// A source and what a client is told of it.
struct Model {
  std::unique_ptr<MemorySource> source = std::make_unique<MemorySource>();
  std::vector<QuantizedMatrix> matrices;
  PackedLayout layout;
  std::unique_ptr<const JsonDocument> config;
};

// Two layers and a head that stays dense.
absl::StatusOr<Model> Make(const Packing& packing, const WeightScheme& scheme,
                           Random* random) {
  Model model;
  model.layout.dense_linears = {"lm_head"};
  for (const char* name :
       {"model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj"}) {
    PackedModule module;
    module.name = name;
    module.scheme = scheme;
    module.n_rows = kRows;
    module.n_cols = kCols;
    module.packing = &packing;
    model.matrices.push_back(Filled(scheme, kRows, kCols, random));
    EXPECT_TRUE(CheckQuantizedMatrix(model.matrices.back()).ok())
        << CheckQuantizedMatrix(model.matrices.back());
    const auto bytes = packing.pack(model.matrices.back(), QuantType::kBF16);
    if (!bytes.ok()) {
      return bytes.status();
    }
    const std::vector<TensorMeta> planes =
        packing.planes(scheme, name, kRows, kCols, QuantType::kBF16);
    EXPECT_EQ(planes.size(), bytes->size());
    for (size_t i = 0; i < planes.size(); ++i) {
      EXPECT_EQ(planes[i].n_bytes(), static_cast<int64_t>((*bytes)[i].size()))
          << planes[i].name;
      EXPECT_TRUE(absl::StartsWith(planes[i].name, name)) << planes[i].name;
      model.source->Add(planes[i], (*bytes)[i]);
    }
    model.layout.modules.push_back(std::move(module));
  }
  model.source->Add({"lm_head.weight", QuantType::kBF16, {4, 4}},
                    std::vector<uint8_t>(32));
  const auto json = packing.config(model.layout);
  if (!json.ok()) {
    return json.status();
  }
  auto document = JsonDocument::Parse(*json, "config.json");
  if (!document.ok()) {
    return document.status();
  }
  model.config = *std::move(document);
  return model;
}

// What a file holds of `m`: packing rounds nested scales, and one group a row
// needs no names of groups.
QuantizedMatrix AsStored(QuantizedMatrix m) {
  if (m.scheme.nested_scales) {
    m.scales = UnnestScales(NestScales(m.scales), DynamicMap());
  }
  if (m.scheme.column_groups && m.n_scale_cols() == 1) {
    m.scheme.column_groups = false;
    m.group_of_column.clear();
  }
  return m;
}

std::vector<float> Values(const QuantizedMatrix& m) {
  std::vector<float> values(static_cast<size_t>(m.n_rows * m.n_cols));
  DequantizeRows(m, 0, m.n_rows, values.data());
  return values;
}

int64_t RowStep(const WeightScheme& scheme) {
  if (scheme.block_rows > 1) {
    return scheme.block_rows;
  }
  return scheme.flat && scheme.block_cols > 0
             ? scheme.block_cols / std::gcd(scheme.block_cols, kCols)
             : 1;
}

class PackingTest : public testing::TestWithParam<const Packing*> {
 protected:
  std::vector<WeightScheme> Supported() const {
    std::vector<WeightScheme> supported;
    for (const WeightScheme& scheme : Schemes()) {
      if (GetParam()->supports(scheme, kRows, kCols).ok()) {
        supported.push_back(scheme);
      }
    }
    return supported;
  }
};

// Codes are where the layout, if there is one, says; the rest without them is
// the same. `part` are the module's rows from `first` on.
void ExpectPlaces(const PackedModule& module, int64_t first,
                  const QuantizedMatrix& part) {
  CodeLayout layout;
  if (module.packing->code_layout == nullptr ||
      !module.packing->code_layout(module, &layout)) {
    return;
  }
  const uint8_t* words = module.planes[0]->data.data();
  std::vector<uint8_t> codes;
  for (int64_t row = first; row < first + part.n_rows; ++row) {
    for (int64_t col = 0; col < part.n_cols; ++col) {
      codes.push_back(CodeAt(layout, words, row, col));
    }
  }
  ASSERT_EQ(codes, part.codes);
  const auto scales = module.packing->unpack_scales(module, first, part.n_rows);
  ASSERT_TRUE(scales.ok()) << scales.status();
  EXPECT_TRUE(scales->codes.empty());
  EXPECT_EQ(scales->n_rows, part.n_rows);
  EXPECT_EQ(scales->n_cols, part.n_cols);
  EXPECT_EQ(scales->scales, part.scales);
  EXPECT_EQ(scales->zeros, part.zeros);
  EXPECT_EQ(scales->group_of_column, part.group_of_column);
  EXPECT_EQ(scales->global_scale, part.global_scale);
}

TEST_P(PackingTest, IsFoundByName) {
  EXPECT_EQ(FindPacking(GetParam()->name), GetParam());
  EXPECT_TRUE(absl::StrContains(KnownPackingNames(), GetParam()->name));
  EXPECT_EQ(FindPacking("none"), nullptr);
}

TEST_P(PackingTest, UnpacksWhatItPacked) {
  const std::vector<WeightScheme> schemes = Supported();
  ASSERT_FALSE(schemes.empty());
  Random random;
  for (const WeightScheme& scheme : schemes) {
    SCOPED_TRACE(SchemeName(scheme));
    const auto model = Make(*GetParam(), scheme, &random);
    ASSERT_TRUE(model.ok()) << model.status();
    const JsonValue config = model->config->root();
    const auto recognised = RecognisePacking(config);
    ASSERT_TRUE(recognised.ok()) << recognised.status();
    ASSERT_EQ(*recognised, GetParam());
    const auto modules = GetParam()->find(config, *model->source);
    ASSERT_TRUE(modules.ok()) << modules.status();
    ASSERT_EQ(modules->size(), model->matrices.size());
    for (size_t i = 0; i < modules->size(); ++i) {
      const PackedModule& module = (*modules)[i];
      const QuantizedMatrix matrix = AsStored(model->matrices[i]);
      EXPECT_EQ(module.name, model->layout.modules[i].name);
      ASSERT_EQ(module.n_rows, kRows);
      ASSERT_EQ(module.n_cols, kCols);
      const auto whole = GetParam()->unpack(module, 0, kRows);
      ASSERT_TRUE(whole.ok()) << whole.status();
      ASSERT_TRUE(CheckQuantizedMatrix(*whole).ok())
          << CheckQuantizedMatrix(*whole);
      ASSERT_EQ(whole->codes, matrix.codes);
      ASSERT_EQ(whole->scales, matrix.scales);
      ASSERT_EQ(whole->zeros, matrix.zeros);
      ASSERT_EQ(whole->group_of_column, matrix.group_of_column);
      const std::vector<float> values = Values(matrix);
      ASSERT_EQ(Values(*whole), values);
      const int64_t step = RowStep(module.scheme);
      for (const int64_t first : {step, (kRows / step - 1) * step, 5 * step}) {
        const int64_t n = std::min<int64_t>(3 * step, kRows - first);
        if (n <= 0) {
          continue;
        }
        const auto part = GetParam()->unpack(module, first, n);
        ASSERT_TRUE(part.ok()) << part.status();
        if (i == 0 && first + step == kRows) {
          ExpectPlaces(module, first, *part);
        }
        ASSERT_EQ(Values(*part),
                  std::vector<float>(values.begin() + first * kCols,
                                     values.begin() + (first + n) * kCols))
            << first << " + " << n;
      }
    }
  }
}

TEST(CodeLayoutTest, MostPackingsHaveOne) {
  int n = 0;
  for (const Packing* packing : AllPackings()) {
    n += packing->code_layout != nullptr ? 1 : 0;
    EXPECT_EQ(packing->code_layout == nullptr,
              packing->unpack_scales == nullptr);
  }
  EXPECT_GE(n, 6);
}

TEST_P(PackingTest, IsAPlainSourceOnceUnpacked) {
  Random random;
  int n_left = 40;
  for (const WeightScheme& scheme : Supported()) {
    if (n_left-- == 0) {
      break;
    }
    SCOPED_TRACE(SchemeName(scheme));
    auto model = Make(*GetParam(), scheme, &random);
    ASSERT_TRUE(model.ok()) << model.status();
    const auto unpacked =
        UnpackSource(std::move(model->source), model->config->root());
    ASSERT_TRUE(unpacked.ok()) << unpacked.status();
    EXPECT_EQ(unpacked->packing, GetParam());
    const TensorSource& source = *unpacked->source;
    ASSERT_EQ(source.tensors().size(), 3);
    EXPECT_NE(source.Find("lm_head.weight"), nullptr);
    for (size_t i = 0; i < 2; ++i) {
      const TensorView* view =
          source.Find(absl::StrCat(model->layout.modules[i].name, ".weight"));
      ASSERT_NE(view, nullptr);
      ASSERT_NE(view->rows, nullptr);
      EXPECT_GT(view->rows->n_stored_bytes(), 0);
      EXPECT_EQ(view->meta.shape, (std::vector<int64_t>{kRows, kCols}));
      const std::vector<float> values = Values(AsStored(model->matrices[i]));
      for (const int64_t first : {int64_t{0}, int64_t{77}, kRows - 1}) {
        const int64_t n = std::min<int64_t>(67, kRows - first);
        std::vector<float> rows(static_cast<size_t>(n * kCols));
        ASSERT_TRUE(view->rows->ReadRows(first, n, rows.data()).ok());
        ASSERT_EQ(rows,
                  std::vector<float>(values.begin() + first * kCols,
                                     values.begin() + (first + n) * kCols));
      }
    }
  }
}

// Reads all that a client would read of a source that may be damaged.
absl::Status ReadAll(const Packing& packing, const JsonValue& config,
                     const MemorySource& source) {
  const auto modules = packing.find(config, source);
  if (!modules.ok()) {
    return modules.status();
  }
  for (const PackedModule& module : *modules) {
    const auto matrix = packing.unpack(module, 0, module.n_rows);
    if (!matrix.ok()) {
      return matrix.status();
    }
    std::vector<float> values(
        static_cast<size_t>(matrix->n_rows * matrix->n_cols));
    DequantizeRows(*matrix, 0, matrix->n_rows, values.data());
  }
  return absl::OkStatus();
}

// Few schemes, as different as they can be.
std::vector<WeightScheme> Samples(const std::vector<WeightScheme>& all) {
  std::set<std::string> seen;
  std::vector<WeightScheme> samples;
  for (const WeightScheme& scheme : all) {
    const std::string key =
        absl::StrCat(static_cast<int>(scheme.code), " ", scheme.bits, " ",
                     static_cast<int>(scheme.zero), " ", scheme.block_rows == 1,
                     " ", scheme.flat, " ", scheme.nested_scales, " ",
                     scheme.global_scale, " ", scheme.column_groups);
    if (seen.insert(key).second) {
      samples.push_back(scheme);
    }
  }
  return samples;
}

TEST_P(PackingTest, RefusesDamagedPlanes) {
  Random random;
  for (const WeightScheme& scheme : Samples(Supported())) {
    const auto fresh = Make(*GetParam(), scheme, &random);
    ASSERT_TRUE(fresh.ok()) << fresh.status();
    const size_t n_planes = fresh->source->tensors().size() - 1;
    int n_refused = 0;
    for (size_t p = 0; p < n_planes; ++p) {
      SCOPED_TRACE(absl::StrCat(SchemeName(scheme), " ",
                                fresh->source->tensors()[p].meta.name));
      for (int damage = 0; damage < 6; ++damage) {
        Random same;
        auto model = Make(*GetParam(), scheme, &same);
        ASSERT_TRUE(model.ok());
        TensorView& view = (*model->source->views())[p];
        std::vector<uint8_t>& bytes = *model->source->bytes(p);
        switch (damage) {
          case 0:  // shorter than its shape
            view.data = view.data.subspan(0, view.data.size() / 2);
            break;
          case 1:  // another type of the same size
            view.meta.type = view.meta.type == QuantType::kI32 ? QuantType::kF32
                                                               : QuantType::kI8;
            break;
          case 2:  // half the rows, and the bytes for it
            if (view.meta.shape.empty() || view.meta.shape[0] < 2) {
              continue;
            }
            view.meta.shape[0] /= 2;
            view.data = view.data.subspan(
                0,
                static_cast<size_t>(std::max<int64_t>(view.meta.n_bytes(), 0)));
            break;
          case 3:
            std::fill(bytes.begin(), bytes.end(), uint8_t{0xff});
            break;
          case 4:
            view.meta.shape.push_back(1);
            break;
          case 5:
            view.meta.shape.assign(view.meta.shape.size(), 0);
            view.data = {};
            break;
        }
        const absl::Status status =
            ReadAll(*GetParam(), model->config->root(), *model->source);
        if (!status.ok()) {
          ++n_refused;
          EXPECT_NE(status.code(), absl::StatusCode::kInternal) << status;
          EXPECT_FALSE(status.message().empty());
        }
      }
      // Without the plane at all: whatever comes, no crash.
      Random same;
      auto model = Make(*GetParam(), scheme, &same);
      ASSERT_TRUE(model.ok());
      model->source->views()->erase(model->source->views()->begin() +
                                    static_cast<ptrdiff_t>(p));
      n_refused +=
          ReadAll(*GetParam(), model->config->root(), *model->source).ok() ? 0
                                                                           : 1;
    }
    EXPECT_GT(n_refused, 8) << SchemeName(scheme);
  }
}

// Bytes at random in every plane and in the configuration.
TEST_P(PackingTest, SurvivesRandomBytes) {
  Random random;
  for (const WeightScheme& scheme : Samples(Supported())) {
    for (int round = 0; round < 8; ++round) {
      auto model = Make(*GetParam(), scheme, &random);
      ASSERT_TRUE(model.ok());
      for (size_t p = 0; p < model->source->tensors().size(); ++p) {
        std::vector<uint8_t>& bytes = *model->source->bytes(p);
        if (random.Next(3) == 0) {
          for (uint8_t& byte : bytes) {
            byte = static_cast<uint8_t>(random.Next(256));
          }
        }
      }
      const absl::Status status =
          ReadAll(*GetParam(), model->config->root(), *model->source);
      if (!status.ok()) {
        EXPECT_TRUE(status.code() == absl::StatusCode::kDataLoss ||
                    status.code() == absl::StatusCode::kUnimplemented ||
                    status.code() == absl::StatusCode::kInvalidArgument)
            << status;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, PackingTest,
    testing::ValuesIn(AllPackings().begin(), AllPackings().end()),
    [](const testing::TestParamInfo<const Packing*>& info) {
      std::string name = info.param->name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace narrow
