// Checks of numbers in options. CLI11's own let a NaN through, which no
// comparison refuses, and name the largest double with all its digits.
//
//   command->add_option("--damping", damping)->check(NumberRange(0, 1));

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_NUMBER_RANGE_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_NUMBER_RANGE_H_

#include "CLI/CLI.hpp"

namespace narrow {

// From `least` to `most`, both included.
CLI::Validator NumberRange(double least, double most);

// Finite, above 0.
CLI::Validator PositiveNumber();

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_NUMBER_RANGE_H_
