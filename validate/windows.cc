#include "validate/windows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace narrow {
namespace {

// A window is held in memory as hidden states, and attention is quadratic.
constexpr int64_t kMaxContext = int64_t{1} << 20;

std::vector<ScoredWindow> PlanLlamaCpp(int64_t n_text_tokens,
                                       const WindowSettings& settings) {
  std::vector<ScoredWindow> windows;
  const int64_t context = settings.context;
  for (int64_t begin = 0; begin + context <= n_text_tokens; begin += context) {
    windows.push_back({begin, context, context / 2 + 1});
  }
  return windows;
}

std::vector<ScoredWindow> PlanHuggingFace(int64_t n_text_tokens,
                                          const WindowSettings& settings) {
  std::vector<ScoredWindow> windows;
  int64_t scored_end = 0;  // tokens before it need no score any more
  for (int64_t begin = 0; scored_end < n_text_tokens;
       begin += settings.stride) {
    const int64_t end = std::min(begin + settings.context, n_text_tokens);
    const ScoredWindow window{begin, end - begin,
                              std::max<int64_t>(scored_end - begin, 1)};
    // A single token left over beyond whole windows has no context.
    if (window.n_scored() > 0) {
      windows.push_back(window);
    }
    scored_end = end;
  }
  return windows;
}

}  // namespace

absl::string_view ProtocolName(Protocol protocol) {
  return protocol == Protocol::kLlamaCpp ? "llama.cpp" : "huggingface";
}

absl::Status CheckWindowSettings(const WindowSettings& settings) {
  // The least context that scores a token: 3 / 2 + 1 = 2 < 3.
  const int64_t least = settings.protocol == Protocol::kLlamaCpp ? 3 : 2;
  if (settings.context < least || settings.context > kMaxContext) {
    return absl::InvalidArgumentError(
        absl::StrCat("context of ", settings.context, " tokens; ", least,
                     " to ", kMaxContext, " are possible"));
  }
  if (settings.protocol == Protocol::kHuggingFace &&
      (settings.stride < 1 || settings.stride > settings.context)) {
    return absl::InvalidArgumentError(
        absl::StrCat("stride of ", settings.stride, " tokens; 1 to ",
                     settings.context, " (the context) are possible"));
  }
  if (settings.max_windows == 0) {
    return absl::InvalidArgumentError("no window is asked for");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ScoredWindow>> PlanWindows(
    int64_t n_text_tokens, const WindowSettings& settings) {
  if (absl::Status status = CheckWindowSettings(settings); !status.ok()) {
    return status;
  }
  const bool llama_cpp = settings.protocol == Protocol::kLlamaCpp;
  const int64_t n_needed = llama_cpp ? 2 * settings.context : 2;
  if (n_text_tokens < n_needed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the text is too short: it has ", n_text_tokens, " tokens and ",
        n_needed, " are needed",
        llama_cpp ? absl::StrCat(" (two windows of ", settings.context, ")")
                  : ""));
  }
  std::vector<ScoredWindow> windows =
      llama_cpp ? PlanLlamaCpp(n_text_tokens, settings)
                : PlanHuggingFace(n_text_tokens, settings);
  const int64_t n_windows = windows.size();
  if (settings.max_windows > 0 && settings.max_windows < n_windows) {
    windows.resize(settings.max_windows);
  }
  return windows;
}

}  // namespace narrow
