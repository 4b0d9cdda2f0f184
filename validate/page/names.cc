#include "validate/page/names.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/text/utf8.h"
#include "validate/page/escape.h"

namespace narrow {
namespace {

constexpr absl::string_view kSeparators = "-_. ";

size_t CommonLength(const std::string& a, const std::string& b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + n, b.begin()).first - a.begin());
}

// Bytes that all names begin with, up to and with a separator.
size_t CommonPrefix(const std::vector<std::string>& names,
                    const std::string& original) {
  size_t n = names[0].size();
  for (const std::string& name : names) {
    n = std::min(n, CommonLength(name, names[0]));
  }
  if (names.size() == 1) {
    // "gemma-Q8_0" of "gemma": the original's name and the separator.
    n = CommonLength(names[0], original);
    if (n == original.size() && n < names[0].size() &&
        absl::StrContains(kSeparators, names[0].substr(n, 1))) {
      return n + 1;
    }
  }
  const size_t at =
      n == 0 ? std::string::npos
             : names[0].find_last_of(std::string(kSeparators), n - 1);
  return at == std::string::npos ? 0 : at + 1;
}

}  // namespace

std::string ModelName(absl::string_view path) {
  absl::ConsumeSuffix(&path, "/");
  absl::string_view name = path.substr(path.rfind('/') + 1);
  absl::ConsumeSuffix(&name, ".gguf");
  return Harmless(name.empty() ? path : name);
}

std::vector<std::string> ShortNames(const std::vector<std::string>& paths,
                                    absl::string_view original) {
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    names.push_back(ModelName(path));
  }
  if (names.empty()) {
    return names;
  }
  const size_t n = CommonPrefix(names, ModelName(original));
  std::set<std::string> seen;
  std::vector<std::string> shorter;
  for (const std::string& name : names) {
    shorter.push_back(name.substr(n));
    seen.insert(shorter.back());
  }
  if (seen.size() == names.size() && seen.count("") == 0) {
    return shorter;
  }
  if (std::set<std::string>(names.begin(), names.end()).size() ==
      names.size()) {
    return names;
  }
  std::vector<std::string> whole;
  for (const std::string& path : paths) {
    whole.push_back(Harmless(path));
  }
  return whole;
}

std::string Shortened(absl::string_view name, size_t n) {
  std::vector<absl::string_view> characters;
  for (size_t at = 0; at < name.size();) {
    const size_t length = std::min(
        utf8::Length(static_cast<unsigned char>(name[at])), name.size() - at);
    characters.push_back(name.substr(at, length));
    at += length;
  }
  if (characters.size() <= n) {
    return std::string(name);
  }
  const size_t head = (n - 1) / 2;
  const size_t tail = n - 1 - head;
  std::string out;
  for (size_t i = 0; i < characters.size(); ++i) {
    if (i < head || i >= characters.size() - tail) {
      absl::StrAppend(&out, characters[i]);
    } else if (i == head) {
      out += "…";
    }
  }
  return out;
}

}  // namespace narrow
