// Little-endian:
//
//   magic, 16 bytes | u64 fingerprint | i64 bytes of the body
//   | u64 Checksum of the body
//   body:
//     f64 mean loss | list of i32 labels
//     | i64 n | n lists of f32: token weights
//     | i64 n | n times: name, i64 which list
//     | i64 n | n times: list of i64 tokens, list of f32: experts' weights
//     | i64 n | n times: name, i64 expert, i64 which of them
//     | i64 n | n times: name, i64 expert, list of f64: output squares
//     | i64 n, -1 for no moments | n times: name, i64 expert, i64 outputs,
//       i64 rows, u64 Checksum
//   the sums of the moments in the same order, f64, whole squares
//
// where a name and a list begin with an i64, their length. Tested by:
// fisher_file_test.

#include "calibration/backward/fisher_file.h"

#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/base/file.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// The version is the last four.
constexpr absl::string_view kMagic = "narrow fishr0003";

#pragma pack(push, 1)
struct DiskHeader {
  char magic[16];
  uint64_t fingerprint;
  int64_t body_bytes;
  uint64_t checksum;
};
#pragma pack(pop)
static_assert(sizeof(DiskHeader) == 40, "frozen within a version");

uint64_t ChecksumOf(const void* bytes, size_t n) {
  Checksum sum;
  sum.Add(bytes, n);
  return sum.value();
}

