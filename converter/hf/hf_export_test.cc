// Models of every family to GGUF and back: the same checkpoint, the same
// tokens, and the same GGUF model again.

#include "converter/hf/hf_export.h"

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "calibration/weights/weights.h"
#include "converter/plan.h"
#include "formats/base/file.h"
#include "formats/containers.h"
#include "formats/gguf/gguf_writer.h"
#include "formats/tokenizer/tokenizer.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModels[] = {
    "testdata/arch/gemma2",  "testdata/arch/gemma3_text",
    "testdata/arch/llama2",  "testdata/arch/llama3",
    "testdata/arch/mistral", "testdata/arch/mixtral",
    "testdata/arch/phi3",    "testdata/arch/qwen2",
    "testdata/arch/qwen3",   "testdata/arch/qwen3_moe",
    "testdata/tiny-llama"};

const char* const kTexts[] = {
    "", "Once upon a time, there was a tiny llama.", "  two  spaces\n\n\ttab",
    "<s>special</s>tokens<|begin_of_text|>", "naïve 東京 Привет 😀 12345 I'LL"};

std::string Fresh(const std::string& name) {
  const std::string path = JoinPath(testing::TempDir(), name);
  fs::remove_all(path);
  fs::remove_all(path + ".partial");
  return path;
}

