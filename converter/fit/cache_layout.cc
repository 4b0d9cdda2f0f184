#include "converter/fit/cache_layout.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr int64_t kMaxLayers = 1 << 16;
constexpr int64_t kMaxWidth = 1 << 24;
constexpr int64_t kMaxWindow = int64_t{1} << 40;
constexpr int64_t kMostBytes = int64_t{1} << 60;
constexpr int64_t kCellStep = 256;  // llama.cpp pads caches to it

enum class Windows : uint8_t { kNone, kPeriod, kKeyed };
enum class Recurrent : uint8_t { kNone, kAll, kBoth, kHeadless, kInterval };

struct CacheFamily {
  const char* name;
  Windows windows;
  int64_t period;
  bool full_first;
  int64_t window;
  Recurrent recurrent;
};

constexpr CacheFamily kFamilies[] = {
#define NARROW_CACHE_FAMILY(name, windows, period, full_first, window, \
                            recurrent)                                 \
  {name, Windows::windows, period, full_first, window, Recurrent::recurrent},
#include "converter/fit/cache_families.inc"
#undef NARROW_CACHE_FAMILY
};

// Keys that say that a family keeps something else than keys and values of
// all positions.
constexpr const char* kTelltales[] = {"attention.sliding_window",
                                      "attention.shared_kv_layers",
                                      "attention.indexer.head_count",
                                      "ssm.state_size",
                                      "wkv.head_size",
                                      "shortconv.l_cache",
                                      "kda.head_dim",
                                      "full_attention_interval"};

// Reads "<family>.<name>".
class Keys {
 public:
  Keys(const Metadata& metadata, std::string family)
      : metadata_(metadata), family_(std::move(family)) {}

  std::string Name(absl::string_view key) const {
    return absl::StrCat(family_, ".", key);
  }
  const Metadata& metadata() const { return metadata_; }
  bool Has(absl::string_view key) const { return metadata_.Has(Name(key)); }

  // A scalar; `missing` where the key is absent.
  absl::StatusOr<int64_t> Size(absl::string_view key, int64_t missing,
                               int64_t max) const {
    if (!Has(key)) {
      return missing;
    }
    const std::optional<int64_t> n = metadata_.GetInteger(Name(key));
    if (!n.has_value()) {
      return absl::DataLossError(
          absl::StrCat("key '", Name(key), "' is no integer"));
    }
    RETURN_IF_ERROR(Check(key, *n, max));
    return *n;
  }

  // One value a layer: a scalar for all, or a list of at least `n_layers`.
  absl::StatusOr<std::vector<int64_t>> Sizes(absl::string_view key,
                                             int64_t n_layers, int64_t missing,
                                             int64_t max) const {
    const auto list = metadata_.GetIntegers(Name(key));
    if (!list.has_value()) {
      ASSIGN_OR_RETURN(const int64_t n, Size(key, missing, max));
      return std::vector<int64_t>(static_cast<size_t>(n_layers), n);
    }
    if (static_cast<int64_t>(list->size()) < n_layers) {
      return absl::DataLossError(absl::StrCat("key '", Name(key), "' has ",
                                              list->size(), " values for ",
                                              n_layers, " layers"));
    }
    for (const int64_t n : *list) {
      RETURN_IF_ERROR(Check(key, n, max));
    }
    return *list;
  }

 private:
  absl::Status Check(absl::string_view key, int64_t n, int64_t max) const {
    return n >= 0 && n <= max ? absl::OkStatus()
                              : absl::DataLossError(absl::StrCat(
                                    "key '", Name(key), "' is ", n,
                                    ", not within [0, ", max, "]"));
  }

  const Metadata& metadata_;
  const std::string family_;
};

