// What a program runs on, for manifests: no name of a host or a user.

#ifndef NARROW_CONVERTER_PROVENANCE_MACHINE_H_
#define NARROW_CONVERTER_PROVENANCE_MACHINE_H_

#include <string>

#include "converter/provenance/manifest.pb.h"

namespace narrow {

// What the system does not tell stays empty.
provenance::Machine ThisMachine();
// "g++ 12.2.0, x86_64".
std::string ThisBuild();
// "2026-11-22T12:00:00Z", now.
std::string UtcNow();

}  // namespace narrow

#endif  // NARROW_CONVERTER_PROVENANCE_MACHINE_H_