std::unique_ptr<Checkpoint> Open(const std::string& path) {
  auto model = Checkpoint::Open(path, {});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// The GGUF file of this type that `narrow convert` makes of a model.
std::string Converted(const std::string& folder, const std::string& type) {
  const std::string path = Fresh("model.gguf");
  const auto model = Open(folder);
  Recipe recipe;
  recipe.file_type = ParseFileType(type).value();
  const auto plan = MakePlan(*model, recipe, nullptr);
  EXPECT_TRUE(plan.ok()) << plan.status();
  const absl::Status status = WriteOutputs(*model, {{&*plan, path}}, {});
  EXPECT_TRUE(status.ok()) << status;
  return path;
}

std::string Exported(const Checkpoint& gguf, const HfExportOptions& options,
                     int n_threads) {
  const std::string folder = Fresh("exported");
  const auto plan = PlanHfExport(gguf, options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  PipelineOptions pipeline;
  pipeline.n_threads = n_threads;
  pipeline.memory_bytes = 1 << 16;  // pieces of few rows
  const absl::Status status = WriteHfExport(gguf, *plan, folder, pipeline);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(fs::exists(folder + ".partial"));
  return folder;
}

void ExpectSameTensors(const std::string& a_path, const std::string& b_path) {
  const auto a = OpenTensorSource(a_path);
  const auto b = OpenTensorSource(b_path);
  ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
  ASSERT_EQ((*a)->tensors().size(), (*b)->tensors().size());
  for (const TensorView& view : (*a)->tensors()) {
    const TensorView* other = (*b)->Find(view.meta.name);
    ASSERT_NE(other, nullptr) << view.meta.name;
    EXPECT_EQ(view.meta.type, other->meta.type) << view.meta.name;
    EXPECT_EQ(view.meta.shape, other->meta.shape) << view.meta.name;
    EXPECT_EQ(view.data, other->data) << view.meta.name;
  }
}

// What a Checkpoint shows of both: names, shapes, rows and metadata.
void ExpectSameModel(const Checkpoint& a, const Checkpoint& b) {
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const CheckpointTensor& tensor : a.tensors()) {
    const CheckpointTensor* other = b.Find(tensor.meta.name);
    ASSERT_NE(other, nullptr) << tensor.meta.name;
    ASSERT_EQ(tensor.meta.shape, other->meta.shape) << tensor.meta.name;
    const size_t n = static_cast<size_t>(tensor.meta.n_elements());
    std::vector<float> x(n), y(n);
    ASSERT_TRUE(ReadRows(a, tensor, 0, tensor.meta.n_rows(), x.data()).ok());
    ASSERT_TRUE(ReadRows(b, *other, 0, tensor.meta.n_rows(), y.data()).ok());
    EXPECT_EQ(x, y) << tensor.meta.name;
  }
  for (const Metadata::Entry& entry : a.metadata().entries()) {
    if (absl::StartsWith(entry.first, "general.")) {
      continue;  // follows from the name of the folder
    }
    const MetadataValue* other = b.metadata().Find(entry.first);
    ASSERT_NE(other, nullptr) << entry.first;
    EXPECT_EQ(entry.second, *other) << entry.first;
  }
}

void ExpectSameIds(const Metadata& gguf, const std::string& folder) {
  const auto theirs = Tokenizer::FromGguf(gguf);
  const auto ours = Tokenizer::FromHfDirectory(folder);
  ASSERT_TRUE(theirs.ok() && ours.ok()) << theirs.status() << ours.status();
  for (const char* text : kTexts) {
    EXPECT_EQ((*ours)->Encode(text), (*theirs)->Encode(text)) << text;
  }
}

// Files that llama.cpp's converter makes of checkpoints in NVFP4 have these.
TEST(HfExport, ScalesOfInputsAreLeftOut) {
  const auto plain = OpenTensorSource(Converted("testdata/tiny-llama", "F16"));
  ASSERT_TRUE(plain.ok()) << plain.status();
  std::vector<TensorMeta> metas;
  for (const TensorView& view : (*plain)->tensors()) {
    metas.push_back(view.meta);
  }
  metas.push_back({"blk.0.ffn_up.input_scale", QuantType::kF32, {1}});
  const std::string path = Fresh("scaled.gguf");
  const auto sink = NewGgufWriter(path);
  ASSERT_TRUE(sink->Begin(metas, (*plain)->metadata()).ok());
  for (const TensorView& view : (*plain)->tensors()) {
    ASSERT_TRUE(sink->Append(view.data).ok());
  }
  const std::vector<uint8_t> one = {0, 0, 0x80, 0x3f};
  ASSERT_TRUE(sink->Append(one).ok());
  ASSERT_TRUE(sink->Finish().ok());

  const auto scaled = Open(path);
  const std::string folder = Exported(*scaled, {}, 1);
  EXPECT_EQ(Open(folder)->tensors().size(), (*plain)->tensors().size());
}

TEST(HfExport, IsTheInverseOfConversion) {
  int n_threads = 1;
  for (const char* model : kModels) {
    SCOPED_TRACE(model);
    const auto gguf = Open(Converted(model, "BF16"));
    HfExportOptions options;
    options.max_shard_bytes = 100'000;
    const std::string folder = Exported(*gguf, options, n_threads);
    EXPECT_TRUE(FileExists(JoinPath(folder, "model.safetensors.index.json")));
    n_threads = n_threads % 3 + 1;

    // The original's logits are kept in a file beside its weights.
    const std::string original = Fresh("original");
    fs::create_directories(original);
    fs::copy(JoinPath(model, "model.safetensors"), original);
    ExpectSameTensors(original, folder);
    ExpectSameModel(*gguf, *Open(folder));
    ExpectSameIds(gguf->metadata(), folder);
  }
}

TEST(HfExport, DecodesQuantizedWeights) {
  const auto gguf = Open(Converted("testdata/arch/llama3", "Q8_0"));
  HfExportOptions options;
  options.dtype = "f32";
  const std::string folder = Exported(*gguf, options, 2);
  // As f32 the directory's rows are those that the file decodes to.
  CheckpointOptions exact;
  exact.intermediate = "exact";
  const auto model = Checkpoint::Open(folder, exact);
  ASSERT_TRUE(model.ok()) << model.status();
  ExpectSameModel(*gguf, **model);
}

TEST(HfExport, BytesDoNotDependOnThreads) {
  const auto gguf = Open(Converted("testdata/arch/mixtral", "Q4_0"));
  const std::string one = Exported(*gguf, {}, 1);
  const std::string kept = Fresh("kept");
  fs::rename(one, kept);
  const std::string seven = Exported(*gguf, {}, 7);
  for (const auto& entry : fs::directory_iterator(kept)) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(*ReadTextFile(JoinPath(kept, name), 1 << 28),
              *ReadTextFile(JoinPath(seven, name), 1 << 28))
        << name;
  }
}

TEST(HfExport, TakesTheTypeOfWhatIsNotQuantized) {
  const struct {
    const char* file_type;
    QuantType dtype;
  } kRows[] = {{"BF16", QuantType::kBF16},
               {"F16", QuantType::kF16},
               {"F32", QuantType::kF32},
               // Nothing but vectors, which were bf16.
               {"Q8_0", QuantType::kBF16}};
  for (const auto& row : kRows) {
    const auto gguf = Open(Converted("testdata/arch/qwen3", row.file_type));
    const auto plan = PlanHfExport(*gguf, {});
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->dtype, row.dtype) << row.file_type;
  }
}

// A GGUF file like `model` with other tensors or metadata.
struct Edit {
  std::string drop;    // a tensor
  std::string add;     // another one, [4] of f32
  std::string rename;  // a tensor that becomes `to`
  std::string to;
  float first_weight = 0;  // of token_embd, if not 0; F32 files only
};

