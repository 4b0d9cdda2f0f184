// Packed matrices taken apart on a device against the same decoded on the
// host: every packing that has places for its codes, over many schemes; on the
// CPU's device and on a card where there is one.

#include "calibration/device/packed_piece.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/device/weight_pieces.h"
#include "calibration/weights/weights.h"
#include "formats/base/float16.h"
#include "formats/json/json.h"
#include "formats/packing/memory_source.h"
#include "formats/packing/packed_source.h"
#include "formats/packing/scale_type.h"

namespace narrow {
namespace {

constexpr int64_t kRows = 256;
constexpr int64_t kCols = 256;

std::vector<Device> Devices() {
  std::vector<Device> devices;
  devices.push_back(Device::Cpu());
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*card);
  }
  return devices;
}

class Random {
 public:
  uint32_t Next(uint32_t below) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33) % below;
  }

 private:
  uint64_t state_ = 20261122;
};

// Blocks of every kind under each scale type and treatment of inputs.
void AddBlocks(WeightScheme scheme, std::vector<WeightScheme>* all) {
  for (const auto& [rows, cols] : {std::pair<int, int>{1, 0},
                                   {1, 16},
                                   {1, 32},
                                   {1, 64},
                                   {1, 128},
                                   {0, 0},
                                   {128, 128}}) {
    scheme.block_rows = rows;
    scheme.block_cols = cols;
    for (const bool flat : {false, true}) {
      scheme.flat = flat;
      for (const QuantType type :
           {QuantType::kF16, QuantType::kBF16, QuantType::kF32,
            QuantType::kF8E4M3, QuantType::kF8E8M0}) {
        scheme.scale_type = type;
        for (const ActivationKind kind :
             {ActivationKind::kNone, ActivationKind::kDynamicInt8,
              ActivationKind::kDynamicFp8, ActivationKind::kDynamicFp8Groups,
              ActivationKind::kNvfp4, ActivationKind::kMxfp4}) {
          scheme.activations = kind;
          all->push_back(scheme);
        }
      }
    }
  }
}

std::vector<WeightScheme> Schemes() {
  std::vector<WeightScheme> all;
  for (const int bits : {2, 3, 4, 8}) {
    for (const ZeroKind zero :
         {ZeroKind::kNone, ZeroKind::kInteger, ZeroKind::kFloat}) {
      for (const bool column_groups : {false, true}) {
        WeightScheme scheme;
        scheme.bits = bits;
        scheme.zero = zero;
        scheme.column_groups = column_groups;
        AddBlocks(scheme, &all);
      }
    }
  }
  WeightScheme bytes;
  bytes.bits = 8;
  bytes.scale_unit = 1.0f / 127.0f;
  AddBlocks(bytes, &all);
  for (const CodeKind code :
       {CodeKind::kE2M1, CodeKind::kE4M3, CodeKind::kNf4, CodeKind::kFp4}) {
    for (const int kind : {0, 1, 2}) {
      WeightScheme scheme;
      scheme.code = code;
      scheme.bits = code == CodeKind::kE4M3 ? 8 : 4;
      scheme.global_scale = kind == 1;
      scheme.nested_scales = kind == 2;
      AddBlocks(scheme, &all);
    }
  }
  return all;
}

QuantizedMatrix Filled(const WeightScheme& scheme, Random* random) {
  QuantizedMatrix m;
  m.scheme = scheme;
  m.Resize(kRows, kCols);
  const auto n_codes = static_cast<uint32_t>(scheme.n_codes());
  for (uint8_t& code : m.codes) {
    do {
      code = static_cast<uint8_t>(random->Next(n_codes));
    } while (scheme.code == CodeKind::kE4M3 && (code & 0x7f) == 0x7f);
  }
  for (float& scale : m.scales) {
    scale = RoundToScaleType(
        scheme.scale_type, static_cast<float>(1 + random->Next(1000)) / 512.0f);
  }
  for (float& zero : m.zeros) {
    zero = static_cast<float>(1 + random->Next(n_codes - 1));
  }
  for (int32_t& group : m.group_of_column) {
    group = static_cast<int32_t>(
        random->Next(static_cast<uint32_t>(m.n_scale_cols())));
  }
  if (scheme.global_scale) {
    m.global_scale = 96.5f;
  }
  if (HasInputScale(scheme.activations)) {
    m.input_scale = 0.5f;
  }
  return m;
}

