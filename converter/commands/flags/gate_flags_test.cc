#include "converter/commands/flags/gate_flags.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace narrow {
namespace {

using ::testing::HasSubstr;

TEST(LimitsFromFlags, SharesAndNumbers) {
  GateFlags flags;
  EXPECT_FALSE(LimitsFromFlags(flags)->any());
  EXPECT_EQ(LimitsFromFlags(flags)->error_rate, 0.05);
  flags.max_ppl_delta = "1.5%";
  flags.max_kld = "0.02";
  flags.max_rms_dp = "5%";
  flags.min_top1 = "0.95";
  flags.min_task_delta = "-1%";
  flags.error_rate = "1%";
  const auto limits = LimitsFromFlags(flags);
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_DOUBLE_EQ(*limits->max_perplexity_ratio, 0.015);
  EXPECT_FALSE(limits->max_perplexity_difference.has_value());
  EXPECT_DOUBLE_EQ(*limits->max_divergence, 0.02);
  EXPECT_DOUBLE_EQ(*limits->max_rms_delta_p, 0.05);
  EXPECT_DOUBLE_EQ(*limits->min_same_top, 0.95);
  EXPECT_DOUBLE_EQ(*limits->min_task_delta, -0.01);
  EXPECT_DOUBLE_EQ(limits->error_rate, 0.01);
  flags.max_ppl_delta = "0.1";
  EXPECT_DOUBLE_EQ(*LimitsFromFlags(flags)->max_perplexity_difference, 0.1);
}

TEST(LimitsFromFlags, WhatIsNoLimitIsNamed) {
  const auto message = [](std::string GateFlags::*flag, const char* value) {
    GateFlags flags;
    flags.*flag = value;
    const auto limits = LimitsFromFlags(flags);
    EXPECT_EQ(limits.status().code(), absl::StatusCode::kInvalidArgument)
        << value;
    return std::string(limits.status().message());
  };
  EXPECT_THAT(message(&GateFlags::max_ppl_delta, "1 percent"),
              HasSubstr("--max-ppl-delta 1 percent: "));
  message(&GateFlags::max_ppl_delta, "%");
  message(&GateFlags::max_ppl_delta, "nan");
  message(&GateFlags::max_ppl_delta, "-200%");
  EXPECT_THAT(message(&GateFlags::max_kld, "5%"), HasSubstr("nats"));
  message(&GateFlags::max_kld, "-1");
  message(&GateFlags::max_kld, "inf");
  // llama-perplexity prints 5 for five per cent.
  EXPECT_THAT(message(&GateFlags::max_rms_dp, "5"), HasSubstr("such as 5%"));
  message(&GateFlags::min_top1, "95");
  message(&GateFlags::min_task_delta, "-2");
  message(&GateFlags::error_rate, "0");
  message(&GateFlags::error_rate, "50%");
}

}  // namespace
}  // namespace narrow
