// Our codecs beside ggml's own, one thread, in one run: are the bytes equal,
// and how much faster are they?
//
//   pip install xllamacpp
//   bazel run -c opt //kernels/quant:versus_ggml --
//       --ggml=libpython3.11.so.1.0 --ggml=.../xllamacpp.abi3.so
//
// --ggml=LIB      a shared library, loaded in the order given, of which the
//                 last exports ggml_quantize_chunk (xllamacpp's needs Python's)
// --weights=FILE  raw float32 rows of --cols weights, compared as well
// --rows, --cols  size of the generated weights (64 x 4096)
// --types=A,B     codecs to compare (all)
// --table         compare random weights instead, and print a table
// --repeats=N     timings of each, in processor time, of which the least
//                 counts (5)
//
// Bytes are compared over all distributions of test_weights.h and all kinds
// of importance that a type works with, but where ggml ends the process;
// times are for normal weights. The environment variable NARROW_ISA chooses
// our variant. Exit code 1: bytes differ.

#include <dlfcn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "formats/quant_type.h"
#include "kernels/quant/codec.h"
#include "kernels/quant/random_weights.h"
#include "kernels/quant/test_weights.h"

namespace narrow {
namespace {

using QuantizeFn = size_t (*)(int type, const float* weights, void* bytes,
                              int64_t start, int64_t n_rows, int64_t n_cols,
                              const float* importance);
using DequantizeFn = void (*)(const void* bytes, float* weights, int64_t n);

struct Options {
  std::vector<std::string> libraries;
  std::string weights_file;
  int64_t rows = 64;
  int64_t cols = 4096;
  int repeats = 5;
  std::vector<std::string> types;
  bool table = false;
};

bool ParseOptions(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; ++i) {
    absl::string_view flag = argv[i];
    if (absl::ConsumePrefix(&flag, "--ggml=")) {
      options->libraries.emplace_back(flag);
    } else if (absl::ConsumePrefix(&flag, "--weights=")) {
      options->weights_file = std::string(flag);
    } else if (absl::ConsumePrefix(&flag, "--rows=")) {
      options->rows = std::atoll(flag.data());
    } else if (absl::ConsumePrefix(&flag, "--cols=")) {
      options->cols = std::atoll(flag.data());
    } else if (absl::ConsumePrefix(&flag, "--types=")) {
      options->types = absl::StrSplit(flag, ',');
    } else if (flag == "--table") {
      options->table = true;
    } else if (absl::ConsumePrefix(&flag, "--repeats=")) {
      options->repeats = std::atoi(flag.data());
    } else {
      return false;
    }
  }
  return !options->libraries.empty() && options->rows > 0 &&
         options->cols > 0 && options->cols % 32 == 0 && options->repeats > 0;
}

struct Matrix {
  std::string name;
  std::vector<float> weights;
  int64_t n_cols;

  int64_t n_rows() const {
    return static_cast<int64_t>(weights.size()) / n_cols;
  }
};

std::vector<Matrix> MakeMatrices(const Options& options) {
  std::vector<Matrix> matrices;
  if (options.table) {
    for (RandomWeights& random :
         MakeRandomWeights(options.rows, options.cols)) {
      matrices.push_back(
          {random.name, std::move(random.weights), options.cols});
    }
  }
  for (int d = 0; d < kNumDistributions && !options.table; ++d) {
    const auto distribution = static_cast<Distribution>(d);
    matrices.push_back({DistributionName(distribution),
                        TestWeights(distribution, options.rows, options.cols),
                        options.cols});
  }
  if (!options.weights_file.empty()) {
    std::ifstream in(options.weights_file, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    Matrix matrix = {options.weights_file, {}, options.cols};
    const int64_t n_rows =
        static_cast<int64_t>(bytes.size()) / 4 / options.cols;
    matrix.weights.resize(n_rows * options.cols);
    std::memcpy(matrix.weights.data(), bytes.data(), matrix.weights.size() * 4);
    std::printf("%s: %ld rows of %ld\n", options.weights_file.c_str(),
                static_cast<long>(n_rows), static_cast<long>(options.cols));
    matrices.push_back(std::move(matrix));
  }
  return matrices;
}

// Time that this thread computed; what else runs on the machine hardly
// changes it.
double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) +
         static_cast<double>(now.tv_nsec) * 1e-9;
}

// One codec, one library.
class Duel {
 public:
  Duel(const BlockCodec& codec, QuantizeFn quantize, DequantizeFn dequantize)
      : codec_(codec),
        geometry_(Geometry(codec.type)),
        quantize_(quantize),
        dequantize_(dequantize) {}

