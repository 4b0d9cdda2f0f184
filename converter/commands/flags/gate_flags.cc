#include "converter/commands/flags/gate_flags.h"

#include <cmath>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

absl::Status Refuse(absl::string_view flag, absl::string_view value,
                    absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, " ", value, ": ", wanted));
}

// A share between `least` and `most`, as "5%" or 0.05.
absl::Status ReadShare(absl::string_view flag, const std::string& text,
                       double least, double most, absl::string_view example,
                       std::optional<double>* out) {
  if (text.empty()) {
    return absl::OkStatus();
  }
  const auto share = ParseShare(text);
  if (!share.ok() || share->value < least || share->value > most) {
    return Refuse(flag, text,
                  absl::StrCat("a share between ", 100 * least, "% and ",
                               100 * most, "% is wanted, such as ", example));
  }
  *out = share->value;
  return absl::OkStatus();
}

absl::Status ReadPerplexityDelta(const std::string& text, GateLimits* limits) {
  if (text.empty()) {
    return absl::OkStatus();
  }
  const auto delta = ParseShare(text);
  if (!delta.ok() || delta->value <= -1) {
    return Refuse("max-ppl-delta", text,
                  "a share of the original's perplexity such as 1%, or a "
                  "difference such as 0.1, is wanted");
  }
  (delta->is_percent ? limits->max_perplexity_ratio
                     : limits->max_perplexity_difference) = delta->value;
  return absl::OkStatus();
}

absl::Status ReadDivergence(const std::string& text, GateLimits* limits) {
  if (text.empty()) {
    return absl::OkStatus();
  }
  const auto nats = ParseShare(text);
  if (!nats.ok() || nats->is_percent || nats->value < 0) {
    return Refuse("max-kld", text, "a number of nats such as 0.05 is wanted");
  }
  limits->max_divergence = nats->value;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ShareText> ParseShare(absl::string_view text) {
  ShareText share;
  absl::string_view number = text;
  share.is_percent = absl::ConsumeSuffix(&number, "%");
  if (!absl::SimpleAtod(number, &share.value) || !std::isfinite(share.value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no number"));
  }
  if (share.is_percent) {
    share.value /= 100;
  }
  return share;
}

void AddGateFlags(CLI::App* command, GateFlags* flags) {
  const auto add = [command](const char* name, std::string* value,
                             const char* type, const char* help) {
    command->add_option(name, *value, help)->type_name(type)->group("Gate");
  };
  add("--max-ppl-delta", &flags->max_ppl_delta, "X",
      "greatest rise of perplexity: 1% of the original's, or 0.1 absolute");
  add("--max-kld", &flags->max_kld, "NATS",
      "greatest mean KL divergence, nats a token");
  add("--max-rms-dp", &flags->max_rms_dp, "SHARE",
      "greatest RMS change of the right token's probability: 5% or 0.05");
  add("--min-top1", &flags->min_top1, "SHARE",
      "least share of tokens where both models' top token is the same: 95% or "
      "0.95");
  add("--min-task-delta", &flags->min_task_delta, "SHARE",
      "least change of a task's accuracy: -1% lets it fall by one point");
  add("--error-rate", &flags->error_rate, "SHARE",
      "greatest chance that a candidate passes or fails wrongly (default: 5%)");
}

absl::StatusOr<GateLimits> LimitsFromFlags(const GateFlags& flags) {
  GateLimits limits;
  RETURN_IF_ERROR(ReadPerplexityDelta(flags.max_ppl_delta, &limits));
  RETURN_IF_ERROR(ReadDivergence(flags.max_kld, &limits));
  RETURN_IF_ERROR(ReadShare("max-rms-dp", flags.max_rms_dp, 0, 1, "5%",
                            &limits.max_rms_delta_p));
  RETURN_IF_ERROR(
      ReadShare("min-top1", flags.min_top1, 0, 1, "95%", &limits.min_same_top));
  RETURN_IF_ERROR(ReadShare("min-task-delta", flags.min_task_delta, -1, 1,
                            "-1%", &limits.min_task_delta));
  std::optional<double> error_rate;
  RETURN_IF_ERROR(
      ReadShare("error-rate", flags.error_rate, 1e-9, 0.49, "5%", &error_rate));
  limits.error_rate = error_rate.value_or(limits.error_rate);
  return limits;
}

}  // namespace narrow