absl::Status CheckUnlisted(const Keys& keys, const std::string& family) {
  for (const char* key : kTelltales) {
    if (keys.Has(key)) {
      return absl::UnimplementedError(absl::StrCat(
          "how much family '", family, "' keeps of the past is not known (",
          "it has the key '", keys.Name(key),
          "'); say it with --cache-size and only weights are added"));
    }
  }
  return absl::OkStatus();
}

// Which layers slide, and the window.
absl::Status ReadWindows(const Keys& keys, const CacheFamily& family,
                         CacheLayout* layout) {
  if (family.windows == Windows::kNone) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(layout->window, keys.Size("attention.sliding_window",
                                             family.window, kMaxWindow));
  if (layout->window == 0) {
    return absl::OkStatus();
  }
  constexpr char kPattern[] = "attention.sliding_window_pattern";
  const MetadataValue* value = keys.metadata().Find(keys.Name(kPattern));
  const auto* flags =
      value == nullptr ? nullptr : std::get_if<std::vector<bool>>(value);
  int64_t period = family.period;
  if (flags == nullptr) {
    ASSIGN_OR_RETURN(period, keys.Size(kPattern, family.period, kMaxLayers));
  }
  if (flags == nullptr ? family.windows == Windows::kKeyed
                       : flags->size() < layout->layers.size()) {
    return absl::DataLossError(absl::StrCat("key '", keys.Name(kPattern),
                                            "' has no flag for each of the ",
                                            layout->layers.size(), " layers"));
  }
  const int64_t full = family.full_first ? 0 : period - 1;
  for (size_t i = 0; i < layout->layers.size(); ++i) {
    layout->layers[i].slides =
        flags != nullptr
            ? (*flags)[i]
            : period == 0 || static_cast<int64_t>(i) % period != full;
  }
  return absl::OkStatus();
}

// Keys and values of every layer.
absl::Status ReadHeads(const Keys& keys, CacheLayout* layout) {
  const int64_t n_layers = static_cast<int64_t>(layout->layers.size());
  ASSIGN_OR_RETURN(const int64_t hidden,
                   keys.Size("embedding_length", 0, kMaxWidth));
  ASSIGN_OR_RETURN(const std::vector<int64_t> heads,
                   keys.Sizes("attention.head_count", n_layers, 0, kMaxWidth));
  ASSIGN_OR_RETURN(
      std::vector<int64_t> kv_heads,
      keys.Sizes("attention.head_count_kv", n_layers, -1, kMaxWidth));
  // Models whose heads differ by layer name the widths.
  const int64_t width = heads[0] > 0 ? hidden / heads[0] : 0;
  ASSIGN_OR_RETURN(const int64_t key_width,
                   keys.Size("attention.key_length", width, kMaxWidth));
  ASSIGN_OR_RETURN(const int64_t value_width,
                   keys.Size("attention.value_length", width, kMaxWidth));
  ASSIGN_OR_RETURN(const int64_t sliding_key_width,
                   keys.Size("attention.key_length_swa", key_width, kMaxWidth));
  ASSIGN_OR_RETURN(
      const int64_t sliding_value_width,
      keys.Size("attention.value_length_swa", value_width, kMaxWidth));
  // Latent attention keeps one vector for keys and values alike.
  const bool latent = keys.Has("attention.key_length_mla") &&
                      keys.Has("attention.value_length_mla");
  for (size_t i = 0; i < layout->layers.size(); ++i) {
    CacheLayer& layer = layout->layers[i];
    const int64_t n = kv_heads[i] < 0 ? heads[i] : kv_heads[i];
    layer.head_width = layer.slides ? sliding_key_width : key_width;
    layer.value_head_width = layer.slides ? sliding_value_width : value_width;
    if (n * layer.head_width > kMaxWidth ||
        n * layer.value_head_width > kMaxWidth) {
      return absl::DataLossError(absl::StrCat(
          "key '", keys.Name("attention.head_count_kv"), "' is ", n,
          ", which with heads of ", layer.head_width, " is above ", kMaxWidth));
    }
    layer.key_width = n * layer.head_width;
    layer.value_width = latent ? 0 : n * layer.value_head_width;
  }
  return absl::OkStatus();
}

