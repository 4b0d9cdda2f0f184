#include "converter/gguf/prune_layers.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr char kBlock[] = "blk.";
constexpr int64_t kMaxLayer = 99999;

// Keys of a family, without its name, whose lists are not one value a layer,
// however long they are.
constexpr const char* kOtherLists[] = {
    "rope.dimension_sections",
    "classifier.output_labels",
    "deepstack_mapping",
    "target_layers",
    "ple_layers",
    "attention.rope_pattern",
};

// Counts of layers that are special, from the first or from the last on.
struct CountKey {
  const char* key;
  bool from_last;
};
constexpr CountKey kCounts[] = {
    {"leading_dense_block_count", false},
    {"nextn_predict_layers", true},
    {"attention.shared_kv_layers", true},
};

// Families in which, unless a key says so, every so many layers one sees the
// whole context, the last of them, and the others a window.
struct WindowPeriod {
  const char* arch;
  int64_t period;
};
constexpr WindowPeriod kWindowPeriods[] = {
    {"afmoe", 4},  {"cohere2", 4}, {"exaone4", 4}, {"gemma-embedding", 6},
    {"gemma2", 2}, {"gemma3", 6},  {"gemma3n", 5}, {"gpt-oss", 2},
    {"llama4", 4}, {"olmo2", 4},   {"plamo3", 8},
};

// The layer in "blk.<layer>.…", and what follows the number.
std::optional<int64_t> LayerIn(absl::string_view name,
                               absl::string_view* rest) {
  if (!absl::ConsumePrefix(&name, kBlock)) {
    return std::nullopt;
  }
  const size_t dot = name.find('.');
  int64_t layer;
  if (dot == absl::string_view::npos || dot == 0 ||
      !std::all_of(name.begin(), name.begin() + static_cast<int64_t>(dot),
                   [](unsigned char c) { return absl::ascii_isdigit(c); }) ||
      !absl::SimpleAtoi(name.substr(0, dot), &layer)) {
    return std::nullopt;
  }
  *rest = name.substr(dot);
  return layer;
}

std::string ArchOf(const Metadata& metadata) {
  return metadata.GetString("general.architecture").value_or("");
}

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};

}  // namespace

absl::StatusOr<std::vector<int64_t>> ParseLayerList(absl::string_view text) {
  const auto number = [](absl::string_view digits, int64_t* layer) {
    return !digits.empty() &&
           absl::ascii_isdigit(static_cast<unsigned char>(digits[0])) &&
           absl::SimpleAtoi(digits, layer) && *layer <= kMaxLayer;
  };
  std::vector<int64_t> layers;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    part = absl::StripAsciiWhitespace(part);
    const std::vector<absl::string_view> ends = absl::StrSplit(part, '-');
    int64_t first;
    int64_t last;
    if (ends.size() > 2 || !number(ends.front(), &first) ||
        !number(ends.back(), &last) || first > last) {
      return absl::InvalidArgumentError(
          absl::StrCat("--prune-layers: '", part,
                       "' is neither a layer nor a range such as 5-7"));
    }
    for (int64_t layer = first; layer <= last; ++layer) {
      layers.push_back(layer);
    }
  }
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

absl::StatusOr<LayerPruning> LayerPruning::Create(
    absl::Span<const int64_t> layers, absl::Span<const std::string> names) {
  LayerPruning pruning;
  if (layers.empty()) {
    return pruning;
  }
  std::vector<int64_t> present;
  absl::string_view rest;
  for (const std::string& name : names) {
    const std::optional<int64_t> layer = LayerIn(name, &rest);
    if (layer.has_value()) {
      present.push_back(*layer);
    } else if (absl::StrContains(name, ".blk.")) {
      return absl::UnimplementedError(absl::StrCat(
          "--prune-layers: tensor ", QuotedName(name),
          " belongs to one of several stacks of layers, which cannot be told "
          "apart by number"));
    }
  }
  std::sort(present.begin(), present.end());
  present.erase(std::unique(present.begin(), present.end()), present.end());
  const int64_t n = static_cast<int64_t>(present.size());
  if (n == 0 || present.back() != n - 1) {
    return absl::InvalidArgumentError(
        n == 0 ? std::string("--prune-layers: the model has no layers")
               : absl::StrCat("--prune-layers: the model has ", n,
                              " layers, but the last has number ",
                              present.back()));
  }
  if (layers.back() >= n) {
    return absl::InvalidArgumentError(
        absl::StrCat("--prune-layers: there is no layer ", layers.back(),
                     "; the model has ", n, ", 0 to ", n - 1));
  }
  if (static_cast<int64_t>(layers.size()) == n) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--prune-layers: that is all ", n, " layers; none would be left"));
  }
  pruning.dropped_.assign(layers.begin(), layers.end());
  pruning.n_layers_ = n;
  return pruning;
}

