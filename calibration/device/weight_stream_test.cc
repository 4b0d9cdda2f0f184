// Weights on a device against those that the host reads: every type, every
// way to the device, every amount of memory; on the CPU's device and on a card
// where there is one.

#include "calibration/device/weight_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/weights/weights.h"
#include "formats/base/float16.h"
#include "formats/gguf/gguf_writer.h"
#include "formats/overlay_source.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

std::vector<Device> Devices() {
  std::vector<Device> devices = {Device::Cpu()};
  if (const auto card = OpenDevice(DeviceChoice::kCuda); card.ok()) {
    devices.push_back(*card);
  }
  return devices;
}

std::unique_ptr<Checkpoint> OpenFixture(const std::string& family,
                                        const std::string& intermediate) {
  CheckpointOptions options;
  options.intermediate = intermediate;
  options.skip_tokenizer = true;
  auto model =
      Checkpoint::Open(absl::StrCat("testdata/arch/", family), options);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// Of each block all matrices, and the output matrix as a last group.
std::vector<WeightGroup> GroupsOf(const ModelTensors& tensors) {
  std::vector<WeightGroup> groups;
  for (const BlockTensors& block : tensors.blocks) {
    WeightGroup group = {block.q.weight, block.k.weight, block.v.weight,
                         block.attn_output.weight};
    if (block.has_experts) {
      for (const WeightRows& stack :
           {block.expert_gate, block.expert_up, block.expert_down}) {
        group.push_back({stack.tensor, 0, stack.tensor->meta.n_rows()});
      }
    } else {
      for (const LinearTensors& layer : {block.gate, block.up, block.down}) {
        group.push_back(layer.weight);
      }
    }
    groups.push_back(group);
  }
  groups.push_back({tensors.output});
  return groups;
}

// What ReadScaledRows gives, as bits of the type that is wanted.
std::vector<uint8_t> Wanted(const Checkpoint& model, const WeightRows& weight,
                            bool as_floats) {
  std::vector<float> rows(static_cast<size_t>(weight.n_rows * weight.n_cols()));
  EXPECT_TRUE(ReadScaledRows(model, *weight.tensor, weight.first_row,
                             weight.n_rows, rows.data())
                  .ok());
  std::vector<uint8_t> bytes(rows.size() * (as_floats ? 4 : 2));
  for (size_t i = 0; i < rows.size(); ++i) {
    if (as_floats) {
      reinterpret_cast<float*>(bytes.data())[i] = rows[i];
    } else {
      reinterpret_cast<uint16_t*>(bytes.data())[i] = Bf16FromFloat(rows[i]);
    }
  }
  return bytes;
}

void ExpectGroup(const Checkpoint& model, const WeightGroup& group,
                 absl::Span<const DeviceMatrix> matrices, bool as_floats,
                 DeviceStream* stream) {
  ASSERT_EQ(matrices.size(), group.size());
  for (size_t i = 0; i < group.size(); ++i) {
    EXPECT_EQ(matrices[i].n_rows, group[i].n_rows);
    EXPECT_EQ(matrices[i].n_cols, group[i].n_cols());
    EXPECT_EQ(matrices[i].is_float, as_floats);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(matrices[i].data) % 256, 0u);
    const std::vector<uint8_t> wanted = Wanted(model, group[i], as_floats);
    std::vector<uint8_t> got(wanted.size());
    ASSERT_TRUE(stream->Copy(matrices[i].data, got.size(), got.data()).ok());
    ASSERT_TRUE(stream->Synchronize("test").ok());
    EXPECT_TRUE(got == wanted) << group[i].name();
  }
}