// Layers at the end that use the keys and values of earlier ones.
absl::Status ReadShared(const Keys& keys, const std::string& family,
                        CacheLayout* layout) {
  const int64_t n_layers = static_cast<int64_t>(layout->layers.size());
  // Gemma 3n has no key for it: 20 of 30 or 35 layers keep their own.
  const int64_t implied =
      family == "gemma3n" ? std::max<int64_t>(n_layers - 20, 0) : 0;
  ASSIGN_OR_RETURN(
      const int64_t n_shared,
      keys.Size("attention.shared_kv_layers", implied, kMaxLayers));
  for (int64_t i = std::max<int64_t>(n_layers - n_shared, 0); i < n_layers;
       ++i) {
    layout->layers[static_cast<size_t>(i)].key_width = 0;
    layout->layers[static_cast<size_t>(i)].value_width = 0;
  }
  return absl::OkStatus();
}

// Numbers of one layer's recurrent state.
absl::StatusOr<int64_t> StateWidth(const Keys& keys) {
  ASSIGN_OR_RETURN(const int64_t hidden,
                   keys.Size("embedding_length", 0, kMaxWidth));
  ASSIGN_OR_RETURN(const int64_t wkv, keys.Size("wkv.head_size", 0, 1 << 16));
  if (wkv > 0) {
    ASSIGN_OR_RETURN(const int64_t shifts,
                     keys.Size("token_shift_count", 2, 1 << 10));
    return hidden * (shifts + wkv);
  }
  ASSIGN_OR_RETURN(const int64_t taps,
                   keys.Size("shortconv.l_cache", 0, 1 << 16));
  if (taps > 0) {
    return hidden * (taps - 1);
  }
  ASSIGN_OR_RETURN(const int64_t kernel,
                   keys.Size("ssm.conv_kernel", 0, 1 << 16));
  ASSIGN_OR_RETURN(const int64_t inner,
                   keys.Size("ssm.inner_size", 0, kMaxWidth));
  ASSIGN_OR_RETURN(const int64_t state,
                   keys.Size("ssm.state_size", 0, 1 << 16));
  ASSIGN_OR_RETURN(const int64_t groups,
                   keys.Size("ssm.group_count", 0, 1 << 16));
  if (inner == 0 || state == 0) {
    return absl::DataLossError(
        absl::StrCat("key '", keys.Name("ssm.state_size"), "' or '",
                     keys.Name("ssm.inner_size"), "' is missing or 0"));
  }
  return std::max<int64_t>(kernel - 1, 0) * (inner + 2 * groups * state) +
         state * inner;
}

absl::Status ReadStates(const Keys& keys, const CacheFamily& family,
                        CacheLayout* layout) {
  if (family.recurrent == Recurrent::kNone) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const int64_t width, StateWidth(keys));
  ASSIGN_OR_RETURN(const int64_t interval,
                   keys.Size("full_attention_interval", 4, kMaxLayers));
  for (size_t i = 0; i < layout->layers.size(); ++i) {
    CacheLayer& layer = layout->layers[i];
    const bool all = family.recurrent == Recurrent::kAll;
    const bool recurrent =
        all || family.recurrent == Recurrent::kBoth ||
        (family.recurrent == Recurrent::kHeadless && layer.key_width == 0) ||
        (family.recurrent == Recurrent::kInterval && interval > 0 &&
         (static_cast<int64_t>(i) + 1) % interval != 0);
    layer.state_width = recurrent ? width : 0;
    if (recurrent && family.recurrent != Recurrent::kBoth) {
      layer.key_width = 0;
      layer.value_width = 0;
    }
  }
  return absl::OkStatus();
}

int64_t Saturated(unsigned __int128 n) {
  return n > static_cast<unsigned __int128>(kMostBytes)
             ? kMostBytes
             : static_cast<int64_t>(n);
}

