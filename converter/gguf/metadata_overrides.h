// Values for metadata keys from the command line: --override-kv.
//
//   ASSIGN_OR_RETURN(MetadataOverride row,
//                    ParseMetadataOverride("llama.context_length=int:8192"));
//   RETURN_IF_ERROR(ApplyOverride(row, OverridePlace::kEnd, &metadata));
//
// KEY=TYPE:VALUE, TYPE being int, float, bool or str. VALUE may be a list in
// brackets, [1,2,3], for keys that hold one value a layer; of a str it is
// taken as it is. A value has the type that the key has in the file, width and
// sign included, and must fit it; a new key is u32 (u64 if it must be; i32,
// i64 below zero), f32, bool or a string. Where llama-quantize would write the
// value asked for, the bytes are llama-quantize's.
//
// Plain values, pure functions.

#ifndef NARROW_CONVERTER_GGUF_METADATA_OVERRIDES_H_
#define NARROW_CONVERTER_GGUF_METADATA_OVERRIDES_H_

#include <string>
#include <variant>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/metadata.h"

namespace narrow {

struct MetadataOverride {
  std::string key;
  // Integers wide enough for u64 and i64 alike.
  std::variant<absl::int128, double, bool, std::string,
               std::vector<absl::int128>, std::vector<double>,
               std::vector<bool>>
      value;
};

// InvalidArgument says which part of `text` is wrong. The keys split.* are
// refused: they follow from the shards written.
absl::StatusOr<MetadataOverride> ParseMetadataOverride(absl::string_view text);

// Where the value of a present key goes.
enum class OverridePlace {
  kSame,
  kEnd,  // of the keys, as llama-quantize has it
};

// InvalidArgument if the key's value is of another kind (numbers, fractions,
// truth values, text), or too narrow for the number.
absl::Status ApplyOverride(const MetadataOverride& row, OverridePlace place,
                           Metadata* metadata);

}  // namespace narrow

#endif  // NARROW_CONVERTER_GGUF_METADATA_OVERRIDES_H_
