// Text as Python's str sees it: a sequence of code points, kept as UTF-8.
//
// Every argument is valid UTF-8. Positions and lengths count code points.
// Pure functions, safe from any thread.

#ifndef NARROW_FORMATS_CHAT_JINJA_VALUES_TEXT_H_
#define NARROW_FORMATS_CHAT_JINJA_VALUES_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace narrow::jinja {

// What str.isspace and \s accept.
bool IsSpace(uint32_t code_point);
// What str.isprintable accepts: repr shows it as it is.
bool IsPrintable(uint32_t code_point);

int64_t CodePointCount(absl::string_view text);
std::vector<uint32_t> CodePoints(absl::string_view text);
std::string FromCodePoints(const std::vector<uint32_t>& code_points);
// Byte offset of code point `index`; the size if there are fewer.
size_t ByteOffset(absl::string_view text, int64_t index);

enum class Sides { kBoth, kLeft, kRight };
absl::string_view StripSpace(absl::string_view text, Sides sides);
// Strips what is among the code points of `set`.
absl::string_view StripSet(absl::string_view text, absl::string_view set,
                           Sides sides);

// str.split() and str.rsplit(): at runs of space, none at the ends. At most
// `max_splits` of them, if that is not negative.
std::vector<absl::string_view> SplitAtSpace(absl::string_view text,
                                            int64_t max_splits,
                                            bool from_right);
// At `separator`. REQUIRES: it is not empty.
std::vector<absl::string_view> SplitAt(absl::string_view text,
                                       absl::string_view separator,
                                       int64_t max_splits, bool from_right);
// str.splitlines(): at every line end that Unicode knows.
std::vector<absl::string_view> SplitLines(absl::string_view text,
                                          bool keep_ends);
// At most `max_times` times, if that is not negative. An empty `from` stands
// before every code point and at the end.
std::string Replace(absl::string_view text, absl::string_view from,
                    absl::string_view to, int64_t max_times);

std::string Upper(absl::string_view text);
std::string Lower(absl::string_view text);
// The first code point as a title begins, the others in lower case.
std::string Capitalize(absl::string_view text);
// Every run of letters so.
std::string Title(absl::string_view text);

// The is... methods of str; false for the empty text.
bool IsAlphabetic(absl::string_view text);
bool IsNumeric(absl::string_view text);
bool IsDigits(absl::string_view text);
bool IsDecimal(absl::string_view text);
bool IsAlphanumeric(absl::string_view text);
bool IsAllSpace(absl::string_view text);
bool IsUpperCase(absl::string_view text);
bool IsLowerCase(absl::string_view text);

}  // namespace narrow::jinja

#endif  // NARROW_FORMATS_CHAT_JINJA_VALUES_TEXT_H_