bool LayerPruning::Drops(int64_t layer) const {
  return std::binary_search(dropped_.begin(), dropped_.end(), layer);
}

std::string LayerPruning::NewName(absl::string_view name) const {
  absl::string_view rest;
  const std::optional<int64_t> layer = LayerIn(name, &rest);
  if (dropped_.empty() || !layer.has_value()) {
    return std::string(name);
  }
  if (Drops(*layer)) {
    return "";
  }
  const int64_t n_before =
      std::lower_bound(dropped_.begin(), dropped_.end(), *layer) -
      dropped_.begin();
  return absl::StrCat(kBlock, *layer - n_before, rest);
}

void LayerPruning::PruneMetadata(Metadata* metadata) const {
  if (dropped_.empty()) {
    return;
  }
  const std::string arch = ArchOf(*metadata);
  PruneLists(arch, metadata);
  for (const CountKey& row : kCounts) {
    const std::string key = absl::StrCat(arch, ".", row.key);
    const auto* count = std::get_if<uint32_t>(metadata->Find(key));
    if (count == nullptr || *count > n_layers_) {
      continue;
    }
    uint32_t n_left = *count;
    for (const int64_t layer : dropped_) {
      n_left -= row.from_last ? layer >= n_layers_ - *count : layer < *count;
    }
    metadata->Set(key, n_left);
  }
  const std::string block_count = absl::StrCat(arch, ".block_count");
  metadata->Erase(block_count);
  metadata->Set(
      block_count,
      static_cast<uint32_t>(n_layers_ - static_cast<int64_t>(dropped_.size())));
}

void LayerPruning::PruneLists(const std::string& arch,
                              Metadata* metadata) const {
  std::vector<std::string> keys;
  for (const Metadata::Entry& entry : metadata->entries()) {
    absl::string_view name = entry.first;
    if (absl::ConsumePrefix(&name, absl::StrCat(arch, ".")) &&
        std::find(std::begin(kOtherLists), std::end(kOtherLists), name) ==
            std::end(kOtherLists)) {
      keys.push_back(entry.first);
    }
  }
  const auto prune = [this](const auto& list) -> std::optional<MetadataValue> {
    using T = std::decay_t<decltype(list)>;
    if constexpr (IsVector<T>::value) {
      if (static_cast<int64_t>(list.size()) == n_layers_) {
        T kept;
        for (int64_t i = 0; i < n_layers_; ++i) {
          if (!Drops(i)) {
            kept.push_back(list[static_cast<size_t>(i)]);
          }
        }
        return MetadataValue(std::move(kept));
      }
    }
    return std::nullopt;
  };
  for (const std::string& key : keys) {
    std::optional<MetadataValue> kept = std::visit(prune, *metadata->Find(key));
    if (kept.has_value()) {
      metadata->Set(key, *std::move(kept));
    }
  }
}

std::vector<std::string> LayerPruning::Warnings(const Metadata& before) const {
  const std::string arch = ArchOf(before);
  const std::string key = absl::StrCat(arch, ".attention.sliding_window");
  const std::string pattern = absl::StrCat(key, "_pattern");
  int64_t period = 0;
  for (const WindowPeriod& row : kWindowPeriods) {
    period = arch == row.arch ? row.period : period;
  }
  if (before.Has(pattern)) {  // a list has no integer, and was pruned
    period = before.GetInteger(pattern).value_or(0);
  }
  if (dropped_.empty() || period < 2 || before.GetInteger(key) < 1) {
    return {};
  }
  int64_t n_changed = 0;
  std::vector<std::string> slides;
  for (int64_t layer = 0; layer < n_layers_; ++layer) {
    if (!Drops(layer)) {
      const int64_t number = static_cast<int64_t>(slides.size());
      const bool slid = layer % period < period - 1;
      n_changed += slid != (number % period < period - 1);
      slides.push_back(slid ? "true" : "false");
    }
  }
  if (n_changed == 0) {
    return {};
  }
  return {absl::StrCat("the new numbers of ", n_changed,
                       " layers give them another attention ", "window, since ",
                       arch,
                       " alternates by number (llama-quantize's file is "
                       "the same); to keep theirs, add --override-kv '",
                       pattern, "=bool:[", absl::StrJoin(slides, ","), "]'")};
}

}  // namespace narrow
