// File types: the names under which people ask for a mix of tensor types.
//
//   ASSIGN_OR_RETURN(FileType t, ParseFileType("q4_k_m"));
//   Info(t).default_type;   // QuantType::kQ4_K
//
// Constant tables; safe from any thread.

#ifndef NARROW_CONVERTER_MIX_FILE_TYPE_H_
#define NARROW_CONVERTER_MIX_FILE_TYPE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/quant_type.h"

namespace narrow {

enum class FileType : uint8_t {
#define NARROW_FILE_TYPE(enumerator, ...) enumerator,
#include "converter/mix/file_types.inc"
#undef NARROW_FILE_TYPE
};

struct FileTypeInfo {
  FileType type;
  const char* name;  // as llama-quantize spells it: Q4_K_M
  int id;            // general.file_type
  QuantType default_type;
};

absl::Span<const FileTypeInfo> AllFileTypes();
const FileTypeInfo& Info(FileType type);

// By name in any case, by llama.cpp's number, or by the aliases Q3_K, Q4_K
// and Q5_K of their _M forms. NotFound says the nearest name.
absl::StatusOr<FileType> ParseFileType(absl::string_view name);

}  // namespace narrow

#endif  // NARROW_CONVERTER_MIX_FILE_TYPE_H_
