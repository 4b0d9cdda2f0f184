// How much noise storing weights in a type adds: the measure by which file
// types and packings are put in order before anything is written.
//
//   ASSIGN_OR_RETURN(double noise, NoiseOfType(QuantType::kQ4_K));  // 0.0053
//
// Noise is the energy of the error relative to the energy of the weights, on
// normal weights of a fixed seed, rounded as the type's plain encoder does
// (ggml's, under uniform importance; for packings round to nearest on the
// scheme's grid). Calibration and importance matrices, which lower what the
// error does to the output, are not counted; that some tensors matter more
// than others is (role_weight.h). Pure; a call takes milliseconds.

#ifndef NARROW_CONVERTER_FIT_TYPE_NOISE_H_
#define NARROW_CONVERTER_FIT_TYPE_NOISE_H_

#include "absl/status/statusor.h"
#include "converter/quantize/recipe/method.h"
#include "formats/packing/quantized_matrix.h"
#include "formats/quant_type.h"

namespace narrow {

// Unimplemented: a type without a codec.
absl::StatusOr<double> NoiseOfType(QuantType type);

// Of a method's scheme; the method's solver, or round to nearest where that
// needs statistics. Errors of the solver.
absl::StatusOr<double> NoiseOfScheme(const Method& method,
                                     const WeightScheme& scheme);

}  // namespace narrow

#endif  // NARROW_CONVERTER_FIT_TYPE_NOISE_H_
