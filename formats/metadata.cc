#include "formats/metadata.h"

#include <limits>
#include <type_traits>

namespace narrow {

void Metadata::Set(absl::string_view key, MetadataValue value) {
  const auto [it, inserted] =
      index_.emplace(std::string(key), entries_.size());
  if (inserted) {
    entries_.emplace_back(std::string(key), std::move(value));
  } else {
    entries_[it->second].second = std::move(value);
  }
}

void Metadata::Erase(absl::string_view key) {
  const auto it = index_.find(std::string(key));
  if (it == index_.end()) {
    return;
  }
  const size_t position = it->second;
  index_.erase(it);
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(position));
  for (size_t i = position; i < entries_.size(); ++i) {
    index_[entries_[i].first] = i;
  }
}

const MetadataValue* Metadata::Find(absl::string_view key) const {
  const auto it = index_.find(std::string(key));
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

std::optional<int64_t> Metadata::GetInteger(absl::string_view key) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  return std::visit(
      [](const auto& v) -> std::optional<int64_t> {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, uint64_t>) {
          if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
            return std::nullopt;
          }
          return static_cast<int64_t>(v);
        } else if constexpr (std::is_integral_v<T> &&
                             !std::is_same_v<T, bool>) {
          return static_cast<int64_t>(v);
        } else {
          return std::nullopt;
        }
      },
      *value);
}

std::optional<double> Metadata::GetNumber(absl::string_view key) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  return std::visit(
      [](const auto& v) -> std::optional<double> {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
          return static_cast<double>(v);
        } else {
          return std::nullopt;
        }
      },
      *value);
}

std::optional<bool> Metadata::GetBool(absl::string_view key) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr || !std::holds_alternative<bool>(*value)) {
    return std::nullopt;
  }
  return std::get<bool>(*value);
}

std::optional<std::string> Metadata::GetString(absl::string_view key) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr || !std::holds_alternative<std::string>(*value)) {
    return std::nullopt;
  }
  return std::get<std::string>(*value);
}

std::optional<std::vector<int64_t>> Metadata::GetIntegers(
    absl::string_view key) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  return std::visit(
      [](const auto& v) -> std::optional<std::vector<int64_t>> {
        using T = std::decay_t<decltype(v)>;
        if constexpr (!std::is_arithmetic_v<T> &&
                      !std::is_same_v<T, std::string>) {
          using Element = typename T::value_type;
          if constexpr (std::is_integral_v<Element>) {
            return std::vector<int64_t>(v.begin(), v.end());
          }
        }
        return std::nullopt;
      },
      *value);
}

}  // namespace narrow