std::string Edited(const std::string& path, const Edit& edit) {
  const auto source = OpenTensorSource(path).value();
  std::vector<TensorMeta> metas;
  std::vector<std::vector<uint8_t>> data;
  for (const TensorView& view : source->tensors()) {
    if (view.meta.name == edit.drop) continue;
    metas.push_back(view.meta);
    if (view.meta.name == edit.rename) metas.back().name = edit.to;
    data.emplace_back(view.data.begin(), view.data.end());
    if (view.meta.name == "token_embd.weight" && edit.first_weight != 0) {
      std::memcpy(data.back().data(), &edit.first_weight, 4);
    }
  }
  if (!edit.add.empty()) {
    metas.push_back({edit.add, QuantType::kF32, {4}});
    data.emplace_back(16);
  }
  const std::string out = Fresh("edited.gguf");
  const auto sink = NewGgufWriter(out);
  EXPECT_TRUE(sink->Begin(metas, source->metadata()).ok());
  for (const auto& bytes : data) EXPECT_TRUE(sink->Append(bytes).ok());
  EXPECT_TRUE(sink->Finish().ok());
  return out;
}

TEST(HfExport, RefusalsNameTheTensor) {
  const std::string path = Converted("testdata/arch/llama2", "F32");
  const struct {
    Edit edit;
    absl::StatusCode code;
    const char* word;
  } kRows[] = {
      {{"blk.1.ffn_up.weight", "", "", "", 0},
       absl::StatusCode::kDataLoss,
       "'blk.1.ffn_up.weight' is missing"},
      {{"", "blk.0.attn_sinks.weight", "", "", 0},
       absl::StatusCode::kUnimplemented,
       "blk.0.attn_sinks.weight"},
      {{"", "blk.99.attn_q.bias", "", "", 0},
       absl::StatusCode::kUnimplemented,
       "blk.99.attn_q.bias"},
      {{"", "blk.0.attn_q.bias", "", "", 0},
       absl::StatusCode::kDataLoss,
       "metadata says"},
      {{"", "", "output_norm.weight", "enc.output_norm.weight", 0},
       absl::StatusCode::kUnimplemented,
       "enc.output_norm.weight"},
  };
  for (const auto& row : kRows) {
    const absl::Status status =
        PlanHfExport(*Open(Edited(path, row.edit)), {}).status();
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), row.word)) << status;
  }
}

TEST(HfExport, WeightsBeyondTheTypeAreAnErrorThatLeavesNothing) {
  const std::string path = Converted("testdata/arch/llama2", "F32");
  const auto gguf = Open(Edited(path, {"", "", "", "", 1e6f}));
  HfExportOptions options;
  options.dtype = "f16";
  const auto plan = PlanHfExport(*gguf, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::string folder = Fresh("overflow");
  const absl::Status status = WriteHfExport(*gguf, *plan, folder, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  for (const char* word :
       {"model.embed_tokens.weight", "row 0, column 0", "f16"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), word)) << status;
  }
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_FALSE(fs::exists(folder + ".partial"));
}

TEST(HfExport, ReplacesNothing) {
  const auto gguf = Open(Converted("testdata/arch/llama2", "BF16"));
  const auto plan = PlanHfExport(*gguf, {});
  const std::string folder = Fresh("taken");
  fs::create_directories(folder);
  EXPECT_TRUE(WriteHfExport(*gguf, *plan, folder + "/", {}).ok());
  EXPECT_EQ(WriteHfExport(*gguf, *plan, folder, {}).code(),
            absl::StatusCode::kInvalidArgument);
  // A file of somebody else where the unfinished output would be.
  const std::string other = Fresh("other");
  fs::create_directories(other + ".partial");
  ASSERT_TRUE(WriteTextFile(other + ".partial/notes.txt", "mine").ok());
  EXPECT_EQ(WriteHfExport(*gguf, *plan, other, {}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(FileExists(other + ".partial/notes.txt"));
  // What a killed run left is taken over.
  fs::remove(other + ".partial/notes.txt");
  ASSERT_TRUE(
      WriteTextFile(other + ".partial/model-00009-of-00009.safetensors", "x")
          .ok());
  EXPECT_TRUE(WriteHfExport(*gguf, *plan, other, {}).ok());
  EXPECT_FALSE(FileExists(other + "/model-00009-of-00009.safetensors"));
}

TEST(HfExport, DirectoriesAndUnknownTypesAreRequestsThatMeanNothing) {
  EXPECT_EQ(PlanHfExport(*Open("testdata/arch/llama2"), {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  HfExportOptions options;
  options.dtype = "q8_0";
  EXPECT_EQ(
      PlanHfExport(*Open(Converted("testdata/arch/llama2", "BF16")), options)
          .status()
          .code(),
      absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace narrow
