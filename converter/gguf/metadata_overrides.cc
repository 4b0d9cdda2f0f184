#include "converter/gguf/metadata_overrides.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// GGUF's limit for a key.
constexpr size_t kMaxKeyBytes = (1 << 16) - 1;
// Keys that say which shard of how many a file is.
constexpr char kSplitPrefix[] = "split.";

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};

// --- Reading -----------------------------------------------------------------

bool ParseOne(absl::string_view text, absl::int128* value) {
  uint64_t magnitude;
  int64_t negative;
  if (absl::StartsWith(text, "-")) {
    if (!absl::SimpleAtoi(text, &negative)) {
      return false;
    }
    *value = negative;
    return true;
  }
  if (!absl::SimpleAtoi(text, &magnitude)) {
    return false;
  }
  *value = magnitude;
  return true;
}

bool ParseOne(absl::string_view text, double* value) {
  return absl::SimpleAtod(text, value) && std::isfinite(*value);
}

bool ParseOne(absl::string_view text, bool* value) {
  *value = text == "true";
  return *value || text == "false";
}

// One value, or a list of them in brackets.
template <typename T>
absl::Status ParseValues(absl::string_view text, absl::string_view what,
                         MetadataOverride* row) {
  const auto wrong = [&](absl::string_view value) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--override-kv ", QuotedName(row->key), ": '", value, "' is ", what));
  };
  absl::string_view list = text;
  if (!absl::ConsumePrefix(&list, "[")) {
    T value;
    if (!ParseOne(text, &value)) {
      return wrong(text);
    }
    row->value = value;
    return absl::OkStatus();
  }
  if (!absl::ConsumeSuffix(&list, "]")) {
    return wrong(text);
  }
  std::vector<T> values;
  for (absl::string_view element : absl::StrSplit(list, ',')) {
    element = absl::StripAsciiWhitespace(element);
    T value;
    if (!ParseOne(element, &value)) {
      return wrong(element);
    }
    values.push_back(value);
  }
  row->value = std::move(values);
  return absl::OkStatus();
}

// --- Fitting -----------------------------------------------------------------

// `value` as a T, or false if that would change it.
template <typename T>
bool Fit(const absl::int128& value, T* fitted) {
  if (value < absl::int128(std::numeric_limits<T>::min()) ||
      value > absl::int128(std::numeric_limits<T>::max())) {
    return false;
  }
  *fitted = static_cast<T>(value);
  return true;
}

template <typename T>
bool Fit(double value, T* fitted) {
  *fitted = static_cast<T>(value);
  return std::isfinite(*fitted);
}

// Whether values of type From may take the place of elements of type To.
template <typename From, typename To>
constexpr bool SameKind() {
  if constexpr (std::is_same_v<From, absl::int128>) {
    return std::is_integral_v<To> && !std::is_same_v<To, bool>;
  } else if constexpr (std::is_same_v<From, double>) {
    return std::is_floating_point_v<To>;
  } else {
    return std::is_same_v<From, To>;
  }
}

absl::Status TooNarrow(const std::string& key, size_t n_bytes,
                       absl::string_view kind) {
  return absl::InvalidArgumentError(absl::StrCat(
      "--override-kv ", QuotedName(key), ": the value does not ", "fit the ",
      kind, " of ", 8 * n_bytes, " bits that the key holds"));
}

// `given`, a value or a list, with elements of type To.
template <typename To, typename From>
absl::StatusOr<MetadataValue> Convert(const std::string& key,
                                      const From& given) {
  constexpr absl::string_view kKind = std::is_floating_point_v<To> ? "number"
                                      : std::is_signed_v<To>
                                          ? "signed integer"
                                          : "unsigned integer";
  if constexpr (IsVector<From>::value) {
    std::vector<To> list;
    for (const typename From::value_type element : given) {
      if constexpr (std::is_same_v<To, bool>) {
        list.push_back(element);
      } else {
        To fitted;
        if (!Fit(element, &fitted)) {
          return TooNarrow(key, sizeof(To), kKind);
        }
        list.push_back(fitted);
      }
    }
    return MetadataValue(std::move(list));
  } else if constexpr (std::is_same_v<From, To>) {
    return MetadataValue(given);
  } else {
    To fitted;
    if (!Fit(given, &fitted)) {
      return TooNarrow(key, sizeof(To), kKind);
    }
    return MetadataValue(fitted);
  }
}

template <typename From>
absl::StatusOr<MetadataValue> ConvertIntegers(const std::string& key,
                                              const From& given, bool negative,
                                              bool wide) {
  return negative ? (wide ? Convert<int64_t>(key, given)
                          : Convert<int32_t>(key, given))
                  : (wide ? Convert<uint64_t>(key, given)
                          : Convert<uint32_t>(key, given));
}

