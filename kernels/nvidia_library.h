// Libraries of NVIDIA's that a machine may have. They are loaded when they are
// first asked for and not linked: narrow runs without.
//
//   auto* api = new CublasApi();
//   ASSIGN_OR_RETURN(api->path, LoadNvidiaLibrary(
//       "cuBLAS", "libcublas.so", {"13", "12"},
//       {Symbol("cublasCreate_v2", &api->create), ...}));

#ifndef NARROW_KERNELS_NVIDIA_LIBRARY_H_
#define NARROW_KERNELS_NVIDIA_LIBRARY_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narrow {

// A function of a library, and where its address goes.
struct LibrarySymbol {
  const char* name;
  void** address;
};

template <typename Function>
LibrarySymbol Symbol(const char* name, Function** function) {
  static_assert(std::is_function<Function>::value, "a pointer to a function");
  return {name, reinterpret_cast<void**>(function)};
}

// The path of the first library that has all of `symbols`, which get their
// addresses: `file` with each of the versions behind it, in the folder that
// the environment variable NARROW_CUDA_LIBRARIES names, else where the loader
// looks, else in /usr/local/cuda/lib64. It stays loaded. NotFound tells where
// it was sought, or what one that was found lacks.
absl::StatusOr<std::string> LoadNvidiaLibrary(
    absl::string_view title, absl::string_view file,
    std::initializer_list<const char*> versions,
    const std::vector<LibrarySymbol>& symbols);

// "13.1.0" of 130100.
std::string LibraryVersion(int64_t number);

}  // namespace narrow

#endif  // NARROW_KERNELS_NVIDIA_LIBRARY_H_
