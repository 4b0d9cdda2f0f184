#include "formats/tokenizer/pipeline/byte_alphabet.h"

#include <array>

#include "formats/base/text/utf8.h"

namespace narrow::byte_alphabet {
namespace {

constexpr uint32_t kEnd = 0x144;  // one past the last stand-in

bool IsVisible(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
         byte >= 0xae;
}

struct Tables {
  std::array<uint32_t, 256> code_points;
  std::array<int, kEnd> bytes;

  Tables() {
    bytes.fill(-1);
    uint32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      code_points[b] = IsVisible(b) ? static_cast<uint32_t>(b) : next++;
      bytes[code_points[b]] = b;
    }
  }
};

const Tables& GetTables() {
  static const Tables* const kTables = new Tables();
  return *kTables;
}

}  // namespace

uint32_t FromByte(uint8_t byte) { return GetTables().code_points[byte]; }

int ToByte(uint32_t code_point) {
  return code_point < kEnd ? GetTables().bytes[code_point] : -1;
}

std::string Encode(absl::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) {
    utf8::Append(FromByte(static_cast<uint8_t>(byte)), &out);
  }
  return out;
}

std::optional<std::string> Decode(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t n;
    const int byte = ToByte(utf8::Read(text.data() + i, &n));
    if (byte < 0) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(byte));
    i += n;
  }
  return out;
}

}  // namespace narrow::byte_alphabet
