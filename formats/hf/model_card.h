// The head of a README.md on the Hugging Face hub: YAML between two lines of
// three dashes.
//
//   YamlValue card = ParseModelCard(text);
//   if (const YamlValue* license = card.Find("license")) ...
//
// A subset of YAML: block and flow lists and maps, plain, quoted and block
// scalars, comments. No anchors, aliases, tags and complex keys. A head that
// we cannot read counts as none, since a model does not depend on it.

#ifndef NARROW_FORMATS_HF_MODEL_CARD_H_
#define NARROW_FORMATS_HF_MODEL_CARD_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow {

struct YamlValue {
  // kOther: a plain scalar that YAML takes for a number, a truth value or a
  // date; `text` has it as written.
  enum class Kind { kNull, kString, kOther, kList, kMap };
  Kind kind = Kind::kNull;
  std::string text;
  std::vector<YamlValue> items;
  std::vector<std::pair<std::string, YamlValue>> members;

  bool is_scalar() const {
    return kind == Kind::kString || kind == Kind::kOther;
  }
  // The member of that name, the last if repeated; nullptr if there is none.
  const YamlValue* Find(absl::string_view key) const;
};

// A map; empty if there is no head or it is not readable.
YamlValue ParseModelCard(absl::string_view readme);

}  // namespace narrow

#endif  // NARROW_FORMATS_HF_MODEL_CARD_H_
