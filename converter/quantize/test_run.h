// What tests of whole runs share: a folder of their own, and one run.

#ifndef NARROW_CONVERTER_QUANTIZE_TEST_RUN_H_
#define NARROW_CONVERTER_QUANTIZE_TEST_RUN_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/quantize_run.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "kernels/device.h"

namespace narrow {

// Empty, under the name of the running test.
inline std::string Folder(const std::string& name) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) /
      absl::StrCat(
          testing::UnitTest::GetInstance()->current_test_info()->name(), "_",
          name);
  std::filesystem::remove_all(path);
  std::filesystem::remove_all(path.string() + ".partial");
  return path.string();
}

// A model quantized as a recipe says; its files have the sizes that the plan
// gave them.
inline absl::StatusOr<QuantizeResult> Quantize(
    const std::string& model, const std::string& recipe_text,
    const std::string& out, int n_threads = 2,
    int64_t shard_bytes = int64_t{1} << 40, std::optional<Device> device = {}) {
  const auto recipe = ParseRecipe(recipe_text, "test");
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  auto input = OpenModelInput(model, {});
  if (!input.ok()) {
    return input.status();
  }
  RunOptions options;
  options.out = out;
  options.plan.max_shard_bytes = shard_bytes;
  options.n_threads = n_threads;
  options.device = std::move(device);
  auto plan = PlanQuantize(**input, *recipe, options.plan);
  if (!plan.ok()) {
    return plan.status();
  }
  auto result = RunQuantize(**input, *plan, options);
  if (result.ok()) {
    // A dry run's sizes are those of the files.
    int64_t n_bytes = 0;
    for (const OutputShard& shard : plan->shards) {
      const auto size = static_cast<int64_t>(
          std::filesystem::file_size(out + "/" + shard.name));
      EXPECT_EQ(size, shard.file_bytes);
      n_bytes += size;
    }
    EXPECT_EQ(n_bytes, plan->file_bytes);
  }
  return result;
}

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_TEST_RUN_H_
