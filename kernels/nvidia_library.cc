#include "kernels/nvidia_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace narrow {
namespace {

// The first that `library` lacks, else nullptr.
const char* FindAll(void* library, const std::vector<LibrarySymbol>& symbols) {
  for (const LibrarySymbol& symbol : symbols) {
    *symbol.address = dlsym(library, symbol.name);
    if (*symbol.address == nullptr) {
      return symbol.name;
    }
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<std::string> LoadNvidiaLibrary(
    absl::string_view title, absl::string_view file,
    std::initializer_list<const char*> versions,
    const std::vector<LibrarySymbol>& symbols) {
  std::vector<std::string> folders;
  if (const char* named = std::getenv("NARROW_CUDA_LIBRARIES")) {
    folders.push_back(absl::StrCat(named, "/"));
  }
  folders.push_back("");  // where the loader looks
  folders.push_back("/usr/local/cuda/lib64/");
  std::vector<std::string> tried;
  for (const std::string& folder : folders) {
    for (const char* version : versions) {
      const std::string path = absl::StrCat(folder, file, ".", version);
      void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) {
        tried.push_back(path);
        continue;
      }
      const char* const missing = FindAll(library, symbols);
      if (missing == nullptr) {
        return path;
      }
      tried.push_back(absl::StrCat(path, " (without ", missing, ")"));
      dlclose(library);
    }
  }
  return absl::NotFoundError(
      absl::StrCat(title, " was not found as ", absl::StrJoin(tried, ", "),
                   "; set NARROW_CUDA_LIBRARIES to the folder that has it"));
}

std::string LibraryVersion(int64_t number) {
  return absl::StrCat(number / 10000, ".", number / 100 % 100, ".",
                      number % 100);
}

}  // namespace narrow