// All groups, twice over.
void ExpectGroups(const Device& device, const Checkpoint& model,
                  const std::vector<WeightGroup>& groups,
                  const WeightStreamOptions& options) {
  auto weights = WeightStream::Create(device, &model, groups, options);
  ASSERT_TRUE(weights.ok()) << weights.status();
  auto stream = device.NewStream();
  ASSERT_TRUE(stream.ok());
  for (int pass = 0; pass < 2; ++pass) {
    for (size_t g = 0; g < groups.size(); ++g) {
      const auto index = static_cast<int64_t>(g);
      const auto matrices = (*weights)->Acquire(index, &*stream);
      ASSERT_TRUE(matrices.ok()) << matrices.status();
      ExpectGroup(model, groups[g], *matrices, options.as_floats, &*stream);
      ASSERT_TRUE((*weights)->Release(index, &*stream).ok());
    }
  }
}

WeightStreamOptions SmallPieces(bool as_floats) {
  WeightStreamOptions options;
  options.as_floats = as_floats;
  options.piece_bytes = 5000;
  options.n_threads = 2;
  return options;
}

TEST(WeightStreamTest, FamiliesInEveryPrecision) {
  for (const Device& device : Devices()) {
    for (const char* family :
         {"llama3", "mixtral", "phi3", "gemma3_text", "qwen3_moe"}) {
      for (const char* intermediate : {"exact", "f16", "bf16"}) {
        SCOPED_TRACE(absl::StrCat(family, " ", intermediate));
        const auto model = OpenFixture(family, intermediate);
        const auto tensors = FindModelTensors(*model);
        ASSERT_TRUE(tensors.ok()) << tensors.status();
        for (const bool as_floats : {false, true}) {
          ExpectGroups(device, *model, GroupsOf(*tensors),
                       SmallPieces(as_floats));
        }
      }
    }
  }
}

// A file with a matrix of every type that there is a codec for.
std::string FileOfAllTypes() {
  const std::string path = testing::TempDir() + "/types.gguf";
  constexpr int64_t kRows = 6, kCols = 512;
  std::vector<TensorMeta> metas;
  std::vector<std::vector<uint8_t>> bytes;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (const BlockCodec* codec : AllCodecs()) {
    metas.push_back({absl::StrCat("m.", TypeName(codec->type)),
                     codec->type,
                     {kRows, kCols}});
    std::vector<float> weights(kRows * kCols);
    for (float& weight : weights) {
      weight = normal(generator);
    }
    const std::vector<float> importance(kCols, 1.0f);
    bytes.emplace_back(static_cast<size_t>(metas.back().n_bytes()));
    codec->EncodeRows(weights.data(), kRows, kCols, importance.data(),
                      bytes.back().data());
  }
  Metadata metadata;
  metadata.Set("general.architecture", std::string("none"));
  const auto sink = NewGgufWriter(path);
  EXPECT_TRUE(sink->Begin(metas, metadata).ok());
  for (const std::vector<uint8_t>& its : bytes) {
    EXPECT_TRUE(sink->Append(its).ok());
  }
  EXPECT_TRUE(sink->Finish().ok());
  return path;
}

