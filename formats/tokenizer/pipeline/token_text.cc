#include "formats/tokenizer/pipeline/token_text.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"

namespace narrow {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if ((c | 32) >= 'a' && (c | 32) <= 'f') return (c | 32) - 'a' + 10;
  return -1;
}

bool IsBetween(absl::string_view text, absl::string_view prefix,
               absl::string_view suffix) {
  return absl::StartsWith(text, prefix) && absl::EndsWith(text, suffix);
}

}  // namespace

std::string ByteToken(uint8_t byte) {
  return absl::StrFormat("<0x%02X>", byte);
}

int ByteOfToken(absl::string_view text) {
  if (text.size() != 6 || !IsBetween(text, "<0x", ">")) return -1;
  const int high = HexDigit(text[3]);
  const int low = HexDigit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool LooksSpecial(absl::string_view text) {
  // U+FF5C, the full-width bar of DeepSeek's tokens.
  static constexpr absl::string_view kWideOpen = "<\xef\xbd\x9c";
  static constexpr absl::string_view kWideClose = "\xef\xbd\x9c>";
  static constexpr absl::string_view kNames[] = {"<pad>", "<mask>", "<2mass>",
                                                 "[@BOS@]"};
  return std::find(std::begin(kNames), std::end(kNames), text) !=
             std::end(kNames) ||
         IsBetween(text, "<|", "|>") ||
         IsBetween(text, kWideOpen, kWideClose) ||
         IsBetween(text, "<unused", ">");
}

}  // namespace narrow
