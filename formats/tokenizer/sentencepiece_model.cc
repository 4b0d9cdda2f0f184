#include "formats/tokenizer/sentencepiece_model.h"

#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"

namespace narrow {
namespace {

enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  uint64_t number = 0;
  int wire_type = 0;
  uint64_t varint = 0;      // kVarint
  absl::string_view bytes;  // the others
};

// Walks the fields of one message.
class FieldReader {
 public:
  // `offset` is that of `bytes` in the file.
  FieldReader(absl::string_view bytes, size_t offset, absl::string_view origin)
      : bytes_(bytes), offset_(offset), origin_(origin) {}

  bool AtEnd() const { return pos_ == bytes_.size(); }
  size_t OffsetOf(absl::string_view part) const {
    return offset_ + static_cast<size_t>(part.data() - bytes_.data());
  }

  absl::StatusOr<Field> Next() {
    Field field;
    ASSIGN_OR_RETURN(const uint64_t tag, Varint());
    field.number = tag >> 3;
    field.wire_type = static_cast<int>(tag & 7);
    size_t n = 0;
    switch (field.wire_type) {
      case kVarint: {
        ASSIGN_OR_RETURN(field.varint, Varint());
        return field;
      }
      case kFixed64:
        n = 8;
        break;
      case kFixed32:
        n = 4;
        break;
      case kBytes: {
        ASSIGN_OR_RETURN(const uint64_t length, Varint());
        if (length > bytes_.size() - pos_) return Damaged("truncated field");
        n = static_cast<size_t>(length);
        break;
      }
      default:
        return Damaged(absl::StrCat("unknown wire type ", field.wire_type));
    }
    if (n > bytes_.size() - pos_) return Damaged("truncated field");
    field.bytes = bytes_.substr(pos_, n);
    pos_ += n;
    return field;
  }

  absl::Status Damaged(absl::string_view cause) const {
    return absl::DataLossError(absl::StrCat("SentencePiece model: ", cause,
                                            "; at offset ", offset_ + pos_,
                                            "; reading ", origin_));
  }

 private:
  absl::StatusOr<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (pos_ >= bytes_.size()) return Damaged("truncated number");
      const auto byte = static_cast<unsigned char>(bytes_[pos_++]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return Damaged("number of more than 64 bits");
  }

  absl::string_view bytes_;
  size_t pos_ = 0;
  size_t offset_;
  absl::string_view origin_;
};

absl::StatusOr<SentencePiece> ReadPiece(FieldReader reader) {
  SentencePiece piece;
  while (!reader.AtEnd()) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.number == 1 && field.wire_type == kBytes) {
      piece.text = std::string(field.bytes);
      if (!utf8::IsValid(piece.text)) return reader.Damaged("not UTF-8");
    } else if (field.number == 2 && field.wire_type == kFixed32) {
      std::memcpy(&piece.score, field.bytes.data(), sizeof(piece.score));
    } else if (field.number == 3 && field.wire_type == kVarint) {
      if (field.varint < 1 || field.varint > 6) {
        return reader.Damaged(absl::StrCat("piece type ", field.varint));
      }
      piece.type = static_cast<SentencePiece::Type>(field.varint);
    }
  }
  return piece;
}

absl::StatusOr<uint64_t> ReadModelType(FieldReader reader) {
  uint64_t type = 1;  // the default of the format
  while (!reader.AtEnd()) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.number == 3 && field.wire_type == kVarint) type = field.varint;
  }
  return type;
}

}  // namespace

absl::StatusOr<std::vector<SentencePiece>> ParseSentencePieceModel(
    absl::string_view bytes, absl::string_view origin) {
  FieldReader reader(bytes, 0, origin);
  std::vector<SentencePiece> pieces;
  uint64_t model_type = 1;
  while (!reader.AtEnd()) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.wire_type != kBytes) continue;
    FieldReader inner(field.bytes, reader.OffsetOf(field.bytes), origin);
    if (field.number == 1) {
      ASSIGN_OR_RETURN(SentencePiece piece, ReadPiece(inner));
      pieces.push_back(std::move(piece));
    } else if (field.number == 2) {
      ASSIGN_OR_RETURN(model_type, ReadModelType(inner));
    }
  }
  if (pieces.empty()) return reader.Damaged("no pieces");
  if (model_type != 2) {
    static constexpr const char* kNames[] = {"unigram", "bpe", "word", "char"};
    return absl::UnimplementedError(absl::StrCat(
        "SentencePiece model type '",
        model_type >= 1 && model_type <= 4 ? kNames[model_type - 1] : "unknown",
        "' is not supported, only bpe; reading ", origin));
  }
  return pieces;
}

}  // namespace narrow
