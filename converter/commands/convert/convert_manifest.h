// What the manifest of a conversion says besides its options.
//
//   recorder->set_arguments(AllocatedArguments(arguments, recipe, false));
//
// Pure functions.

#ifndef NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_MANIFEST_H_
#define NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_MANIFEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "converter/compensated/solved_store.h"
#include "converter/provenance/recorder.h"
#include "converter/recipe.h"

namespace narrow {

// The arguments that give the types which were chosen for a target: each
// tensor's override instead of the target. Those about the text stay for a
// solver only.
std::vector<std::string> AllocatedArguments(
    const std::vector<std::string>& arguments, const Recipe& recipe,
    bool solved);

provenance::Measurement Measured(const std::string& name, double value,
                                 int64_t n_windows);
// The mean of the solved tensors' relative output errors.
provenance::Measurement MeanError(const std::vector<SolvedReport>& solved);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_CONVERT_CONVERT_MANIFEST_H_
