#include "formats/arch/stored_name.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace narrow {

StoredName ParseStoredName(absl::string_view name) {
  StoredName parsed;
  std::vector<std::string> parts;
  for (absl::string_view part : absl::StrSplit(name, '.')) {
    int64_t number;
    // Leading zeros would let two names mean one tensor.
    const bool is_number =
        !part.empty() && part.size() <= 9 &&
        std::all_of(part.begin(), part.end(),
                    [](char c) { return c >= '0' && c <= '9'; }) &&
        (part.size() == 1 || part[0] != '0') && absl::SimpleAtoi(part, &number);
    if (is_number) {
      parsed.numbers.push_back(number);
    }
    parts.push_back(is_number ? "{}" : std::string(part));
  }
  parsed.pattern = absl::StrJoin(parts, ".");
  return parsed;
}

std::string LanguageModelName(absl::string_view name) {
  return absl::StrReplaceAll(name, {{"language_model.", ""}});
}

bool IsOutsideLanguageModel(absl::string_view name) {
  for (absl::string_view prefix :
       {"mlp", "vit.", "vpm.", "siglip2.", "conformer.", "merger.",
        "resampler.", "sound_encoder.", "sound_projection.",
        "speech_embeddings."}) {
    if (absl::StartsWith(name, prefix)) {
      return true;
    }
  }
  for (absl::string_view part :
       {"visual.", "vision.", "audio.", "talker.", "vision_", "audio_",
        "token2wav.", "code2wav.", "projector.", "pre_mm_projector_norm",
        "image_newline", "view_seperator", "patch_embed", "patch_embedding",
        "patch_merger.", "patch_merge_mlp.", "model.connector."}) {
    if (absl::StrContains(name, part)) {
      return true;
    }
  }
  for (absl::string_view suffix :
       {".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq"}) {
    if (absl::EndsWith(name, suffix)) {
      return true;
    }
  }
  return false;
}

}  // namespace narrow
