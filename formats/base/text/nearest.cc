#include "formats/base/text/nearest.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "absl/strings/ascii.h"

namespace narrow {
namespace {

// Levenshtein's distance, one row of the table at a time.
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const bool same = absl::ascii_tolower(a[i]) == absl::ascii_tolower(b[j]);
      const size_t replaced = diagonal + (same ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

// Of a beginning that both have.
size_t CommonPrefix(absl::string_view a, absl::string_view b) {
  size_t n = 0;
  while (n < a.size() && n < b.size() &&
         absl::ascii_tolower(a[n]) == absl::ascii_tolower(b[n])) {
    ++n;
  }
  return n;
}

}  // namespace

std::string NearestName(absl::string_view name,
                        absl::Span<const std::string> candidates) {
  std::string nearest;
  size_t least = std::numeric_limits<size_t>::max();
  size_t prefix = 0;
  for (const std::string& candidate : candidates) {
    const size_t distance = Distance(name, candidate);
    const size_t common = CommonPrefix(name, candidate);
    if (distance < least || (distance == least && common > prefix)) {
      least = distance;
      prefix = common;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace narrow