int64_t RoundedUp(int64_t n) {
  return (n + kCellStep - 1) / kCellStep * kCellStep;
}

unsigned __int128 RowBytes(QuantType type, int64_t width) {
  const TypeGeometry& g = Geometry(type);
  return static_cast<unsigned __int128>(width / g.block_weights) *
         static_cast<unsigned __int128>(g.block_bytes);
}

}  // namespace

absl::StatusOr<CacheLayout> CacheLayoutOf(const Metadata& metadata) {
  const std::string name =
      metadata.GetString("general.architecture").value_or("");
  const Keys keys(metadata, name);
  CacheFamily family = {"", Windows::kNone, 0, false, 0, Recurrent::kNone};
  const auto* row =
      std::find_if(std::begin(kFamilies), std::end(kFamilies),
                   [&](const CacheFamily& one) { return name == one.name; });
  if (row != std::end(kFamilies)) {
    family = *row;
  } else {
    RETURN_IF_ERROR(CheckUnlisted(keys, name));
  }
  ASSIGN_OR_RETURN(int64_t n_layers, keys.Size("block_count", 0, kMaxLayers));
  // Blocks that predict further tokens take no part in plain decoding.
  ASSIGN_OR_RETURN(const int64_t n_extra,
                   keys.Size("nextn_predict_layers", 0, kMaxLayers));
  n_layers -= std::min(n_extra, n_layers);
  if (n_layers == 0) {
    return absl::DataLossError(
        absl::StrCat("key '", keys.Name("block_count"), "' is missing or 0"));
  }
  CacheLayout layout;
  layout.layers.resize(static_cast<size_t>(n_layers));
  RETURN_IF_ERROR(ReadWindows(keys, family, &layout));
  RETURN_IF_ERROR(ReadHeads(keys, &layout));
  RETURN_IF_ERROR(ReadShared(keys, name, &layout));
  RETURN_IF_ERROR(ReadStates(keys, family, &layout));
  return layout;
}

absl::Status CheckCacheTypes(const CacheLayout& layout,
                             const CacheTypes& types) {
  for (const CacheLayer& layer : layout.layers) {
    const std::pair<QuantType, int64_t> rows[] = {
        {types.key, layer.key_width > 0 ? layer.head_width : 0},
        {types.value, layer.value_width > 0 ? layer.value_head_width : 0}};
    for (const auto& [type, width] : rows) {
      if (width % Geometry(type).block_weights != 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("a cache of ", TypeName(type), " has blocks of ",
                         Geometry(type).block_weights,
                         ", which do not divide heads of ", width));
      }
    }
  }
  return absl::OkStatus();
}

int64_t CacheCells(int64_t context) { return RoundedUp(context); }

CacheSize CacheBytes(const CacheLayout& layout, const CacheTypes& types,
                     const CacheUse& use) {
  const int64_t cells = CacheCells(use.context);
  // A window is kept for the batch that slides over it.
  const int64_t sliding =
      RoundedUp(std::min(cells, layout.window + std::min(use.batch, cells)));
  unsigned __int128 full = 0;
  unsigned __int128 windowed = 0;
  unsigned __int128 states = 0;
  for (const CacheLayer& layer : layout.layers) {
    const unsigned __int128 row = RowBytes(types.key, layer.key_width) +
                                  RowBytes(types.value, layer.value_width);
    (layer.slides ? windowed : full) +=
        row * static_cast<unsigned __int128>(layer.slides ? sliding : cells);
    states += static_cast<unsigned __int128>(layer.state_width) * 4;
  }
  const auto n = static_cast<unsigned __int128>(use.n_parallel);
  CacheSize size;
  size.full_bytes = Saturated(full * n);
  size.sliding_bytes = Saturated(windowed * n);
  size.state_bytes = Saturated(states * n);
  return size;
}

}  // namespace narrow
