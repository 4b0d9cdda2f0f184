// narrow inspect: what a model file holds.

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/commands/command.h"
#include "converter/progress.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/containers.h"
#include "formats/json/json.h"
#include "formats/json/json_writer.h"
#include "formats/packing/packing.h"
#include "formats/packing/quantized_matrix.h"
#include "formats/tensor.h"

namespace narrow {
namespace {

constexpr char kExamples[] = R"(Examples:
  narrow inspect model-Q4_K_M.gguf
  narrow inspect models/gemma-3-270m --json -)";

constexpr size_t kShownElements = 6;  // of an array
constexpr size_t kShownBytes = 70;    // of a string

struct Flags {
  std::string path;
  std::string json;
  bool no_tensors = false;
  bool full = false;
};

struct Totals {
  int64_t n_tensors = 0;
  int64_t n_weights = 0;
  int64_t n_bytes = 0;
};

double BitsPerWeight(int64_t n_bytes, int64_t n_weights) {
  return n_weights == 0 ? 0
                        : 8.0 * static_cast<double>(n_bytes) /
                              static_cast<double>(n_weights);
}

// Control characters and the like made visible; the rest cut unless `full`.
std::string Quoted(absl::string_view text, bool full) {
  std::string shown;
  const size_t n = full ? text.size() : std::min(text.size(), kShownBytes);
  for (const char c : text.substr(0, n)) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      shown += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppend(&shown, absl::StrFormat("\\x%02x", byte));
    } else {
      shown += c;
    }
  }
  return absl::StrCat("'", shown, "'", n < text.size() ? "…" : "");
}

template <typename T>
std::string ScalarText(const T& value, bool full) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return Quoted(value, full);
  } else {
    return absl::StrCat(value);
  }
}

template <typename T>
constexpr const char* TypeWord() {
  if constexpr (std::is_same_v<T, bool>) {
    return "bool";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return "string";
  } else if constexpr (std::is_same_v<T, float>) {
    return "f32";
  } else if constexpr (std::is_same_v<T, double>) {
    return "f64";
  } else {
    constexpr bool is_signed = std::is_signed_v<T>;
    switch (sizeof(T)) {
      case 1:
        return is_signed ? "i8" : "u8";
      case 2:
        return is_signed ? "i16" : "u16";
      case 4:
        return is_signed ? "i32" : "u32";
      default:
        return is_signed ? "i64" : "u64";
    }
  }
}

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};

std::string ValueText(const MetadataValue& value, bool full) {
  return std::visit(
      [full](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (IsVector<T>::value) {
          using Element = typename T::value_type;
          std::string text =
              absl::StrCat(TypeWord<Element>(), "[", v.size(), "] ");
          const size_t n = full ? v.size() : std::min(v.size(), kShownElements);
          for (size_t i = 0; i < n; ++i) {
            absl::StrAppend(&text, i == 0 ? "" : ", ",
                            ScalarText(static_cast<Element>(v[i]), full));
          }
          return absl::StrCat(text, n < v.size() ? ", …" : "");
        } else {
          return absl::StrCat(TypeWord<T>(), " ", ScalarText(v, full));
        }
      },
      value);
}

