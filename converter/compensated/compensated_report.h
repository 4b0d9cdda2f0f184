// What a compensated conversion did, for people and for machines.
//
//   std::fputs(CompensatedSummary(outcome).c_str(), stdout);
//   CompensatedJson(outcome, &json);        // inside an open object
//
// Pure functions.

#ifndef NARROW_CONVERTER_COMPENSATED_COMPENSATED_REPORT_H_
#define NARROW_CONVERTER_COMPENSATED_COMPENSATED_REPORT_H_

#include <string>

#include "converter/compensated/compensated_convert.h"
#include "formats/json/json_writer.h"

namespace narrow {

// A line of totals, one for each reason why tensors kept plain blocks, one for
// each block that the model's divergence was against, and one for each kind of
// note, with the tensors it is about.
std::string CompensatedSummary(const CompensatedOutcome& outcome);

// The key "compensated": {"error", "error_plain", "mean_loss",
// "blocks_resumed", "tensors": [{"name", "matrices", "accepted", "error",
// "error_plain", "rejected", "notes", "plain_because"}], "plain": [{"name",
// "because"}], "verified": {"windows", "blocks": [{"block" (null: the output
// matrix), "kl_divergence", "kl_divergence_plain", "accepted"}]} or null}.
void CompensatedJson(const CompensatedOutcome& outcome, JsonWriter* json);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_COMPENSATED_REPORT_H_