  // Whether bytes and decoded weights are equal.
  bool Compare(const Matrix& matrix, const std::string& kind,
               const std::vector<float>& importance) {
    Resize(matrix);
    if (!GgmlSurvives(matrix, importance)) {
      return true;
    }
    EncodeTheirs(matrix, importance);
    EncodeOurs(matrix, importance);
    if (ours_ != theirs_) {
      std::printf("%s differs on %s, importance %s\n", geometry_.name,
                  matrix.name.c_str(), kind.c_str());
      return false;
    }
    DecodeTheirs();
    const std::vector<float> expected = decoded_;
    DecodeOurs();
    for (size_t i = 0; i < expected.size(); ++i) {
      if (std::memcmp(&expected[i], &decoded_[i], 4) != 0 &&
          !(expected[i] != expected[i] && decoded_[i] != decoded_[i])) {
        std::printf("%s decodes differently on %s\n", geometry_.name,
                    matrix.name.c_str());
        return false;
      }
    }
    return true;
  }

  void TimeEncode(const Matrix& matrix, ImportanceKind kind, int repeats) {
    const auto importance = TestImportance(kind, matrix.n_cols);
    Resize(matrix);
    const std::string what =
        kind == ImportanceKind::kNone ? "encode" : "encode, importance";
    Report(
        what, matrix, repeats, [&] { EncodeTheirs(matrix, importance); },
        [&] { EncodeOurs(matrix, importance); });
  }

  void TimeDecode(const Matrix& matrix, ImportanceKind kind, int repeats) {
    Resize(matrix);
    EncodeOurs(matrix, TestImportance(kind, matrix.n_cols));
    theirs_ = ours_;
    Report(
        "decode", matrix, repeats, [&] { DecodeTheirs(); },
        [&] { DecodeOurs(); });
  }

 private:
  void Resize(const Matrix& matrix) {
    const size_t n_bytes =
        matrix.weights.size() / codec_.block * geometry_.block_bytes;
    ours_.assign(n_bytes, 0);
    theirs_.assign(n_bytes, 0);
    decoded_.resize(matrix.weights.size());
  }

  void EncodeTheirs(const Matrix& matrix,
                    const std::vector<float>& importance) {
    quantize_(geometry_.ggml_id, matrix.weights.data(), theirs_.data(), 0,
              matrix.n_rows(), matrix.n_cols,
              importance.empty() ? nullptr : importance.data());
  }

  // Whether ggml encodes this at all, found in a process of its own.
  bool GgmlSurvives(const Matrix& matrix,
                    const std::vector<float>& importance) {
    if (std::all_of(matrix.weights.begin(), matrix.weights.end(),
                    [](float w) { return std::fabs(w) < 1e9f; })) {
      return true;  // these it does
    }
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      close(STDOUT_FILENO);
      close(STDERR_FILENO);
      EncodeTheirs(matrix, importance);
      _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    return status == 0;
  }

  void EncodeOurs(const Matrix& matrix, const std::vector<float>& importance) {
    codec_.EncodeRows(matrix.weights.data(), matrix.n_rows(), matrix.n_cols,
                      importance.empty() ? nullptr : importance.data(),
                      ours_.data());
  }

  void DecodeTheirs() {
    dequantize_(theirs_.data(), decoded_.data(),
                static_cast<int64_t>(decoded_.size()));
  }

  void DecodeOurs() {
    codec_.Decode(ours_.data(),
                  static_cast<int64_t>(decoded_.size()) / codec_.block,
                  decoded_.data());
  }

  // Alternates, so that both meet the same machine; the least time of each
  // is what the code can do.
  template <typename Theirs, typename Ours>
  void Report(const std::string& what, const Matrix& matrix, int repeats,
              const Theirs& theirs, const Ours& ours) {
    double their_seconds = 1e9;
    double our_seconds = 1e9;
    for (int i = 0; i < repeats; ++i) {
      const double start = ThreadSeconds();
      theirs();
      const double middle = ThreadSeconds();
      ours();
      const double end = ThreadSeconds();
      their_seconds = std::min(their_seconds, middle - start);
      our_seconds = std::min(our_seconds, end - middle);
    }
    const double megabytes =
        static_cast<double>(matrix.weights.size()) * 4 / 1e6;
    std::printf("%-6s %-20s ggml %8.1f MB/s   narrow %8.1f MB/s   %6.2fx\n",
                geometry_.name, what.c_str(), megabytes / their_seconds,
                megabytes / our_seconds, their_seconds / our_seconds);
    std::fflush(stdout);
  }

  const BlockCodec& codec_;
  const TypeGeometry& geometry_;
  QuantizeFn quantize_;
  DequantizeFn dequantize_;
  std::vector<uint8_t> ours_;
  std::vector<uint8_t> theirs_;
  std::vector<float> decoded_;
};

