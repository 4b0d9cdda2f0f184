// A report with everything in it, for tests of pages.

#ifndef NARROW_VALIDATE_PAGE_EXAMPLE_REPORT_H_
#define NARROW_VALIDATE_PAGE_EXAMPLE_REPORT_H_

#include <string>
#include <vector>

#include "validate/validation.h"

namespace narrow {

// Of the candidates named, made up: sizes fall and losses rise in their order,
// every second pair nearly on one place. With `gate` they pass, are undecided,
// fail in turn.
ValidationReport ExampleReport(const std::vector<std::string>& candidates,
                               bool gate);

}  // namespace narrow

#endif  // NARROW_VALIDATE_PAGE_EXAMPLE_REPORT_H_
