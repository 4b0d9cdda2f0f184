// Key-value pairs of a container, with the value types of GGUF.
//
//   Metadata m;
//   m.Set("llama.block_count", uint32_t{32});
//   m.Set("tokenizer.ggml.tokens", std::vector<std::string>{...});
//   if (auto n = m.GetInteger("llama.block_count")) ...
//
// Order of insertion is kept, since writers keep it. A plain value: copyable,
// not synchronised.

#ifndef NARROW_FORMATS_METADATA_H_
#define NARROW_FORMATS_METADATA_H_

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow {

using MetadataValue =
    std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float,
                 bool, std::string, uint64_t, int64_t, double,
                 std::vector<uint8_t>, std::vector<int8_t>,
                 std::vector<uint16_t>, std::vector<int16_t>,
                 std::vector<uint32_t>, std::vector<int32_t>,
                 std::vector<float>, std::vector<bool>,
                 std::vector<std::string>, std::vector<uint64_t>,
                 std::vector<int64_t>, std::vector<double>>;

class Metadata {
 public:
  using Entry = std::pair<std::string, MetadataValue>;

  // Replaces the value of a present key in its place, else appends.
  void Set(absl::string_view key, MetadataValue value);
  void Erase(absl::string_view key);

  const MetadataValue* Find(absl::string_view key) const;
  bool Has(absl::string_view key) const { return Find(key) != nullptr; }

  // The value if the key is there with a type that converts without loss:
  // any integer type (in range), any number, a bool, a string.
  std::optional<int64_t> GetInteger(absl::string_view key) const;
  std::optional<double> GetNumber(absl::string_view key) const;
  std::optional<bool> GetBool(absl::string_view key) const;
  std::optional<std::string> GetString(absl::string_view key) const;
  // Any integer array, widened.
  std::optional<std::vector<int64_t>> GetIntegers(absl::string_view key) const;

  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace narrow

#endif  // NARROW_FORMATS_METADATA_H_
