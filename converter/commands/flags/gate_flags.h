// The flags of a gate: --max-ppl-delta, --max-kld, --max-rms-dp, --min-top1,
// --min-task-delta, --error-rate.
//
//   AddGateFlags(command, &flags);
//   ASSIGN_OR_RETURN(GateLimits limits, LimitsFromFlags(flags));

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_GATE_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_GATE_FLAGS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "validate/gate/verdict.h"

namespace narrow {

struct GateFlags {
  std::string max_ppl_delta;
  std::string max_kld;
  std::string max_rms_dp;
  std::string min_top1;
  std::string min_task_delta;
  std::string error_rate = "5%";
};

// `flags` must outlive the command.
void AddGateFlags(CLI::App* command, GateFlags* flags);

// InvalidArgument names the flag, its value and what it takes.
absl::StatusOr<GateLimits> LimitsFromFlags(const GateFlags& flags);

// A number, or with '%' at its end a hundredth of it.
struct ShareText {
  double value = 0;
  bool is_percent = false;
};
absl::StatusOr<ShareText> ParseShare(absl::string_view text);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_GATE_FLAGS_H_
