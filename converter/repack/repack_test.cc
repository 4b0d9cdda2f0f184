#include "converter/repack/repack.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/weights/weights.h"
#include "converter/packed_output/config_json.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "formats/containers.h"
#include "formats/packing/packing.h"
#include "formats/safetensors/safetensors_writer.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr char kModel[] = "testdata/arch/qwen2";  // biases, an untied head

std::string Fresh(const std::string& name) {
  const std::string path = testing::TempDir() + "/repack_" + name;
  fs::remove_all(path);
  return path;
}

// kModel with its projections quantized, by codes and scales of no meaning.
std::string Quantized(const std::string& name, const Packing& packing,
                      ZeroKind zero, float first_scale) {
  const std::string folder = Fresh(name);
  fs::copy(kModel, folder, fs::copy_options::recursive);
  const auto source = OpenTensorSource(kModel);
  EXPECT_TRUE(source.ok());
  PackedLayout layout;
  layout.dense_linears = {"lm_head"};
  std::vector<TensorMeta> metas;
  std::vector<std::vector<uint8_t>> bytes;
  for (const TensorView& view : (*source)->tensors()) {
    if (!absl::EndsWith(view.meta.name, "_proj.weight")) {
      metas.push_back(view.meta);
      bytes.emplace_back(view.data.begin(), view.data.end());
      continue;
    }
    QuantizedMatrix m;
    m.scheme.zero = zero;
    m.scheme.block_cols = 32;
    m.Resize(view.meta.shape[0], view.meta.shape[1]);
    for (size_t i = 0; i < m.codes.size(); ++i) {
      m.codes[i] = static_cast<uint8_t>((i * 2654435761u >> 12) & 15);
    }
    for (size_t i = 0; i < m.scales.size(); ++i) {
      m.scales[i] = static_cast<float>(1 + i % 50) / 1024.0f;
    }
    m.scales[0] = first_scale;
    for (size_t i = 0; i < m.zeros.size(); ++i) {
      m.zeros[i] = static_cast<float>(1 + i % 15);
    }
    PackedModule module;
    module.name = view.meta.name.substr(0, view.meta.name.size() - 7);
    module.scheme = m.scheme;
    module.n_rows = m.n_rows;
    module.n_cols = m.n_cols;
    const auto planes = packing.pack(m, QuantType::kBF16);
    EXPECT_TRUE(planes.ok()) << planes.status();
    const auto plane_metas = packing.planes(m.scheme, module.name, m.n_rows,
                                            m.n_cols, QuantType::kBF16);
    metas.insert(metas.end(), plane_metas.begin(), plane_metas.end());
    bytes.insert(bytes.end(), planes->begin(), planes->end());
    layout.modules.push_back(std::move(module));
  }
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (absl::StrContains(entry.path().filename().string(), "safetensors")) {
      fs::remove(entry.path());
    }
  }
  const auto sink = NewSafetensorsWriter(folder + "/model.safetensors");
  Metadata metadata;
  metadata.Set("format", std::string("pt"));
  EXPECT_TRUE(sink->Begin(metas, metadata).ok());
  for (const std::vector<uint8_t>& tensor : bytes) {
    EXPECT_TRUE(sink->Append(tensor).ok());
  }
  EXPECT_TRUE(sink->Finish().ok());
  const auto text = ReadTextFile(folder + "/config.json", 1 << 20);
  const auto config = SetQuantizationConfig(*text, *packing.config(layout));
  EXPECT_TRUE(WriteTextFile(folder + "/config.json", *config).ok());
  EXPECT_TRUE(WriteTextFile(folder + "/README.md", "# of the model\n").ok());
  EXPECT_TRUE(WriteTextFile(folder + "/notes.txt", "kept\n").ok());
  return folder;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& folder) {
  CheckpointOptions options;
  options.intermediate = "exact";
  options.skip_tokenizer = true;
  options.decode_quantized = true;
  return Checkpoint::Open(folder, options);
}

