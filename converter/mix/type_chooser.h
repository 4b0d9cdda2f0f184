// The type of every tensor of a file under a recipe: what llama-quantize
// decides, in its order of precedence.
//
//   ASSIGN_OR_RETURN(auto chooser, TypeChooser::Create(recipe, facts));
//   for (each tensor in the order of the file)
//     ASSIGN_OR_RETURN(TypeChoice c, chooser.Choose(meta));
//
// 1. tensors that may not be quantized keep their type; 2. the types of the
// token embedding and of the output matrix; 3. overrides by name; 4. the mix
// rules of the file type; 5. a relative with smaller blocks where rows do not
// divide. A chooser counts what it is shown, so each tensor is shown once.

#ifndef NARROW_CONVERTER_MIX_TYPE_CHOOSER_H_
#define NARROW_CONVERTER_MIX_TYPE_CHOOSER_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/mix/mix_rules.h"
#include "converter/recipe.h"
#include "formats/tensor.h"

namespace narrow {

struct TypeChoice {
  QuantType type;
  std::string reason;
  QuantType wanted;  // the type before rows that do not divide changed it

  bool fell_back() const { return wanted != type; }
};

class TypeChooser {
 public:
  // InvalidArgument for an override whose pattern does not parse.
  static absl::StatusOr<TypeChooser> Create(const Recipe& recipe,
                                            const MixModel& facts);
  TypeChooser(TypeChooser&&);
  ~TypeChooser();

  // `meta` has the type that the tensor has now. InvalidArgument if an
  // explicit type does not fit the rows, or a name lacks its layer.
  absl::StatusOr<TypeChoice> Choose(const TensorMeta& meta);

 private:
  struct Override;

  TypeChooser(const Recipe& recipe, std::vector<Override> overrides,
              const MixModel& facts);
  const Override* FindOverride(const std::string& name) const;
  absl::StatusOr<TypeChoice> ChooseByRules(const TensorMeta& meta,
                                           const Override* named);

  Recipe recipe_;
  std::vector<Override> overrides_;
  MixState mix_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_MIX_TYPE_CHOOSER_H_
