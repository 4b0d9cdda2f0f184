// Bytes as a file that has a name but takes no disk, for readers that open
// paths.
//
//   MemoryFile file(data, size);
//   auto source = OpenGguf(file.path());
//
// The file ends with the object.

#ifndef NARROW_TOOLS_FUZZ_MEMORY_FILE_H_
#define NARROW_TOOLS_FUZZ_MEMORY_FILE_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

namespace narrow {

class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size)
      : descriptor_(memfd_create("fuzz", 0)) {
    if (descriptor_ < 0 ||
        write(descriptor_, data, size) != static_cast<ssize_t>(size)) {
      std::abort();
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { close(descriptor_); }

  std::string path() const {
    return "/proc/self/fd/" + std::to_string(descriptor_);
  }

 private:
  int descriptor_;
};

}  // namespace narrow

#endif  // NARROW_TOOLS_FUZZ_MEMORY_FILE_H_
