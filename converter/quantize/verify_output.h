// Reads a written directory as a client would, and compares what its packed
// matrices decode to with what the solvers had.
//
//   RETURN_IF_ERROR(VerifyOutput(folder, plan, reports, &pool));

#ifndef NARROW_CONVERTER_QUANTIZE_VERIFY_OUTPUT_H_
#define NARROW_CONVERTER_QUANTIZE_VERIFY_OUTPUT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "converter/quantize/block/layer_solver.h"
#include "converter/quantize/quantize_plan.h"
#include "formats/base/parallel.h"

namespace narrow {

// Internal: a layer is missing, misshapen or decodes to other weights, named.
// REQUIRES: config.json is written.
absl::Status VerifyOutput(const std::string& folder, const QuantizePlan& plan,
                          const std::vector<LayerReport>& reports,
                          ThreadPool* pool);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_VERIFY_OUTPUT_H_
