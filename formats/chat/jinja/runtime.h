// What one rendering may use up, and what it is told of the world.

#ifndef NARROW_FORMATS_CHAT_JINJA_RUNTIME_H_
#define NARROW_FORMATS_CHAT_JINJA_RUNTIME_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace narrow::jinja {

class Runtime {
 public:
  // Far above any real template and conversation, and a second or so of work.
  static constexpr int64_t kMaxSteps = 20 * 1000 * 1000;
  static constexpr size_t kMaxTextBytes = size_t{1} << 26;
  static constexpr int kMaxDepth = 1000;      // of expressions being computed
  static constexpr int kMaxValueDepth = 200;  // of lists in lists

  // `now`: "2024-07-26" or "2024-07-26 13:05:00", for strftime_now.
  explicit Runtime(std::string now) : now_(std::move(now)) {}

  const std::string& now() const { return now_; }

  // InvalidArgument once all steps are spent.
  absl::Status Charge(int64_t n_steps) {
    n_steps_ += n_steps;
    return n_steps_ <= kMaxSteps ? absl::OkStatus()
                                 : absl::InvalidArgumentError(
                                       "the template takes too many steps");
  }
  // For a text or list of `n` parts that is about to be made.
  absl::Status ChargeSize(size_t n) {
    if (n > kMaxTextBytes) {
      return absl::InvalidArgumentError("the template makes too much text");
    }
    return Charge(static_cast<int64_t>(n / 64));
  }

 private:
  std::string now_;
  int64_t n_steps_ = 0;
};

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_RUNTIME_H_
