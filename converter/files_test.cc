// Whole files against those of llama.cpp's converter and llama-quantize:
// testdata/llama_cpp/files.tsv has their sizes and checksums.

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "calibration/importance/importance.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/file.h"
#include "kernels/device.h"

namespace narrow {
namespace {

constexpr char kGoldens[] = "testdata/llama_cpp/files.tsv";

struct Golden {
  std::string model, file_type, imatrix, crc;
  int64_t n_bytes;
};

std::vector<Golden> ReadGoldens() {
  std::vector<Golden> goldens;
  const std::string text = ReadTextFile(kGoldens, 1 << 20).value();
  for (const absl::string_view line :
       absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (line[0] == '#') {
      continue;
    }
    const std::vector<std::string> cells = absl::StrSplit(line, '\t');
    goldens.push_back({cells[0], cells[1], cells[2], cells[4],
                       std::strtoll(cells[3].c_str(), nullptr, 10)});
  }
  return goldens;
}

std::string CrcOf(const std::string& path) {
  const auto file = MappedFile::Open(path).value();
  return absl::StrCat(absl::Hex(
      crc32(0, file->bytes().data(), static_cast<uInt>(file->bytes().size())),
      absl::kZeroPad8));
}

// All rows of one model and importance matrix in one call, so that several
// outputs of one read are what is tested.
void ExpectSameFiles(const std::string& model_path, const std::string& imatrix,
                     const std::vector<Golden>& goldens, int n_threads,
                     const std::optional<Device>& device = std::nullopt) {
  SCOPED_TRACE(model_path + " " + imatrix);
  const auto model = Checkpoint::Open(model_path, {});
  ASSERT_TRUE(model.ok()) << model.status();
  std::optional<ImportanceMatrix> importance;
  if (imatrix != "-") {
    importance = ReadImportance(imatrix).value();
  }
  std::vector<Plan> plans;
  for (const Golden& golden : goldens) {
    Recipe recipe;
    recipe.file_type = ParseFileType(golden.file_type).value();
    auto plan = MakePlan(**model, recipe,
                         importance.has_value() ? &*importance : nullptr);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->file_bytes, golden.n_bytes) << golden.file_type;
    plans.push_back(*std::move(plan));
  }
  std::vector<Output> outputs;
  for (size_t i = 0; i < plans.size(); ++i) {
    outputs.push_back(
        {&plans[i], JoinPath(::testing::TempDir(),
                             absl::StrCat(goldens[i].file_type, ".gguf"))});
  }
  PipelineOptions options;
  options.n_threads = n_threads;
  options.device = device;
  const absl::Status status = WriteOutputs(**model, outputs, options);
  ASSERT_TRUE(status.ok()) << status;
  for (size_t i = 0; i < outputs.size(); ++i) {
    EXPECT_EQ(CrcOf(outputs[i].path), goldens[i].crc) << goldens[i].file_type;
  }
}

TEST(FilesTest, AreByteForByteLlamaCppsOwn) {
  std::map<std::pair<std::string, std::string>, std::vector<Golden>> groups;
  for (const Golden& golden : ReadGoldens()) {
    groups[{golden.model, golden.imatrix}].push_back(golden);
  }
  ASSERT_EQ(groups.size(), 9u);
  int n_threads = 1;
  for (const auto& [key, goldens] : groups) {
    ExpectSameFiles(key.first, key.second, goldens, n_threads);
    n_threads = n_threads % 3 + 1;
  }
}

// The code of a card's threads, which the processor runs slowly: one type of
// each family of encoders, bfloat16 weights, with importance and without.
TEST(FilesTest, DevicesGiveTheSameBytes) {
  std::map<std::pair<std::string, std::string>, std::vector<Golden>> groups;
  for (const Golden& golden : ReadGoldens()) {
    const bool is_plain =
        golden.imatrix == "-" &&
        (golden.file_type == "Q4_K_M" || golden.file_type == "Q8_0" ||
         golden.file_type == "F16");
    const bool is_weighted =
        golden.imatrix != "-" &&
        (golden.file_type == "IQ2_XS" || golden.file_type == "Q3_K_S");
    if (is_plain || is_weighted) {
      groups[{golden.model, golden.imatrix}].push_back(golden);
    }
  }
  ASSERT_GE(groups.size(), 2u);
  for (const auto& [key, goldens] : groups) {
    ExpectSameFiles(key.first, key.second, goldens, 2, Device::Cpu());
  }
}

}  // namespace
}  // namespace narrow
