// Where names have their values while a template renders.

#ifndef NARROW_FORMATS_CHAT_JINJA_SCOPE_H_
#define NARROW_FORMATS_CHAT_JINJA_SCOPE_H_

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "formats/chat/jinja/syntax/syntax.h"
#include "formats/chat/jinja/values/value.h"

namespace narrow::jinja {

// Names borrow from the syntax. A scope that a macro may come back to is
// captured, and kept until the rendering ends.
struct Scope {
  Scope(Scope* parent_scope, const Body* scope_body)
      : parent(parent_scope), body(scope_body) {}

  Scope* parent;
  const Body* body;  // whose hidden names count; may be null
  std::vector<std::pair<absl::string_view, Value>> values;
  bool captured = false;

  const Value* Find(absl::string_view name) const {
    for (const auto& [key, value] : values) {
      if (key == name) {
        return &value;
      }
    }
    return nullptr;
  }
  void Set(absl::string_view name, Value value) {
    for (auto& [key, old] : values) {
      if (key == name) {
        old = std::move(value);
        return;
      }
    }
    values.emplace_back(name, std::move(value));
  }
  bool Hides(absl::string_view name) const {
    return body != nullptr &&
           std::find(body->hidden_names.begin(), body->hidden_names.end(),
                     name) != body->hidden_names.end();
  }
  void Capture() {
    for (Scope* s = this; s != nullptr && !s->captured; s = s->parent) {
      s->captured = true;
    }
  }
};

struct Macro {
  const MacroSyntax* syntax;
  Scope* scope;  // it was defined in
};

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_SCOPE_H_
