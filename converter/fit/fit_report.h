// What fits, as a table and as JSON.
//
//   std::fputs(FitTable(rows, shape, request, false).c_str(), stdout);

#ifndef NARROW_CONVERTER_FIT_FIT_REPORT_H_
#define NARROW_CONVERTER_FIT_FIT_REPORT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "converter/fit/fit_choices.h"
#include "converter/fit/memory_need.h"

namespace narrow {

// Rows that fit, or all of them, under a head that says what was added up.
std::string FitTable(absl::Span<const FitRow> rows, const FitShape& shape,
                     const FitRequest& request, bool all);

// FailedPrecondition: nothing fits; what comes closest, by how much it
// misses, and the context at which something would. OK otherwise.
absl::Status CheckAnyFits(absl::Span<const FitRow> rows,
                          const FitRequest& request);

std::string FitJson(absl::Span<const FitRow> rows,
                    absl::Span<const FitRefusal> refusals,
                    const FitShape& shape, const FitRequest& request);

}  // namespace narrow

#endif  // NARROW_CONVERTER_FIT_FIT_REPORT_H_
