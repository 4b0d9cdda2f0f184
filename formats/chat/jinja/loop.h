// The variable `loop` of a for loop.
//
// Items are taken one ahead where `last` and `nextitem` ask for it, and all
// where the length of a lazy iterator is asked for, as Jinja takes them.

#ifndef NARROW_FORMATS_CHAT_JINJA_LOOP_H_
#define NARROW_FORMATS_CHAT_JINJA_LOOP_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

struct Stmt;
struct Scope;

struct Loop {
  NextFunction next;
  std::optional<int64_t> length;  // known beforehand, or counted
  int64_t index0 = -1;
  int depth0 = 0;
  // For loops that are recursive: what a call runs.
  const Stmt* statement = nullptr;
  Scope* scope = nullptr;
  bool ended = false;

  std::optional<Value> before;
  std::optional<Value> current;
  std::optional<Value> after;  // taken ahead
  std::optional<Value> last_changed;

  // The next item becomes the current one; false at the end.
  absl::StatusOr<bool> Advance();
  absl::StatusOr<int64_t> Length();
  absl::StatusOr<Value> Attribute(absl::string_view name);
  // loop.cycle(...) and loop.changed(...).
  absl::StatusOr<Value> Cycle(const std::vector<Value>& values) const;
  bool Changed(const std::vector<Value>& values);

 private:
  absl::StatusOr<bool> Peek();
};

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_LOOP_H_