template <typename T>
void WriteScalar(const T& value, JsonWriter* json) {
  if constexpr (std::is_same_v<T, bool>) {
    json->Bool(value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    json->String(value);
  } else if constexpr (std::is_floating_point_v<T>) {
    json->Number(value);
  } else if constexpr (std::is_same_v<T, uint64_t>) {
    json->Unsigned(value);
  } else {
    json->Integer(value);
  }
}

void WriteValue(const MetadataValue& value, JsonWriter* json) {
  std::visit(
      [json](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (IsVector<T>::value) {
          json->BeginArray();
          for (size_t i = 0; i < v.size(); ++i) {
            WriteScalar(static_cast<typename T::value_type>(v[i]), json);
          }
          json->EndArray();
        } else {
          WriteScalar(v, json);
        }
      },
      value);
}

// What is packed in a directory of another program's quantization.
struct Packed {
  const Packing* packing = nullptr;
  std::map<std::string, Totals> by_scheme;
  Totals modules;
  Totals planes;
};

absl::StatusOr<Packed> FindPacked(const JsonValue& config,
                                  const TensorSource& source) {
  Packed packed;
  ASSIGN_OR_RETURN(packed.packing, RecognisePacking(config));
  ASSIGN_OR_RETURN(const std::vector<PackedModule> modules,
                   packed.packing->find(config, source));
  for (const PackedModule& module : modules) {
    Totals totals;
    totals.n_tensors = 1;
    totals.n_weights = module.n_rows * module.n_cols;
    for (const TensorView* plane : module.planes) {
      if (plane != nullptr) {
        ++packed.planes.n_tensors;
        packed.planes.n_weights += plane->meta.n_elements();
        totals.n_bytes += plane->meta.n_bytes();
      }
    }
    for (Totals* sum :
         {&packed.by_scheme[SchemeName(module.scheme)], &packed.modules}) {
      sum->n_tensors += totals.n_tensors;
      sum->n_weights += totals.n_weights;
      sum->n_bytes += totals.n_bytes;
    }
  }
  return packed;
}

// nullopt for what is no quantized directory; one that cannot be read is
// shown as its file has it, with a warning.
std::optional<Packed> PackedIn(const std::string& path,
                               const TensorSource& source) {
  const std::string file = JoinPath(path, "config.json");
  if (!IsDirectory(path) || !FileExists(file)) {
    return std::nullopt;
  }
  const auto document = JsonDocument::ReadFile(file);
  if (!document.ok()) {
    return std::nullopt;
  }
  const std::optional<JsonValue> config =
      (*document)->root().FindNonNull("quantization_config");
  if (!config) {
    return std::nullopt;
  }
  auto packed = FindPacked(*config, source);
  if (!packed.ok()) {
    std::fprintf(stderr, "narrow: warning: %s\n",
                 OneLine(packed.status().message()).c_str());
    return std::nullopt;
  }
  return *std::move(packed);
}

// Weights rather than the elements of planes.
int64_t NumWeights(int64_t n_elements, const std::optional<Packed>& packed) {
  return packed
             ? n_elements - packed->planes.n_weights + packed->modules.n_weights
             : n_elements;
}

void PrintPacked(const Packed& packed) {
  std::printf("packed layers: %d, by %s\n",
              static_cast<int>(packed.modules.n_tensors),
              packed.packing->title);
  for (const auto& [name, totals] : packed.by_scheme) {
    std::printf("  %-24s %5d layers %16s weights %14s %9.4f bits per weight\n",
                name.c_str(), static_cast<int>(totals.n_tensors),
                absl::StrCat(totals.n_weights).c_str(),
                FormatBytes(totals.n_bytes).c_str(),
                BitsPerWeight(totals.n_bytes, totals.n_weights));
  }
}

void WritePacked(const Packed& packed, JsonWriter* json) {
  json->Key("packing").BeginObject();
  json->Key("name").String(packed.packing->name);
  json->Key("schemes").BeginArray();
  for (const auto& [name, totals] : packed.by_scheme) {
    json->BeginObject();
    json->Key("scheme").String(name);
    json->Key("layers").Integer(totals.n_tensors);
    json->Key("weights").Integer(totals.n_weights);
    json->Key("bytes").Integer(totals.n_bytes);
    json->EndObject();
  }
  json->EndArray().EndObject();
}

void Add(const TensorMeta& meta, Totals* totals) {
  ++totals->n_tensors;
  totals->n_weights += meta.n_elements();
  totals->n_bytes += meta.n_bytes();
}

// The files that the tensors lie in, in their order. Shards may have keys
// only, and are not among them.
std::vector<std::pair<std::string, Totals>> ByFile(const TensorSource& source) {
  std::vector<std::pair<std::string, Totals>> files;
  for (const TensorView& view : source.tensors()) {
    const std::string& file = view.origin.file;
    auto at =
        std::find_if(files.rbegin(), files.rend(),
                     [&](const auto& other) { return other.first == file; });
    if (at == files.rend()) {
      files.emplace_back(file, Totals());
      at = files.rbegin();
    }
    Add(view.meta, &at->second);
  }
  return files;
}

void Print(const TensorSource& source, const std::optional<Packed>& packed,
           const Flags& flags) {
  std::printf("format: %s\n", std::string(source.format()).c_str());
  std::printf("metadata: %d keys\n",
              static_cast<int>(source.metadata().size()));
  for (const Metadata::Entry& entry : source.metadata().entries()) {
    std::printf("  %s = %s\n", OneLine(entry.first).c_str(),
                ValueText(entry.second, flags.full).c_str());
  }
  std::map<std::string, Totals> by_type;
  Totals all;
  std::printf("tensors: %d\n", static_cast<int>(source.tensors().size()));
  for (const TensorView& view : source.tensors()) {
    const TensorMeta& meta = view.meta;
    Add(meta, &by_type[TypeName(meta.type)]);
    Add(meta, &all);
    if (!flags.no_tensors) {
      std::printf("  %-40s %-22s %-8s %12s\n", OneLine(meta.name).c_str(),
                  ShapeString(meta.shape).c_str(), TypeName(meta.type),
                  absl::StrCat(meta.n_bytes()).c_str());
    }
  }
  const auto files = ByFile(source);
  if (files.size() > 1) {
    std::printf("in %d files:\n", static_cast<int>(files.size()));
    for (const auto& [file, totals] : files) {
      std::printf("  %s: %d tensors, %s\n", file.c_str(),
                  static_cast<int>(totals.n_tensors),
                  FormatBytes(totals.n_bytes).c_str());
    }
  }
  std::printf("by type:\n");
  for (const auto& [name, totals] : by_type) {
    std::printf("  %-8s %5d tensors %16s weights %14s %9.4f bits per weight\n",
                name.c_str(), static_cast<int>(totals.n_tensors),
                absl::StrCat(totals.n_weights).c_str(),
                FormatBytes(totals.n_bytes).c_str(),
                BitsPerWeight(totals.n_bytes, totals.n_weights));
  }
  if (packed) {
    PrintPacked(*packed);
  }
  all.n_weights = NumWeights(all.n_weights, packed);
  std::printf("total: %s weights, %s bytes (%s), %.4f bits per weight\n",
              absl::StrCat(all.n_weights).c_str(),
              absl::StrCat(all.n_bytes).c_str(),
              FormatBytes(all.n_bytes).c_str(),
              BitsPerWeight(all.n_bytes, all.n_weights));
}

void WriteReport(const TensorSource& source,
                 const std::optional<Packed>& packed, JsonWriter* json) {
  int64_t n_weights = 0;
  int64_t n_bytes = 0;
  json->BeginObject();
  json->Key("format").String(source.format());
  json->Key("metadata").BeginObject();
  for (const Metadata::Entry& entry : source.metadata().entries()) {
    json->Key(entry.first);
    WriteValue(entry.second, json);
  }
  json->EndObject();
  json->Key("tensors").BeginArray();
  for (const TensorView& view : source.tensors()) {
    const TensorMeta& meta = view.meta;
    n_weights += meta.n_elements();
    n_bytes += meta.n_bytes();
    json->BeginObject();
    json->Key("name").String(meta.name);
    json->Key("type").String(TypeName(meta.type));
    json->Key("shape").BeginArray();
    for (const int64_t size : meta.shape) {
      json->Integer(size);
    }
    json->EndArray();
    json->Key("bytes").Integer(meta.n_bytes());
    json->Key("file").String(view.origin.file);
    json->Key("offset").Integer(view.origin.offset);
    json->EndObject();
  }
  json->EndArray();
  if (packed) {
    WritePacked(*packed, json);
  }
  n_weights = NumWeights(n_weights, packed);
  json->Key("weights").Integer(n_weights);
  json->Key("bytes").Integer(n_bytes);
  json->Key("bits_per_weight").Number(BitsPerWeight(n_bytes, n_weights));
  json->EndObject();
}

absl::Status Run(const Flags& flags) {
  RETURN_IF_ERROR(CheckJsonPath(flags.json));
  ASSIGN_OR_RETURN(const auto source, OpenTensorSource(flags.path));
  const std::optional<Packed> packed = PackedIn(flags.path, *source);
  if (flags.json != "-") {
    Print(*source, packed, flags);
  }
  if (flags.json.empty()) {
    return absl::OkStatus();
  }
  JsonWriter json(JsonWriter::kIndented);
  WriteReport(*source, packed, &json);
  return WriteJson(flags.json, json.text());
}

}  // namespace

void AddInspectCommand(CLI::App* app, CommandResult* result) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app->add_subcommand(
      "inspect", "show metadata, tensors, types and sizes of a model file");
  command->footer(kExamples);
  command
      ->add_option("file", flags->path,
                   "GGUF or safetensors file, or a model directory")
      ->required();
  command->add_flag("--no-tensors", flags->no_tensors,
                    "leave out the line of each tensor");
  command->add_flag("--full", flags->full,
                    "show long strings and arrays whole");
  AddJsonOption(command, &flags->json);
  command->callback([flags, result] { result->status = Run(*flags); });
}

}  // namespace narrow
