// The model card (README.md) of a quantized model: where it comes from, how
// it was made, what was lost.
//
//   std::string text = QuantizeCard({...});
//
// Pure. The same recipe and model give the same text: it names no path, time
// or machine.

#ifndef NARROW_CONVERTER_QUANTIZE_REPORT_QUANTIZE_CARD_H_
#define NARROW_CONVERTER_QUANTIZE_REPORT_QUANTIZE_CARD_H_

#include <optional>
#include <string>

#include "converter/quantize/quantize_plan.h"
#include "converter/quantize/quantize_run.h"
#include "converter/quantize/report/quantize_report.h"

namespace narrow {

struct QuantizeCardInputs {
  const ModelInput* input;
  const QuantizePlan* plan;
  const QuantizeResult* result;
  std::string command;          // without folders
  std::string original_readme;  // "" if there is none
  std::optional<MeasuredLoss> measured;
};

std::string QuantizeCard(const QuantizeCardInputs& inputs);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_REPORT_QUANTIZE_CARD_H_
