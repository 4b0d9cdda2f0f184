// What `narrow --version` says: version, build, instruction sets, devices.

#ifndef NARROW_CONVERTER_VERSION_TEXT_H_
#define NARROW_CONVERTER_VERSION_TEXT_H_

#include <string>

namespace narrow {

// Four lines, the first "narrow VERSION". Looks for devices.
std::string VersionText();

}  // namespace narrow

#endif  // NARROW_CONVERTER_VERSION_TEXT_H_
