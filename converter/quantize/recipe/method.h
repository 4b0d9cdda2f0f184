// The methods of `narrow quantize`: a solver, perhaps a transform before it,
// the codes it makes and where they are usually stored.
//
//   ASSIGN_OR_RETURN(const Method* method, GetMethod("gptq"));
//   ASSIGN_OR_RETURN(WeightScheme scheme,
//                    SchemeOf(*method, rule, packing, QuantType::kBF16));
//
// Constant tables and pure functions.

#ifndef NARROW_CONVERTER_QUANTIZE_RECIPE_METHOD_H_
#define NARROW_CONVERTER_QUANTIZE_RECIPE_METHOD_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "converter/quantize/recipe/recipe.pb.h"
#include "formats/packing/quantized_matrix.h"
#include "formats/quant_type.h"

namespace narrow {

// What a method's rule may say, and what follows if it does not.
enum class SchemeKind : uint8_t {
  kGroups,    // integers, groups of columns: bits, group_size, symmetric
  kChannels,  // 8-bit integers, a scale a row: activations
  kTable,     // 16 values, flat blocks: block_size, double_quant
  kFp8,       // granularity, activations
  kFp4,       // groups of a fixed size: activations
};

struct Method {
  const char* name;       // as flags and recipes say it
  const char* solver;     // of converter/solvers/solvers.inc
  const char* transform;  // of transforms.inc; "": none
  SchemeKind kind;
  CodeKind code;
  int bits;
  int64_t group;        // or block; 0: rows
  bool symmetric;       // kGroups
  const char* packing;  // the usual one
};

absl::Span<const Method> AllMethods();
// InvalidArgument names the nearest.
absl::StatusOr<const Method*> GetMethod(absl::string_view name);

// The scheme of a layer under `rule` in the packing of that name.
// InvalidArgument: a field that the method has no use for, or out of range.
absl::StatusOr<WeightScheme> SchemeOf(const Method& method,
                                      const LayerRule& rule,
                                      absl::string_view packing,
                                      QuantType model_dtype);

}  // namespace narrow

#endif  // NARROW_CONVERTER_QUANTIZE_RECIPE_METHOD_H_
