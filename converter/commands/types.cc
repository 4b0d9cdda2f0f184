// narrow types: what can be asked for, printed from the rows themselves.

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "converter/commands/command.h"
#include "converter/mix/file_type.h"
#include "converter/mix/mix_rules.h"
#include "formats/json/json_writer.h"
#include "formats/quant_type.h"
#include "kernels/cpu.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

const char* VariantName(const BlockCodec& codec) {
  const EncodeRowsFn chosen = codec.encode_for(CpuIsa());
  if (chosen == codec.encode_for(Isa::kScalar)) {
    return "scalar";
  }
  return chosen == codec.encode_for(Isa::kAvx2) ? "avx2" : "avx512";
}

// Whether a layer's matrix of this type needs an importance matrix, under
// any file type.
bool DemandsImportance(const BlockCodec& codec) {
  return DemandsImportance(FileType::kQ8_0, codec.type,
                           TensorRole::kAttentionQ);
}

const char* ImportanceWord(const BlockCodec& codec) {
  if (DemandsImportance(codec)) {
    return "demanded";
  }
  return codec.uses_importance ? "used" : "ignored";
}

void PrintFileTypes() {
  std::printf("File types (--to):\n  %-10s %5s  %s\n", "name", "id",
              "tensor types it may use");
  for (const FileType type : OfferedFileTypes()) {
    std::string uses;
    for (const QuantType tensor_type : PossibleTypes(type)) {
      uses += std::string(" ") + TypeName(tensor_type);
    }
    std::printf("  %-10s %5d %s\n", Info(type).name, Info(type).id,
                uses.c_str());
  }
}

void PrintTensorTypes() {
  std::printf(
      "\nTensor types (--tensor-type and the like):\n"
      "  %-8s %4s %8s %6s %11s %10s  %s\n",
      "name", "id", "weights", "bytes", "bits/weight", "importance",
      "encoder here");
  for (const BlockCodec* codec : AllCodecs()) {
    const TypeGeometry& g = Geometry(codec->type);
    if (g.ggml_id >= 0) {
      std::printf("  %-8s %4d %8d %6d %11.4f %10s  %s\n", g.name, g.ggml_id,
                  static_cast<int>(g.block_weights),
                  static_cast<int>(g.block_bytes), g.bits_per_weight(),
                  ImportanceWord(*codec), VariantName(*codec));
    }
  }
}

void WriteReport(JsonWriter* json) {
  json->BeginObject();
  json->Key("file_types").BeginArray();
  for (const FileType type : OfferedFileTypes()) {
    json->BeginObject();
    json->Key("name").String(Info(type).name);
    json->Key("id").Integer(Info(type).id);
    json->Key("tensor_types").BeginArray();
    for (const QuantType tensor_type : PossibleTypes(type)) {
      json->String(TypeName(tensor_type));
    }
    json->EndArray().EndObject();
  }
  json->EndArray();
  json->Key("tensor_types").BeginArray();
  for (const BlockCodec* codec : AllCodecs()) {
    const TypeGeometry& g = Geometry(codec->type);
    json->BeginObject();
    json->Key("name").String(g.name);
    json->Key("ggml_id").Integer(g.ggml_id);
    json->Key("block_weights").Integer(g.block_weights);
    json->Key("block_bytes").Integer(g.block_bytes);
    json->Key("bits_per_weight").Number(g.bits_per_weight());
    json->Key("uses_importance").Bool(codec->uses_importance);
    json->Key("demands_importance").Bool(DemandsImportance(*codec));
    json->EndObject();
  }
  json->EndArray().EndObject();
}

}  // namespace

void AddTypesCommand(CLI::App* app, CommandResult* result) {
  auto json_path = std::make_shared<std::string>();
  CLI::App* command =
      app->add_subcommand("types", "list the file and tensor types");
  command->footer("Example:\n  narrow types");
  AddJsonOption(command, json_path.get());
  command->callback([json_path, result] {
    JsonWriter json(JsonWriter::kIndented);
    WriteReport(&json);
    if (*json_path != "-") {
      PrintFileTypes();
      PrintTensorTypes();
    }
    result->status = WriteJson(*json_path, json.text());
  });
}

}  // namespace narrow