void ExpectSameModel(const std::string& a, const std::string& b) {
  const auto x = Open(a);
  const auto y = Open(b);
  ASSERT_TRUE(x.ok()) << x.status();
  ASSERT_TRUE(y.ok()) << y.status();
  ASSERT_EQ((*x)->tensors().size(), (*y)->tensors().size());
  for (const CheckpointTensor& tensor : (*x)->tensors()) {
    const CheckpointTensor* other = (*y)->Find(tensor.meta.name);
    ASSERT_NE(other, nullptr);
    std::vector<float> v(static_cast<size_t>(tensor.meta.n_elements()));
    std::vector<float> w(v.size());
    const int64_t n_rows = tensor.meta.n_rows();
    ASSERT_TRUE(ReadRows(**x, tensor, 0, n_rows, v.data()).ok());
    ASSERT_TRUE(ReadRows(**y, *other, 0, n_rows, w.data()).ok());
    EXPECT_EQ(v, w) << tensor.meta.name;
  }
}

RepackOptions To(const std::string& format, const std::string& out) {
  RepackOptions options;
  options.format = format;
  options.out = out;
  options.n_threads = 2;
  return options;
}

TEST(Repack, KeepsEveryWeightAndFile) {
  const std::string from =
      Quantized("from", kAwqPacking, ZeroKind::kInteger, 0.5f);
  for (const char* format :
       {"gptq", "gptq_v2", "awq", "compressed-tensors", "hqq"}) {
    SCOPED_TRACE(format);
    const std::string out = Fresh(absl::StrCat("to_", format));
    const auto result = Repack(from, To(format, out));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->from, "awq");
    EXPECT_EQ(result->to, format);
    EXPECT_GT(result->n_layers, 4);
    ExpectSameModel(from, out);
    EXPECT_EQ(*ReadTextFile(out + "/README.md", 100), "# of the model\n");
    EXPECT_EQ(*ReadTextFile(out + "/notes.txt", 100), "kept\n");
    EXPECT_FALSE(fs::exists(out + ".partial"));
    // And back: the planes are those of the beginning.
    const std::string back = Fresh("back");
    const auto again = Repack(out, To("awq", back));
    ASSERT_TRUE(again.ok()) << again.status();
    const auto a = OpenTensorSource(from);
    const auto b = OpenTensorSource(back);
    for (const TensorView& view : (*a)->tensors()) {
      const TensorView* other = (*b)->Find(view.meta.name);
      ASSERT_NE(other, nullptr) << view.meta.name;
      EXPECT_EQ(view.data, other->data) << view.meta.name;
    }
  }
}

TEST(Repack, RefusesLossesAndLeavesNothing) {
  const std::string from =
      Quantized("sym", kGptqPacking, ZeroKind::kNone, 0.5f);
  struct Case {
    const char* format;
    const char* words;
  };
  const Case kCases[] = {
      {"fp8", "int4 g32"},
      {"bitsandbytes", "repacking 'model.layers.0"},
      {"none", "no packing 'none'; known are gptq"},
  };
  for (const Case& c : kCases) {
    const std::string out = Fresh("refused");
    const auto result = Repack(from, To(c.format, out));
    EXPECT_FALSE(result.ok());
    EXPECT_TRUE(absl::StrContains(result.status().message(), c.words))
        << result.status();
    EXPECT_FALSE(fs::exists(out));
    EXPECT_FALSE(fs::exists(out + ".partial"));
  }
  const auto plain = Repack(kModel, To("gptq", Fresh("plain")));
  EXPECT_EQ(plain.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(
      absl::StrContains(plain.status().message(), "no quantized layers"))
      << plain.status();
}

// Found only when the values are read, after writing has begun.
TEST(Repack, RefusesZerosThatVersion1HasNot) {
  const std::string from =
      Quantized("v2", kGptqV2Packing, ZeroKind::kInteger, 0.5f);
  const auto source = OpenTensorSource(from);
  ASSERT_TRUE(source.ok());
  std::string path = from + "/model.safetensors";
  int64_t offset = -1;
  for (const TensorView& view : (*source)->tensors()) {
    if (absl::EndsWith(view.meta.name, ".qzeros")) {
      offset = view.origin.offset;
    }
  }
  ASSERT_GE(offset, 0);
  FILE* file = std::fopen(path.c_str(), "r+b");
  ASSERT_NE(file, nullptr);
  std::fseek(file, static_cast<long>(offset), SEEK_SET);
  std::fputc(0, file);
  std::fclose(file);
  const std::string out = Fresh("zeros");
  const auto result = Repack(from, To("gptq", out));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(result.status().message(), "use gptq_v2"))
      << result.status();
  EXPECT_FALSE(fs::exists(out));
  EXPECT_FALSE(fs::exists(out + ".partial"));
}

}  // namespace
}  // namespace narrow