class BodyWriter {
 public:
  template <typename T>
  void Number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  template <typename T>
  void List(const std::vector<T>& values) {
    Number(static_cast<int64_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()),
                  values.size() * sizeof(T));
  }
  void Name(const std::string& name) {
    Number(static_cast<int64_t>(name.size()));
    bytes_ += name;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reads what BodyWriter wrote; after an error everything is 0 and ok() false.
class BodyReader {
 public:
  explicit BodyReader(absl::Span<const uint8_t> bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }
  template <typename T>
  T Number() {
    T value = 0;
    Take(sizeof(value), &value);
    return value;
  }
  template <typename T>
  std::vector<T> List() {
    const int64_t n = Count(sizeof(T));
    std::vector<T> values(static_cast<size_t>(n));
    Take(values.size() * sizeof(T), values.data());
    return values;
  }
  std::string Name() {
    std::string name(static_cast<size_t>(Count(1)), '\0');
    Take(name.size(), &name[0]);
    return name;
  }
  // A number of things that take `bytes_each` at least.
  int64_t Count(size_t bytes_each) {
    const int64_t n = Number<int64_t>();
    if (n < 0 || static_cast<uint64_t>(n) > rest_.size() / bytes_each) {
      ok_ = false;
    }
    return ok_ ? n : 0;
  }
  void Fail() { ok_ = false; }

 private:
  void Take(size_t n, void* to) {
    if (!ok_ || n > rest_.size()) {
      ok_ = false;
      return;
    }
    if (n > 0) {
      std::memcpy(to, rest_.data(), n);
    }
    rest_.remove_prefix(n);
  }

  absl::Span<const uint8_t> rest_;
  bool ok_ = true;
};

// Numbers the different values that pointers show, in order.
template <typename T>
struct Numbered {
  std::vector<const T*> values;
  std::map<const T*, int64_t> index;

  int64_t Of(const std::shared_ptr<const T>& value) {
    const auto [at, is_new] =
        index.insert({value.get(), static_cast<int64_t>(values.size())});
    if (is_new) {
      values.push_back(value.get());
    }
    return at->second;
  }
};

void WriteTokens(const TokenWeights& tokens, BodyWriter* body) {
  Numbered<TokenWeights::Values> layers;
  Numbered<TokenWeights::ExpertValues> experts;
  for (const auto& [name, values] : tokens.layers) {
    layers.Of(values);
  }
  for (const auto& [key, values] : tokens.experts) {
    experts.Of(values);
  }
  body->Number(static_cast<int64_t>(layers.values.size()));
  for (const auto* values : layers.values) {
    body->List(*values);
  }
  body->Number(static_cast<int64_t>(tokens.layers.size()));
  for (const auto& [name, values] : tokens.layers) {
    body->Name(name);
    body->Number(layers.Of(values));
  }
  body->Number(static_cast<int64_t>(experts.values.size()));
  for (const auto* values : experts.values) {
    body->List(values->tokens);
    body->List(values->weights);
  }
  body->Number(static_cast<int64_t>(tokens.experts.size()));
  for (const auto& [key, values] : tokens.experts) {
    body->Name(key.first);
    body->Number(static_cast<int64_t>(key.second));
    body->Number(experts.Of(values));
  }
}

void ReadTokens(BodyReader* body, TokenWeights* tokens) {
  constexpr size_t kLeast = sizeof(int64_t);
  std::vector<std::shared_ptr<const TokenWeights::Values>> layers(
      static_cast<size_t>(body->Count(kLeast)));
  for (auto& values : layers) {
    values = std::make_shared<const TokenWeights::Values>(body->List<float>());
  }
  for (int64_t n = body->Count(2 * kLeast); n > 0; --n) {
    const std::string name = body->Name();
    const uint64_t which = body->Number<uint64_t>();
    if (which >= layers.size()) {
      return body->Fail();
    }
    tokens->layers[name] = layers[which];
  }
  std::vector<std::shared_ptr<const TokenWeights::ExpertValues>> experts(
      static_cast<size_t>(body->Count(2 * kLeast)));
  for (auto& values : experts) {
    TokenWeights::ExpertValues read;
    read.tokens = body->List<int64_t>();
    read.weights = body->List<float>();
    if (read.tokens.size() != read.weights.size()) {
      return body->Fail();
    }
    values =
        std::make_shared<const TokenWeights::ExpertValues>(std::move(read));
  }
  for (int64_t n = body->Count(3 * kLeast); n > 0; --n) {
    std::string name = body->Name();
    const int expert = static_cast<int>(body->Number<int64_t>());
    const uint64_t which = body->Number<uint64_t>();
    if (which >= experts.size()) {
      return body->Fail();
    }
    tokens->experts[{std::move(name), expert}] = experts[which];
  }
}

void WriteSquares(const FisherWeights& fisher, BodyWriter* body) {
  body->Number(static_cast<int64_t>(fisher.output_squares.size()));
  for (const auto& [key, squares] : fisher.output_squares) {
    body->Name(key.first);
    body->Number(static_cast<int64_t>(key.second));
    body->List(squares);
  }
}

void ReadSquares(BodyReader* body, FisherWeights* fisher) {
  constexpr size_t kLeast = 3 * sizeof(int64_t);
  for (int64_t n = body->Count(kLeast); n > 0; --n) {
    std::string name = body->Name();
    const int expert = static_cast<int>(body->Number<int64_t>());
    fisher->output_squares[{std::move(name), expert}] = body->List<double>();
  }
}

void WriteMoments(const OutputMoments* moments, BodyWriter* body) {
  if (moments == nullptr) {
    body->Number(int64_t{-1});
    return;
  }
  body->Number(static_cast<int64_t>(moments->layers().size()));
  for (const auto& [key, layer] : moments->layers()) {
    body->Name(key.first);
    body->Number(static_cast<int64_t>(key.second));
    body->Number(layer.n_outputs);
    body->Number(layer.n_rows);
    body->Number(layer.checksum);
  }
}

// Sums begin at `offset` of the file and end with it.
std::unique_ptr<OutputMoments> ReadMoments(
    const std::shared_ptr<const MappedFile>& file, int64_t offset,
    BodyReader* body) {
  constexpr int64_t kMostOutputs = int64_t{1} << 24;
  const int64_t size = static_cast<int64_t>(file->bytes().size());
  const int64_t n = body->Number<int64_t>();
  OutputMoments::Layers layers;
  for (int64_t i = 0; i < n && body->ok(); ++i) {
    std::string name = body->Name();
    const int expert = static_cast<int>(body->Number<int64_t>());
    OutputMoments::Layer layer;
    layer.n_outputs = body->Number<int64_t>();
    layer.n_rows = body->Number<int64_t>();
    layer.checksum = body->Number<uint64_t>();
    layer.offset = offset;
    if (layer.n_outputs <= 0 || layer.n_outputs > kMostOutputs ||
        layer.n_rows <= 0 || layer.n_bytes() > size - offset) {
      body->Fail();
      break;
    }
    offset += layer.n_bytes();
    layers[{std::move(name), expert}] = layer;
  }
  if (offset != size) {
    body->Fail();
  }
  return n < 0 || !body->ok() ? nullptr
                              : OutputMoments::OfFile(file, std::move(layers));
}

}  // namespace

