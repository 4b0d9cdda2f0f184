// The version of Narrow. A change of the bytes that a recipe gives for the
// same input is a new one.

#ifndef NARROW_CONVERTER_VERSION_H_
#define NARROW_CONVERTER_VERSION_H_

namespace narrow {

inline constexpr char kNarrowVersion[] = "0.1.0";

}  // namespace narrow

#endif  // NARROW_CONVERTER_VERSION_H_
