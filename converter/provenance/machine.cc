#include "converter/provenance/machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <ctime>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "formats/base/parallel.h"

namespace narrow {
namespace {

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (absl::StartsWith(line, "model name") && colon != line.npos) {
      return std::string(absl::StripAsciiWhitespace(
          absl::string_view(line).substr(colon + 1)));
    }
  }
  return "";
}

}  // namespace

provenance::Machine ThisMachine() {
  provenance::Machine machine;
  machine.set_processor(ProcessorName());
  machine.set_n_processors(NumProcessors());
  const long n_pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (n_pages > 0 && page_bytes > 0) {
    machine.set_memory_bytes(static_cast<int64_t>(n_pages) * page_bytes);
  }
  utsname system;
  if (uname(&system) == 0) {
    machine.set_system(
        absl::StrCat(system.sysname, " ", system.release, " ", system.machine));
  }
  return machine;
}

std::string ThisBuild() {
  utsname system;
  const std::string target =
      uname(&system) == 0 ? absl::StrCat(", ", system.machine) : "";
  return absl::StrCat("g++ " __VERSION__, target);
}

std::string UtcNow() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace narrow
