// The manual page, narrow(1), as roff for man(7).
//
//   std::fputs(ManPage(app, "0.1.0").c_str(), stdout);   // man -l page.1

#ifndef NARROW_CONVERTER_REFERENCE_MAN_PAGE_H_
#define NARROW_CONVERTER_REFERENCE_MAN_PAGE_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/strings/string_view.h"

namespace narrow {

// All commands of `app` with their options; neither time nor place.
std::string ManPage(const CLI::App& app, absl::string_view version);

}  // namespace narrow

#endif  // NARROW_CONVERTER_REFERENCE_MAN_PAGE_H_
