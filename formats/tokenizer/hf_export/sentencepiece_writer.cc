#include "formats/tokenizer/hf_export/sentencepiece_writer.h"

#include <cstring>

namespace narrow {
namespace {

constexpr uint32_t kVarint = 0, kBytes = 2, kFixed32 = 5;  // wire types
constexpr uint64_t kBpe = 2;

void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

void AppendTag(uint32_t field, uint32_t wire_type, std::string* out) {
  AppendVarint(field << 3 | wire_type, out);
}

// Negative numbers take ten bytes, as two's complement of 64 bits.
void AppendInteger(uint32_t field, int64_t value, std::string* out) {
  AppendTag(field, kVarint, out);
  AppendVarint(static_cast<uint64_t>(value), out);
}

void AppendString(uint32_t field, absl::string_view text, std::string* out) {
  AppendTag(field, kBytes, out);
  AppendVarint(text.size(), out);
  out->append(text.data(), text.size());
}

void AppendFloat(uint32_t field, float value, std::string* out) {
  AppendTag(field, kFixed32, out);
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));  // little-endian, as we are
  out->append(bytes, sizeof(bytes));
}

}  // namespace

std::string SentencePieceModelBytes(absl::Span<const SentencePiece> pieces,
                                    const SentencePieceOptions& options) {
  std::string model, message;
  for (const SentencePiece& piece : pieces) {
    message.clear();
    AppendString(1, piece.text, &message);
    AppendFloat(2, piece.score, &message);
    AppendInteger(3, static_cast<int64_t>(piece.type), &message);
    AppendString(1, message, &model);
  }
  message.clear();
  AppendInteger(3, kBpe, &message);
  AppendInteger(4, static_cast<int64_t>(pieces.size()), &message);
  AppendInteger(35, options.byte_fallback ? 1 : 0, &message);
  AppendInteger(40, options.unk_id, &message);
  AppendInteger(41, options.bos_id, &message);
  AppendInteger(42, options.eos_id, &message);
  AppendInteger(43, options.pad_id, &message);
  AppendString(2, message, &model);
  message.clear();
  AppendString(1, "identity", &message);
  AppendInteger(3, options.add_dummy_prefix ? 1 : 0, &message);
  AppendInteger(4, 0, &message);
  AppendInteger(5, 1, &message);
  AppendString(3, message, &model);
  return model;
}

}  // namespace narrow