TEST(WeightStreamTest, EveryTypeWithAndWithoutMoreToDo) {
  const auto model = Checkpoint::Open(FileOfAllTypes(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  // The same with an offset, rounding, and scales of two matrices.
  std::vector<CheckpointTensor> changed((*model)->tensors().begin(),
                                        (*model)->tensors().end());
  std::vector<WeightGroup> groups;
  for (const CheckpointTensor& tensor : (*model)->tensors()) {
    groups.push_back({{&tensor, 0, 6}, {&tensor, 1, 3}});
  }
  for (size_t i = 0; i < changed.size(); ++i) {
    CheckpointTensor& tensor = changed[i];
    tensor.offset = i % 2 == 0 ? 0.25f : 0.0f;
    tensor.scales = {0.5f, 3.0f};
    if (tensor.stored == QuantType::kF32) {
      tensor.meta.type = QuantType::kF16;
    }
    groups.push_back({{&tensor, 0, 6}, {&tensor, 2, 3}});
  }
  EXPECT_GT(groups.size(), 50u);
  for (const Device& device : Devices()) {
    for (const bool as_floats : {false, true}) {
      ExpectGroups(device, **model, groups, SmallPieces(as_floats));
    }
  }
}

TEST(WeightStreamTest, AnyMemoryDownToOnePlace) {
  const auto model = OpenFixture("llama3", "exact");
  const auto tensors = FindModelTensors(*model);
  ASSERT_TRUE(tensors.ok());
  // Enough groups for some to stay and some to take turns.
  std::vector<WeightGroup> groups;
  for (int i = 0; i < 4; ++i) {
    for (const WeightGroup& group : GroupsOf(*tensors)) {
      groups.push_back(group);
    }
  }
  int64_t total = 0, largest = 0;
  for (const WeightGroup& group : groups) {
    int64_t n = 0;
    for (const WeightRows& weight : group) {
      n += (weight.n_rows * weight.n_cols() * 2 + 255) / 256 * 256;
    }
    total += n;
    largest = std::max(largest, n);
  }
  for (const Device& device : Devices()) {
    WeightStreamOptions options = SmallPieces(false);
    std::vector<std::string> reports;
    options.report = [&reports](absl::string_view why) {
      reports.emplace_back(why);
    };
    for (const int64_t n_bytes : {total, total / 2, 2 * largest}) {
      options.max_device_bytes = n_bytes;
      ExpectGroups(device, *model, groups, options);
    }
    EXPECT_TRUE(reports.empty());
    // These rows are stored as they are wanted: pieces take no memory.
    options.max_device_bytes = 2 * largest - 1;
    ExpectGroups(device, *model, groups, options);
    EXPECT_EQ(reports.size(), 1u);
    options.prefetch = false;
    ExpectGroups(device, *model, groups, options);
    options.max_device_bytes = largest - 1;
    const auto none =
        WeightStream::Create(device, model.get(), groups, options);
    ASSERT_TRUE(absl::IsResourceExhausted(none.status())) << none.status();
    EXPECT_TRUE(
        absl::StrContains(none.status().message(), std::to_string(largest)))
        << none.status();
  }
}

TEST(WeightStreamTest, SomeStayAndOthersTakeTurns) {
  const auto model = OpenFixture("llama3", "exact");
  const auto tensors = FindModelTensors(*model);
  ASSERT_TRUE(tensors.ok());
  const WeightGroup one = {tensors->blocks[0].q.weight};
  const std::vector<WeightGroup> groups(6, one);
  const int64_t size = one[0].n_rows * one[0].n_cols() * 2;
  WeightStreamOptions options = SmallPieces(false);
  options.max_device_bytes = 4 * size;
  const Device device = Device::Cpu();
  auto weights = WeightStream::Create(device, model.get(), groups, options);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ((*weights)->n_places(), 2);
  EXPECT_TRUE((*weights)->keeps(1));
  EXPECT_FALSE((*weights)->keeps(2));
  auto stream = device.NewStream();
  // A third of those that take turns has no place beside two others.
  ASSERT_TRUE((*weights)->Acquire(0, &*stream).ok());
  ASSERT_TRUE((*weights)->Acquire(3, &*stream).ok());
  ASSERT_TRUE((*weights)->Acquire(5, &*stream).ok());
  EXPECT_TRUE(
      absl::IsFailedPrecondition((*weights)->Acquire(2, &*stream).status()));
  EXPECT_TRUE(
      absl::IsFailedPrecondition((*weights)->Acquire(5, &*stream).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition((*weights)->Forget()));
  ASSERT_TRUE((*weights)->Release(3, &*stream).ok());
  EXPECT_TRUE((*weights)->Acquire(2, &*stream).ok());
}

// Fewer when the device has less than it says.
TEST(WeightStreamTest, ShortMemoryIsReported) {
  const auto model = OpenFixture("llama3", "exact");
  const auto tensors = FindModelTensors(*model);
  ASSERT_TRUE(tensors.ok());
  const WeightGroup one = {tensors->blocks[0].q.weight};
  const std::vector<WeightGroup> groups(8, one);
  const int64_t size = one[0].n_rows * one[0].n_cols() * 2;
  WeightStreamOptions options = SmallPieces(false);
  options.max_device_bytes = 100 * size;
  std::string reports;
  options.report = [&reports](absl::string_view why) {
    absl::StrAppend(&reports, why, "\n");
  };
  const Device device = Device::Cpu(/*memory_limit=*/5 * size);
  ExpectGroups(device, *model, groups, options);
  EXPECT_TRUE(absl::StrContains(reports, "bytes")) << reports;
}

// Rows that change, and a matrix that cannot be read.
class BrokenRows : public RowSource {
 public:
  absl::Status ReadRows(int64_t, int64_t, float*) const override {
    return absl::DataLossError("tensor 'it' is damaged; reading its.file");
  }
};

class OneTensor : public TensorSource {
 public:
  OneTensor(const TensorMeta& meta, const RowSource* rows) {
    view_.meta = meta;
    view_.meta.type = QuantType::kF32;
    view_.rows = rows;
  }
  absl::Span<const TensorView> tensors() const override { return {&view_, 1}; }
  const TensorView* Find(absl::string_view name) const override {
    return name == view_.meta.name ? &view_ : nullptr;
  }
  const Metadata& metadata() const override { return metadata_; }
  absl::string_view format() const override { return "gguf"; }
  void Release(absl::Span<const uint8_t>) const override {}

 private:
  TensorView view_;
  Metadata metadata_;
};

TEST(WeightStreamTest, ErrorsAreOfTheGroupThatTheyBefell) {
  const auto model = OpenFixture("llama3", "exact");
  const BrokenRows broken;
  const auto shown = Checkpoint::WithRows(
      *model, std::make_unique<OneTensor>(
                  model->Find("blk.1.attn_k.weight")->meta, &broken));
  const auto tensors = FindModelTensors(*shown);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  const std::vector<WeightGroup> groups = GroupsOf(*tensors);
  const Device device = Device::Cpu();
  auto weights =
      WeightStream::Create(device, shown.get(), groups, SmallPieces(false));
  ASSERT_TRUE(weights.ok()) << weights.status();
  auto stream = device.NewStream();
  ASSERT_TRUE((*weights)->Acquire(0, &*stream).ok());
  ASSERT_TRUE((*weights)->Release(0, &*stream).ok());
  for (int i = 0; i < 2; ++i) {
    const auto status = (*weights)->Acquire(1, &*stream).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "its.file")) << status;
  }
  EXPECT_TRUE((*weights)->Acquire(2, &*stream).ok());
}

TEST(WeightStreamTest, ForgottenGroupsAreReadAgain) {
  OverlaySource* overlay = nullptr;
  CheckpointOptions options;
  options.intermediate = "exact";
  options.skip_tokenizer = true;
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  options.wrap_source = [&](std::unique_ptr<TensorSource> inner) {
    auto wrapped = std::make_unique<OverlaySource>(
        std::move(inner), std::vector<std::string>{name});
    overlay = wrapped.get();
    return wrapped;
  };
  const auto model = Checkpoint::Open("testdata/arch/llama3", options);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto tensors = FindModelTensors(**model);
  ASSERT_TRUE(tensors.ok());
  const std::vector<WeightGroup> groups = GroupsOf(*tensors);
  const Device device = Device::Cpu();
  WeightStreamOptions small = SmallPieces(true);
  small.prefetch = false;
  auto weights = WeightStream::Create(device, model->get(), groups, small);
  ASSERT_TRUE(weights.ok());
  auto stream = device.NewStream();
  for (const bool replaced : {false, true}) {
    if (replaced) {
      const int64_t n = overlay->Find(name)->meta.n_elements();
      ASSERT_TRUE(
          overlay
              ->Replace(name, std::vector<float>(static_cast<size_t>(n), 0.75f))
              .ok());
      ASSERT_TRUE((*weights)->Forget().ok());
    }
    const auto matrices = (*weights)->Acquire(0, &*stream);
    ASSERT_TRUE(matrices.ok()) << matrices.status();
    ExpectGroup(**model, groups[0], *matrices, true, &*stream);
    ASSERT_TRUE((*weights)->Release(0, &*stream).ok());
  }
}

}  // namespace
}  // namespace narrow
