// Tokenizes and compares, for checks by hand and by tools/clients.
//
//   tokenize ids SOURCE [--no-special] [--no-parse] < text > ids.i32
//   tokenize text SOURCE [--keep-special] < ids.i32 > text
//   tokenize batch SOURCE [--no-special] [--no-parse] < texts > results
//   tokenize keys FOLDER REFERENCE.gguf [PRE]
//
// SOURCE is a checkpoint folder or a GGUF file; ids are little-endian 32-bit
// integers, with the time per token on the error stream. `batch` reads
// texts, each after its bytes as a 32-bit integer, and writes for each the
// number of ids, the ids, the bytes of the decoded text, and that text. `keys`
// compares the tokenizer's metadata with those of a reference file.

#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_reader.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/vocabulary.h"

namespace narrow {
namespace {

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& source) {
  if (!absl::EndsWith(source, ".gguf")) {
    return Tokenizer::FromHfDirectory(source);
  }
  ASSIGN_OR_RETURN(const auto reader, OpenGguf(source));
  return Tokenizer::FromGguf(reader->metadata());
}

bool HasFlag(const std::vector<std::string>& args, absl::string_view flag) {
  for (const std::string& arg : args) {
    if (arg == flag) return true;
  }
  return false;
}

std::string ReadInput() {
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

absl::Status Ids(const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(const auto tokenizer, Load(args[1]));
  EncodeOptions options;
  options.add_special = !HasFlag(args, "--no-special");
  options.parse_special = !HasFlag(args, "--no-parse");
  const std::string text = ReadInput();
  const auto start = std::chrono::steady_clock::now();
  const std::vector<int32_t> ids = tokenizer->Encode(text, options);
  const std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  std::fwrite(ids.data(), sizeof(int32_t), ids.size(), stdout);
  std::fprintf(stderr, "%zu tokens, %.0f a second\n", ids.size(),
               static_cast<double>(ids.size()) / seconds.count());
  return absl::OkStatus();
}

void WriteCount(size_t n) {
  const auto count = static_cast<uint32_t>(n);
  std::fwrite(&count, sizeof(count), 1, stdout);
}

absl::Status Batch(const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(const auto tokenizer, Load(args[1]));
  EncodeOptions options;
  options.add_special = !HasFlag(args, "--no-special");
  options.parse_special = !HasFlag(args, "--no-parse");
  const std::string input = ReadInput();
  uint32_t n = 0;
  for (size_t i = 0; i + sizeof(n) <= input.size(); i += n) {
    std::memcpy(&n, input.data() + i, sizeof(n));
    i += sizeof(n);
    const auto text = absl::string_view(input).substr(i, n);
    const std::vector<int32_t> ids = tokenizer->Encode(text, options);
    WriteCount(ids.size());
    std::fwrite(ids.data(), sizeof(int32_t), ids.size(), stdout);
    const std::string decoded = tokenizer->Decode(ids);
    WriteCount(decoded.size());
    std::fwrite(decoded.data(), 1, decoded.size(), stdout);
  }
  return absl::OkStatus();
}

absl::Status Text(const std::vector<std::string>& args) {
  ASSIGN_OR_RETURN(const auto tokenizer, Load(args[1]));
  const std::string input = ReadInput();
  std::vector<int32_t> ids(input.size() / sizeof(int32_t));
  std::memcpy(ids.data(), input.data(), ids.size() * sizeof(int32_t));
  const std::string text =
      tokenizer->Decode(ids, !HasFlag(args, "--keep-special"));
  std::fwrite(text.data(), 1, text.size(), stdout);
  return absl::OkStatus();
}

std::vector<Metadata::Entry> TokenizerEntries(const Metadata& metadata) {
  std::vector<Metadata::Entry> entries;
  for (const Metadata::Entry& entry : metadata.entries()) {
    if (absl::StartsWith(entry.first, "tokenizer.")) entries.push_back(entry);
  }
  return entries;
}

template <typename T>
void PrintDifferences(const std::string& key, const MetadataValue& ours,
                      const MetadataValue& theirs) {
  const auto* a = std::get_if<std::vector<T>>(&ours);
  const auto* b = std::get_if<std::vector<T>>(&theirs);
  if (a == nullptr || b == nullptr) return;
  std::cout << key << ": " << a->size() << " and " << b->size() << " entries\n";
  int n_shown = 0;
  for (size_t i = 0; i < std::min(a->size(), b->size()); ++i) {
    if ((*a)[i] != (*b)[i] && n_shown++ < 10) {
      std::cout << "  " << i << ": '" << (*a)[i] << "' and '" << (*b)[i]
                << "'\n";
    }
  }
}

absl::Status Keys(const std::vector<std::string>& args) {
  VocabularyOptions options;
  if (args.size() > 3) options.pre = args[3];
  ASSIGN_OR_RETURN(const Vocabulary vocabulary,
                   VocabularyFromHfDirectory(args[1], options));
  Metadata ours_all;
  AddTokenizerMetadata(vocabulary, &ours_all);
  ASSIGN_OR_RETURN(const auto reader, OpenGguf(args[2]));
  const auto ours = TokenizerEntries(ours_all);
  const auto theirs = TokenizerEntries(reader->metadata());
  bool equal = ours.size() == theirs.size();
  for (size_t i = 0; i < std::max(ours.size(), theirs.size()); ++i) {
    const bool both = i < ours.size() && i < theirs.size();
    if (both && ours[i] == theirs[i]) continue;
    equal = false;
    std::cout << "key " << i << ": '" << (i < ours.size() ? ours[i].first : "")
              << "' and '" << (i < theirs.size() ? theirs[i].first : "")
              << "'\n";
    if (!both || ours[i].first != theirs[i].first) continue;
    const std::string& key = ours[i].first;
    PrintDifferences<std::string>(key, ours[i].second, theirs[i].second);
    PrintDifferences<int32_t>(key, ours[i].second, theirs[i].second);
    PrintDifferences<float>(key, ours[i].second, theirs[i].second);
    const auto* a = std::get_if<std::string>(&ours[i].second);
    const auto* b = std::get_if<std::string>(&theirs[i].second);
    if (a != nullptr && b != nullptr) {
      std::cout << "  '" << *a << "' and '" << *b << "'\n";
    }
  }
  std::cout << (equal ? "equal: " : "DIFFERENT: ") << ours.size() << " keys\n";
  return equal ? absl::OkStatus() : absl::FailedPreconditionError("different");
}

int Main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  absl::Status status = absl::InvalidArgumentError(
      "usage: tokenize ids|text|batch|keys SOURCE …; see the head of "
      "tokenize.cc");
  if (args.size() >= 2 && args[0] == "ids") status = Ids(args);
  if (args.size() >= 2 && args[0] == "text") status = Text(args);
  if (args.size() >= 2 && args[0] == "batch") status = Batch(args);
  if (args.size() >= 3 && args[0] == "keys") status = Keys(args);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace narrow

int main(int argc, char** argv) { return narrow::Main(argc, argv); }