// Two packed matrices as a source shows them; nullptr if the packing does not
// take the scheme.
std::unique_ptr<UnpackedSource> Packed(const Packing& packing,
                                       const WeightScheme& scheme,
                                       Random* random, bool damaged = false) {
  if (!packing.supports(scheme, kRows, kCols).ok()) {
    return nullptr;
  }
  auto source = std::make_unique<MemorySource>();
  PackedLayout layout;
  for (const char* name : {"a", "b"}) {
    const auto bytes = packing.pack(Filled(scheme, random), QuantType::kBF16);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    const auto planes =
        packing.planes(scheme, name, kRows, kCols, QuantType::kBF16);
    auto stored = *bytes;
    if (damaged) {
      stored[0][1000] = 0x7f;  // FP8's NaN
    }
    source->Add(planes, stored);
    PackedModule module;
    module.name = name;
    module.scheme = scheme;
    module.n_rows = kRows;
    module.n_cols = kCols;
    module.packing = &packing;
    layout.modules.push_back(module);
  }
  const auto json = packing.config(layout);
  EXPECT_TRUE(json.ok()) << json.status();
  const auto document = JsonDocument::Parse(*json, "config.json");
  EXPECT_TRUE(document.ok());
  auto unpacked = UnpackSource(std::move(source), (*document)->root());
  EXPECT_TRUE(unpacked.ok()) << unpacked.status();
  return std::make_unique<UnpackedSource>(*std::move(unpacked));
}

CheckpointTensor TensorOf(std::vector<RowSegment> segments) {
  CheckpointTensor tensor;
  tensor.meta.name = "it";
  tensor.meta.type = QuantType::kF32;
  const auto n = static_cast<int64_t>(segments.size());
  tensor.meta.shape = {n * segments[0].n_rows, kCols};
  tensor.segments = std::move(segments);
  tensor.origin = {"its.file", 0};
  return tensor;
}

// Whole matrices, heads of interleaved rows, experts, halves of them, and
// what is rounded on the way.
std::vector<CheckpointTensor> TensorsOf(const TensorSource& source) {
  const TensorView* a = source.Find("a.weight");
  const TensorView* b = source.Find("b.weight");
  std::vector<CheckpointTensor> tensors;
  tensors.push_back(TensorOf({{a, 0, kRows}}));
  tensors.push_back(TensorOf({{a, 0, kRows}}));
  tensors.back().interleave_group = 64;
  tensors.push_back(TensorOf({{a, 0, kRows}, {b, 0, kRows}}));
  tensors.push_back(TensorOf({{a, 128, 128}, {b, 128, 128}}));
  tensors.push_back(TensorOf({{b, 0, kRows}}));
  tensors.back().meta.type = QuantType::kF16;
  return tensors;
}

void ExpectRows(const Device& device, const Checkpoint& model,
                const WeightRows& weight, bool as_floats) {
  WeightPieces::Options options;
  options.as_floats = as_floats;
  options.piece_bytes = 100 * kCols;  // several pieces
  options.n_threads = 2;
  const std::vector<WeightGroup> groups = {{weight}};
  auto pieces = WeightPieces::Create(device, &model, groups, options);
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  const int64_t n = weight.n_rows * kCols;
  auto memory = device.Allocate(static_cast<size_t>(4 * n), "test");
  ASSERT_TRUE(memory.ok());
  const absl::Status status = (*pieces)->Load(weight, memory->data());
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_TRUE((*pieces)->Synchronize().ok());
  std::vector<float> wanted(static_cast<size_t>(n));
  ASSERT_TRUE(ReadScaledRows(model, *weight.tensor, weight.first_row,
                             weight.n_rows, wanted.data())
                  .ok());
  auto stream = device.NewStream();
  std::vector<float> got(static_cast<size_t>(n));
  ASSERT_TRUE(stream->Copy(memory->data(), 4 * got.size(), got.data()).ok());
  ASSERT_TRUE(stream->Synchronize("test").ok());
  if (as_floats) {
    EXPECT_TRUE(got == wanted);
    return;
  }
  const auto* halves = reinterpret_cast<const uint16_t*>(got.data());
  int64_t n_wrong = 0;
  for (int64_t i = 0; i < n; ++i) {
    n_wrong += halves[i] != Bf16FromFloat(wanted[static_cast<size_t>(i)]);
  }
  EXPECT_EQ(n_wrong, 0);
}

