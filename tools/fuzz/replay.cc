// Runs a fuzz target over files and over damaged copies of them:
//
//   gguf_fuzz SEED...
//
// The damage is the same in every run. A crash is the failure; the seed and
// the number of the copy are then printed.

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kDamagedCopies = 200;

class Generator {
 public:
  // At random below `end`, which is not 0.
  size_t Below(size_t end) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state_ >> 33) % end;
  }

 private:
  uint64_t state_ = 1;
};

// Some bits flipped, numbers set to extremes, bytes gone or doubled.
std::string Damaged(std::string bytes, Generator* generator) {
  for (size_t n = 1 + generator->Below(4); n > 0 && !bytes.empty(); --n) {
    const size_t at = generator->Below(bytes.size());
    switch (generator->Below(5)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << generator->Below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(generator->Below(256));
        break;
      case 2:
        bytes.replace(at, 8, 8, generator->Below(2) == 0 ? '\xff' : '\0');
        break;
      case 3:
        bytes.resize(at);
        break;
      default:
        bytes.insert(at, bytes.substr(at, 1 + generator->Below(64)));
    }
  }
  return bytes;
}

// What is being run; for a crash.
const char* g_seed = "";
int g_copy = 0;

void OnCrash(int signal_number) {
  std::fprintf(stderr, "signal %d in %s, copy %d\n", signal_number, g_seed,
               g_copy);
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

void RunOn(const std::string& bytes) {
  // On the heap, without a terminator: a sanitizer sees one byte too many.
  const std::vector<uint8_t> data(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(data.data(), data.size());
}

}  // namespace

int main(int argc, char** argv) {
  for (const int signal_number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    std::signal(signal_number, OnCrash);
  }
  Generator generator;
  for (int i = 1; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    if (!in || bytes.empty()) {
      std::fprintf(stderr, "cannot read %s\n", argv[i]);
      return 1;
    }
    g_seed = argv[i];
    for (g_copy = 0; g_copy <= kDamagedCopies; ++g_copy) {
      RunOn(g_copy == 0 ? bytes : Damaged(bytes, &generator));
    }
  }
  if (argc < 2) {
    std::fprintf(stderr, "no seeds\n");
    return 1;
  }
  return 0;
}
