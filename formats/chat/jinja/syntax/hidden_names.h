// Which names a scope hides before it sets them.
//
// Jinja decides when it compiles a template what a name means in a scope
// (a template, a loop's body, a macro): if the first thing that happens to it
// there is an assignment, on every path, then until that has run the name is
// undefined, even where the render was given a variable of that name. So
//   {% for m in messages %}{{ tools }}{% endfor %}{% set tools = 1 %}
// prints nothing in the loop, since loops are compiled after their scope.

#ifndef NARROW_FORMATS_CHAT_JINJA_SYNTAX_HIDDEN_NAMES_H_
#define NARROW_FORMATS_CHAT_JINJA_SYNTAX_HIDDEN_NAMES_H_

#include "formats/chat/jinja/syntax/syntax.h"

namespace narrow::jinja {

// Fills hidden_names of `body` and of every scope in it.
void FindHiddenNames(Body* body);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_SYNTAX_HIDDEN_NAMES_H_
