#include "formats/chat/jinja/interpreter.h"

#include "formats/chat/jinja/evaluator.h"

namespace narrow::jinja {

absl::StatusOr<std::string> RenderBody(const Body& body, const Dict& variables,
                                       absl::string_view now) {
  return Evaluator(variables, std::string(now)).Run(body);
}

}  // namespace narrow::jinja
