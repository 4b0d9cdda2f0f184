// What a plan gave other than it wanted: in few lines for people, and as the
// list for which a strict conversion fails.
//
//   for (const std::string& line : FallbackLines(plan))   // the summary
//     "blk.{0-17}.attn_q.weight: q4_k -> q5_0, rows of 640"
//   std::vector<std::string> problems = StrictProblems(plan);
//
// Names from files are escaped, so that lines stay lines.

#ifndef NARROW_CONVERTER_FALLBACKS_H_
#define NARROW_CONVERTER_FALLBACKS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "converter/plan.h"

namespace narrow {

// All tensors whose rows do not divide into the blocks of the wanted type;
// those that differ by the layer only share a line.
std::vector<std::string> FallbackLines(const Plan& plan);

// What strict mode does not accept, a line each: tensors of another type than
// wanted, and, unless the recipe chose what they get, tensors and experts
// that an importance matrix was to guide and has no data for.
std::vector<std::string> StrictProblems(const Plan& plan);

// FailedPrecondition, saying what can be done, if there are any of either.
absl::Status StrictError(const Plan& plan, size_t n_problems);

}  // namespace narrow

#endif  // NARROW_CONVERTER_FALLBACKS_H_