// ggml's decoder of a type; nullptr if the library has none.
DequantizeFn FindDequantize(void* library, const TypeGeometry& geometry) {
  std::string symbol = std::string("dequantize_row_") + geometry.ggml_name;
  if (geometry.type == QuantType::kF16) {
    symbol = "ggml_fp16_to_fp32_row";
  } else if (geometry.type == QuantType::kBF16) {
    symbol = "ggml_bf16_to_fp32_row";
  }
  return reinterpret_cast<DequantizeFn>(dlsym(library, symbol.c_str()));
}

// A line of the table: in how many of the cases of each matrix the bytes are
// equal; false if not in all.
bool PrintLine(const BlockCodec& codec, const std::vector<Matrix>& matrices,
               Duel* duel) {
  std::printf("| %s |", TypeName(codec.type));
  bool equal = true;
  for (const Matrix& matrix : matrices) {
    std::vector<RandomImportance> kinds;
    if (codec.uses_importance) {
      kinds = MakeRandomImportances(matrix.n_cols);
    }
    if (!codec.requires_importance) {
      kinds.push_back({"none", {}});
    }
    size_t n_equal = 0;
    for (const RandomImportance& kind : kinds) {
      n_equal += duel->Compare(matrix, kind.name, kind.importance);
    }
    std::printf(" %zu of %zu |", n_equal, kinds.size());
    equal = equal && n_equal == kinds.size();
  }
  std::printf("\n");
  return equal;
}

bool RunAll(void* library, QuantizeFn quantize, const Options& options) {
  const std::vector<Matrix> matrices = MakeMatrices(options);
  if (options.table) {
    std::printf("| type |");
    for (const Matrix& matrix : matrices) {
      std::printf(" %s |", matrix.name.c_str());
    }
    std::printf("\n");
  }
  const auto init =
      reinterpret_cast<void (*)(int)>(dlsym(library, "ggml_quantize_init"));
  bool equal = true;
  for (const BlockCodec* codec : AllCodecs()) {
    const DequantizeFn dequantize =
        FindDequantize(library, Geometry(codec->type));
    if (!options.types.empty() &&
        std::find(options.types.begin(), options.types.end(),
                  TypeName(codec->type)) == options.types.end()) {
      continue;
    }
    // F32 and F64 ggml copies; rows of other lengths have no super-blocks.
    if (dequantize == nullptr || options.cols % codec->block != 0) {
      continue;
    }
    // Its tables, once and not in every child.
    if (init != nullptr) {
      init(Geometry(codec->type).ggml_id);
    }
    Duel duel(*codec, quantize, dequantize);
    if (options.table) {
      equal = PrintLine(*codec, matrices, &duel) && equal;
      continue;
    }
    const int first_kind = codec->requires_importance ? 1 : 0;
    const int n_kinds = codec->uses_importance ? kNumImportanceKinds : 1;
    int n_equal = 0;
    for (const Matrix& matrix : matrices) {
      for (int k = first_kind; k < n_kinds; ++k) {
        const auto kind = static_cast<ImportanceKind>(k);
        n_equal += duel.Compare(matrix, ImportanceName(kind),
                                TestImportance(kind, matrix.n_cols));
      }
    }
    const int n_cases =
        static_cast<int>(matrices.size()) * (n_kinds - first_kind);
    std::printf("%-6s equal in %d of %d cases\n", TypeName(codec->type),
                n_equal, n_cases);
    equal = equal && n_equal == n_cases;
    if (!codec->requires_importance) {
      duel.TimeEncode(matrices[0], ImportanceKind::kNone, options.repeats);
    }
    if (codec->uses_importance) {
      duel.TimeEncode(matrices[0], ImportanceKind::kVaried, options.repeats);
    }
    duel.TimeDecode(matrices[0], static_cast<ImportanceKind>(first_kind),
                    options.repeats);
  }
  return equal;
}

int Main(int argc, char** argv) {
  Options options;
  if (!ParseOptions(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: versus_ggml --ggml=LIB [--ggml=LIB ...] "
                 "[--weights=FILE] [--rows=N] [--cols=MULTIPLE_OF_32] "
                 "[--repeats=N] [--types=A,B] [--table]\n");
    return 2;
  }
  void* library = nullptr;
  for (const std::string& path : options.libraries) {
    library = dlopen(path.c_str(), RTLD_LAZY | RTLD_GLOBAL);
    if (library == nullptr) {
      std::fprintf(stderr, "%s\n", dlerror());
      return 2;
    }
  }
  const auto quantize =
      reinterpret_cast<QuantizeFn>(dlsym(library, "ggml_quantize_chunk"));
  if (quantize == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  return RunAll(library, quantize, options) ? 0 : 1;
}

}  // namespace
}  // namespace narrow

int main(int argc, char** argv) { return narrow::Main(argc, argv); }
