#include "formats/tokenizer/pipeline/decoder.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "formats/base/status.h"
#include "formats/base/text/utf8.h"
#include "formats/tokenizer/pipeline/byte_alphabet.h"
#include "formats/tokenizer/pipeline/normalizer.h"
#include "formats/tokenizer/pipeline/token_text.h"

namespace narrow {
namespace {

constexpr int kMaxDepth = 16;
constexpr char kReplacementChar[] = "\xef\xbf\xbd";

// A token with a character outside the byte alphabet is text as it stands.
std::string JoinBytes(const std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) {
    if (const auto decoded = byte_alphabet::Decode(token)) {
      bytes += *decoded;
    } else {
      bytes += token;
    }
  }
  return utf8::ToValid(bytes);
}

// Runs of byte tokens become text if they are UTF-8 as a whole, else a
// replacement character each.
std::vector<std::string> FallBack(const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (utf8::IsValid(bytes)) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), kReplacementChar);
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    const int byte = ByteOfToken(token);
    if (byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

std::string StripEnds(absl::string_view text, absl::string_view content,
                      int64_t start, int64_t stop) {
  for (; start > 0 && absl::StartsWith(text, content); --start) {
    text.remove_prefix(content.size());
  }
  for (; stop > 0 && absl::EndsWith(text, content); --stop) {
    text.remove_suffix(content.size());
  }
  return std::string(text);
}

std::string ReplaceAll(const Regex& regex, absl::string_view content,
                       absl::string_view text) {
  std::string out;
  size_t copied = 0;
  Regex::Scratch scratch;
  regex.ForEachMatch(text, &scratch, [&](size_t start, size_t end) {
    absl::StrAppend(&out, text.substr(copied, start - copied), content);
    copied = end;
  });
  absl::StrAppend(&out, text.substr(copied));
  return out;
}

absl::StatusOr<std::string> GetText(const JsonValue& json,
                                    absl::string_view key) {
  ASSIGN_OR_RETURN(const JsonValue value, json.Get(key));
  ASSIGN_OR_RETURN(const absl::string_view text, value.GetString());
  return std::string(text);
}

}  // namespace

absl::StatusOr<Decoder> Decoder::FromJson(const JsonValue& json) {
  Decoder decoder;
  if (!json.is_null()) {
    decoder.joins_by_space_ = false;
    RETURN_IF_ERROR(decoder.AddStep(json, 0));
  }
  return decoder;
}

absl::Status Decoder::AddStep(const JsonValue& json, int depth) {
  ASSIGN_OR_RETURN(const std::string type, GetText(json, "type"));
  if (depth > kMaxDepth) return json.Error("decoders nested too deep");
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonValue list, json.Get("decoders"));
    ASSIGN_OR_RETURN(const auto members, list.GetElements());
    for (const JsonValue& member : members) {
      RETURN_IF_ERROR(AddStep(member, depth + 1));
    }
    return absl::OkStatus();
  }
  Step step;
  if (type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
  } else if (type == "ByteFallback") {
    step.kind = Kind::kByteFallback;
  } else if (type == "Fuse") {
    step.kind = Kind::kFuse;
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    ASSIGN_OR_RETURN(const JsonValue pattern_json, json.Get("pattern"));
    ASSIGN_OR_RETURN(const std::string pattern, PatternFromJson(pattern_json));
    auto regex = Regex::Compile(pattern);
    if (!regex.ok()) {
      return Annotate(regex.status(), pattern_json.Error("pattern").message());
    }
    step.regex = std::make_shared<const Regex>(*std::move(regex));
    ASSIGN_OR_RETURN(step.content, GetText(json, "content"));
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    ASSIGN_OR_RETURN(step.content, GetText(json, "content"));
    if (step.content.empty()) return json.Error("empty content");
    ASSIGN_OR_RETURN(const JsonValue start, json.Get("start"));
    ASSIGN_OR_RETURN(step.start, start.GetInteger());
    ASSIGN_OR_RETURN(const JsonValue stop, json.Get("stop"));
    ASSIGN_OR_RETURN(step.stop, stop.GetInteger());
  } else if (type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    ASSIGN_OR_RETURN(step.content, GetText(json, "replacement"));
    step.drop_first = true;
    if (const auto scheme = json.FindNonNull("prepend_scheme")) {
      ASSIGN_OR_RETURN(const absl::string_view name, scheme->GetString());
      step.drop_first = name != "never";
    } else if (const auto prefix = json.FindNonNull("add_prefix_space")) {
      ASSIGN_OR_RETURN(step.drop_first, prefix->GetBool());
    }
  } else {
    return absl::UnimplementedError(
        absl::StrCat("decoder '", type, "' is not supported; ",
                     json.Error("found").message()));
  }
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

void Decoder::ApplyStep(const Step& step, std::vector<std::string>* tokens) {
  switch (step.kind) {
    case Kind::kByteLevel:
      *tokens = {JoinBytes(*tokens)};
      break;
    case Kind::kByteFallback:
      *tokens = FallBack(*tokens);
      break;
    case Kind::kFuse:
      *tokens = {absl::StrJoin(*tokens, "")};
      break;
    case Kind::kReplace:
      for (std::string& token : *tokens) {
        token = ReplaceAll(*step.regex, step.content, token);
      }
      break;
    case Kind::kStrip:
      for (std::string& token : *tokens) {
        token = StripEnds(token, step.content, step.start, step.stop);
      }
      break;
    case Kind::kMetaspace:
      for (size_t i = 0; i < tokens->size(); ++i) {
        const bool drop = i == 0 && step.drop_first;
        (*tokens)[i] = absl::StrReplaceAll((*tokens)[i],
                                           {{step.content, drop ? "" : " "}});
      }
      break;
  }
}

std::string Decoder::Apply(std::vector<std::string> tokens) const {
  if (joins_by_space_) return absl::StrJoin(tokens, " ");
  for (const Step& step : steps_) ApplyStep(step, &tokens);
  return absl::StrJoin(tokens, "");
}

}  // namespace narrow
