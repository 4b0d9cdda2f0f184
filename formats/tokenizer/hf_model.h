// The vocabulary inside tokenizer.json: its BPE model and added tokens.

#ifndef NARROW_FORMATS_TOKENIZER_HF_MODEL_H_
#define NARROW_FORMATS_TOKENIZER_HF_MODEL_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "formats/json/json.h"
#include "formats/tokenizer/pipeline/added_tokens.h"
#include "formats/tokenizer/pipeline/bpe.h"

namespace narrow {

struct HfModel {
  // By id, model and added tokens; nothing where an id is not used.
  std::vector<std::optional<std::string>> texts;
  absl::flat_hash_map<std::string, int32_t> ids;
  // One more than the highest id of the model's own vocabulary, and the
  // number of its entries; added tokens may come after.
  int64_t n_model_ids = 0;
  int64_t n_model_tokens = 0;
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<BpeMerge> merge_ids;
  std::vector<AddedToken> added;
  std::optional<std::string> unk_token;
  int32_t unk_id = -1;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;

  // Of "<0x00>" … "<0xFF>", -1 where there is none.
  std::array<int32_t, 256> ByteIds() const;
  // A byte-pair encoder of this vocabulary. `bytes_are_units`: its texts are
  // spelled in the byte alphabet and the words will be plain bytes.
  BpeModel MakeBpe(bool bytes_are_units, bool ignore_merges_too) const;
};

// `root` is the whole of tokenizer.json. DataLoss names file and field;
// Unimplemented names models other than BPE and options that we lack.
absl::StatusOr<HfModel> ParseHfModel(const JsonValue& root);

}  // namespace narrow

#endif  // NARROW_FORMATS_TOKENIZER_HF_MODEL_H_
