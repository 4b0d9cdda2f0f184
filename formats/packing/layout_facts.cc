#include "formats/packing/layout_facts.h"

#include <algorithm>
#include <cassert>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {

const WeightScheme& CommonScheme(const PackedLayout& layout) {
  assert(!layout.modules.empty());
  std::vector<std::pair<const WeightScheme*, int>> counts;
  for (const PackedModule& module : layout.modules) {
    const auto it = std::find_if(
        counts.begin(), counts.end(),
        [&](const auto& entry) { return *entry.first == module.scheme; });
    if (it == counts.end()) {
      counts.emplace_back(&module.scheme, 1);
    } else {
      ++it->second;
    }
  }
  return *std::max_element(
              counts.begin(), counts.end(),
              [](const auto& a, const auto& b) { return a.second < b.second; })
              ->first;
}

absl::Status RequireOneScheme(const PackedLayout& layout,
                              absl::string_view format) {
  for (const PackedModule& module : layout.modules) {
    const PackedModule& first = layout.modules[0];
    if (module.scheme != first.scheme) {
      return absl::UnimplementedError(absl::StrCat(
          format, " describes all layers at once, but ", QuotedName(first.name),
          " is ", SchemeName(first.scheme), " and ", QuotedName(module.name),
          " is ", SchemeName(module.scheme)));
    }
  }
  return absl::OkStatus();
}

const std::string* FindFact(const PackedLayout& layout, absl::string_view key) {
  for (const auto& fact : layout.facts) {
    if (fact.first == key) {
      return &fact.second;
    }
  }
  return nullptr;
}

std::string NameInBlock(absl::string_view module) {
  // After the first part that is a number: "model.layers.3.".
  size_t begin = 0;
  while (begin < module.size()) {
    const size_t dot = module.find('.', begin);
    if (dot == absl::string_view::npos) {
      return "";
    }
    const absl::string_view part = module.substr(begin, dot - begin);
    if (!part.empty() &&
        std::all_of(part.begin(), part.end(), absl::ascii_isdigit)) {
      return std::string(module.substr(dot + 1));
    }
    begin = dot + 1;
  }
  return "";
}

bool HasModule(const PackedLayout& layout, absl::string_view name) {
  return std::any_of(
      layout.modules.begin(), layout.modules.end(),
      [name](const PackedModule& module) { return module.name == name; });
}

}  // namespace narrow