absl::Status WriteFisherWeights(const FisherWeights& fisher,
                                uint64_t fingerprint, const std::string& path) {
  BodyWriter body;
  body.Number(fisher.mean_loss);
  body.List(fisher.labels);
  WriteTokens(fisher.tokens, &body);
  WriteSquares(fisher, &body);
  WriteMoments(fisher.moments.get(), &body);
  DiskHeader header = {};
  std::memcpy(header.magic, kMagic.data(), sizeof(header.magic));
  header.fingerprint = fingerprint;
  header.body_bytes = static_cast<int64_t>(body.bytes().size());
  header.checksum = ChecksumOf(body.bytes().data(), body.bytes().size());

  ASSIGN_OR_RETURN(auto file, OutputFile::Create(path));
  RETURN_IF_ERROR(file->Append(
      {reinterpret_cast<const uint8_t*>(&header), sizeof(header)}));
  RETURN_IF_ERROR(file->Append(body.bytes()));
  if (fisher.moments != nullptr) {
    for (const auto& [key, layer] : fisher.moments->layers()) {
      ASSIGN_OR_RETURN(const auto sums, fisher.moments->ReadSums(layer));
      RETURN_IF_ERROR(
          file->Append({reinterpret_cast<const uint8_t*>(sums.data()),
                        static_cast<size_t>(layer.n_bytes())}));
    }
  }
  return file->Finish();
}

absl::StatusOr<FisherWeights> ReadFisherWeights(const std::string& path,
                                                uint64_t fingerprint) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const auto damaged = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat(what, "; reading ", path));
  };
  const absl::Span<const uint8_t> bytes = file->bytes();
  DiskHeader header;
  if (bytes.size() < sizeof(header)) {
    return damaged(absl::StrCat("Fisher weights have ", sizeof(header),
                                " bytes at least, this file has ",
                                bytes.size()));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (absl::string_view(header.magic, sizeof(header.magic)) != kMagic) {
    return damaged("no Fisher weights, or those of another version");
  }
  const int64_t left = static_cast<int64_t>(bytes.size() - sizeof(header));
  if (header.body_bytes < 0 || header.body_bytes > left) {
    return damaged(absl::StrCat("Fisher weights of ", header.body_bytes,
                                " bytes, ", left, " are there"));
  }
  const auto body_bytes =
      bytes.subspan(sizeof(header), static_cast<size_t>(header.body_bytes));
  if (ChecksumOf(body_bytes.data(), body_bytes.size()) != header.checksum) {
    return damaged("the Fisher weights are damaged");
  }
  if (header.fingerprint != fingerprint) {
    return absl::FailedPreconditionError(absl::StrCat(
        "these Fisher weights are of another model, other samples or options; "
        "reading ",
        path));
  }
  BodyReader body(body_bytes);
  FisherWeights fisher;
  fisher.mean_loss = body.Number<double>();
  fisher.labels = body.List<int32_t>();
  ReadTokens(&body, &fisher.tokens);
  ReadSquares(&body, &fisher);
  fisher.moments = ReadMoments(
      file, static_cast<int64_t>(sizeof(header)) + header.body_bytes, &body);
  if (!body.ok() || !body.at_end()) {
    return damaged("the Fisher weights do not fit their file");
  }
  return fisher;
}

}  // namespace narrow