std::unique_ptr<Checkpoint> AnyModel() {
  CheckpointOptions options;
  options.skip_tokenizer = true;
  return *Checkpoint::Open("testdata/arch/llama3", options);
}

class PackedPiecesTest : public testing::TestWithParam<const Packing*> {};

TEST_P(PackedPiecesTest, WeightsAreTheHosts) {
  const auto model = AnyModel();
  const std::vector<Device> devices = Devices();
  Random random;
  int n_tried = 0, n_taken_apart = 0;
  for (const WeightScheme& scheme : Schemes()) {
    // Enough of each to see every kind.
    if (!GetParam()->supports(scheme, kRows, kCols).ok() ||
        n_tried++ % 5 != 0) {
      continue;
    }
    SCOPED_TRACE(SchemeName(scheme));
    const auto unpacked = Packed(*GetParam(), scheme, &random);
    ASSERT_NE(unpacked, nullptr);
    for (const CheckpointTensor& tensor : TensorsOf(*unpacked->source)) {
      const int64_t n_rows = tensor.meta.n_rows();
      n_taken_apart += PackedRowStep(tensor, 0, n_rows) > 0 ? 1 : 0;
      for (const Device& device : devices) {
        ExpectRows(device, *model, {&tensor, 0, n_rows}, n_tried % 2 == 0);
        ExpectRows(device, *model, {&tensor, n_rows / 2, n_rows / 2},
                   n_tried % 2 == 1);
        // Cut where blocks and heads are not: the host's business.
        ExpectRows(device, *model, {&tensor, 1, 3}, true);
      }
    }
  }
  EXPECT_GT(n_tried, 0);
  if (GetParam()->code_layout != nullptr) {
    EXPECT_GT(n_taken_apart, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Packings, PackedPiecesTest,
    testing::ValuesIn(AllPackings().begin(), AllPackings().end()),
    [](const testing::TestParamInfo<const Packing*>& info) {
      std::string name = info.param->name;
      std::replace_if(
          name.begin(), name.end(),
          [](char c) { return !absl::ascii_isalnum(c); }, '_');
      return name;
    });

TEST(PackedPieceTest, DamageIsWhatTheReaderSaysOfIt) {
  const auto model = AnyModel();
  Random random;
  WeightScheme scheme;
  scheme.code = CodeKind::kE4M3;
  scheme.bits = 8;
  scheme.block_rows = scheme.block_cols = 128;
  scheme.scale_type = QuantType::kF32;
  scheme.activations = ActivationKind::kDynamicFp8Groups;
  const auto unpacked = Packed(*FindPacking("fp8"), scheme, &random, true);
  ASSERT_NE(unpacked, nullptr);
  const CheckpointTensor tensor = TensorsOf(*unpacked->source)[0];
  ASSERT_GT(PackedRowStep(tensor, 0, kRows), 0);
  const WeightRows weight = {&tensor, 0, kRows};
  const std::vector<WeightGroup> groups = {{weight}};
  WeightPieces::Options options;
  options.piece_bytes = 1 << 20;
  const Device device = Device::Cpu();
  auto pieces = WeightPieces::Create(device, model.get(), groups, options);
  ASSERT_TRUE(pieces.ok());
  std::vector<float> memory(kRows * kCols);
  const absl::Status status = (*pieces)->Load(weight, memory.data());
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  for (const char* part : {"element 1000 is NaN", "packed.safetensors"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status;
  }
}

}  // namespace
}  // namespace narrow