// For a key that is not there yet.
template <typename From>
absl::StatusOr<MetadataValue> NewValue(const std::string& key,
                                       const From& given) {
  if constexpr (std::is_same_v<From, absl::int128>) {
    return ConvertIntegers(
        key, given, given < 0,
        given < std::numeric_limits<int32_t>::min() ||
            given > absl::int128(std::numeric_limits<uint32_t>::max()));
  } else if constexpr (std::is_same_v<From, std::vector<absl::int128>>) {
    bool negative = false;
    bool wide = false;
    for (const absl::int128& value : given) {
      negative = negative || value < 0;
    }
    for (const absl::int128& value : given) {
      wide = wide || value < std::numeric_limits<int32_t>::min() ||
             value > (negative
                          ? absl::int128(std::numeric_limits<int32_t>::max())
                          : absl::int128(std::numeric_limits<uint32_t>::max()));
    }
    return ConvertIntegers(key, given, negative, wide);
  } else if constexpr (std::is_same_v<From, double> ||
                       std::is_same_v<From, std::vector<double>>) {
    return Convert<float>(key, given);
  } else {
    return MetadataValue(given);
  }
}

template <typename T>
constexpr const char* KindOf() {
  if constexpr (std::is_same_v<T, bool>) {
    return "bool";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return "str";
  } else {
    return std::is_floating_point_v<T> ? "float" : "int";
  }
}

// `given` in the element type of `present`.
template <typename From, typename Present>
absl::StatusOr<MetadataValue> ReplaceValue(const std::string& key,
                                           const From& given, const Present&) {
  using FromElement =
      typename std::conditional_t<IsVector<From>::value, From,
                                  std::vector<From>>::value_type;
  using ToElement =
      typename std::conditional_t<IsVector<Present>::value, Present,
                                  std::vector<Present>>::value_type;
  if constexpr (std::is_same_v<From, std::string> && IsVector<Present>::value) {
    return absl::InvalidArgumentError(
        absl::StrCat("--override-kv ", QuotedName(key),
                     ": the key holds a list, which text cannot replace"));
  } else if constexpr (!SameKind<FromElement, ToElement>()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--override-kv ", QuotedName(key), ": the key holds ",
                     KindOf<ToElement>(), ", given ", KindOf<FromElement>(),
                     "; programs would not find a value of another type"));
  } else {
    return Convert<ToElement>(key, given);
  }
}

}  // namespace

absl::StatusOr<MetadataOverride> ParseMetadataOverride(absl::string_view text) {
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--override-kv '", text, "' is not KEY=TYPE:VALUE"));
  }
  MetadataOverride row;
  row.key = std::string(text.substr(0, equals));
  if (row.key.size() > kMaxKeyBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--override-kv: a key of ", row.key.size(),
                     " bytes; GGUF allows ", kMaxKeyBytes));
  }
  if (absl::StartsWith(row.key, kSplitPrefix)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--override-kv ", QuotedName(row.key),
        ": the keys split.* follow from the shards; see --split-max-size"));
  }
  absl::string_view value = text.substr(equals + 1);
  if (absl::ConsumePrefix(&value, "int:")) {
    RETURN_IF_ERROR(ParseValues<absl::int128>(
        value, "no integer from -2^63 to 2^64 - 1", &row));
  } else if (absl::ConsumePrefix(&value, "float:")) {
    RETURN_IF_ERROR(ParseValues<double>(value, "no finite number", &row));
  } else if (absl::ConsumePrefix(&value, "bool:")) {
    RETURN_IF_ERROR(ParseValues<bool>(value, "neither true nor false", &row));
  } else if (absl::ConsumePrefix(&value, "str:")) {
    row.value = std::string(value);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("--override-kv ", QuotedName(row.key), ": '", value,
                     "' does not begin with int:, float:, bool: or str:"));
  }
  return row;
}

absl::Status ApplyOverride(const MetadataOverride& row, OverridePlace place,
                           Metadata* metadata) {
  const MetadataValue* present = metadata->Find(row.key);
  absl::StatusOr<MetadataValue> value =
      present == nullptr
          ? std::visit(
                [&](const auto& given) { return NewValue(row.key, given); },
                row.value)
          : std::visit(
                [&](const auto& given, const auto& old) {
                  return ReplaceValue(row.key, given, old);
                },
                row.value, *present);
  RETURN_IF_ERROR(value.status());
  if (place == OverridePlace::kEnd) {
    metadata->Erase(row.key);
  }
  metadata->Set(row.key, *std::move(value));
  return absl::OkStatus();
}

}  // namespace narrow
