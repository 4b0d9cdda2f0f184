// Tested by: base_file_test; against the tool itself: docs/measurements.md.

#include "validate/llama_base/base_file.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "kernels/rows/rows.h"
#include "validate/measures/compare_logits.h"

namespace narrow {
namespace {

constexpr char kMagic[] = "_logits_";
constexpr size_t kMagicBytes = 8;
constexpr size_t kHeaderBytes = 20;
constexpr int64_t kMaxContext = int64_t{1} << 20;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxWindows = int64_t{1} << 30;
// Nats below the top beyond which nothing is told apart, and below zero beyond
// which nothing counts.
constexpr float kClip = 16;
constexpr float kLevels = 65535;

int32_t IntAt(absl::Span<const uint8_t> bytes, size_t offset) {
  int32_t number;
  std::memcpy(&number, bytes.data() + offset, sizeof(number));
  return number;
}

absl::Status CheckHeader(const BaseHeader& header) {
  const auto refuse = [](absl::string_view name, int64_t value, int64_t least,
                         int64_t most) {
    return absl::DataLossError(absl::StrCat(name, " is ", value, ", ", least,
                                            " to ", most, " are possible"));
  };
  if (header.context < 3 || header.context > kMaxContext) {
    return refuse("n_ctx", header.context, 3, kMaxContext);
  }
  if (header.n_vocab < 1 || header.n_vocab > kMaxVocab) {
    return refuse("n_vocab", header.n_vocab, 1, kMaxVocab);
  }
  if (header.n_windows < 1 || header.n_windows > kMaxWindows) {
    return refuse("n_chunk", header.n_windows, 1, kMaxWindows);
  }
  return absl::OkStatus();
}

// No overflow: 2^30 windows of 2^19 rows of 2^26 bytes would be 2^75.
bool SizeOf(const BaseHeader& header, int64_t* n_bytes) {
  const auto times = [](int64_t a, int64_t b, int64_t* out) {
    return !__builtin_mul_overflow(a, b, out);
  };
  int64_t n_tokens = 0;
  int64_t n_rows = 0;
  return times(header.context * 4, header.n_windows, &n_tokens) &&
         times(header.n_windows, header.window_rows(), &n_rows) &&
         times(n_rows, header.row_codes() * 2, n_bytes) &&
         !__builtin_add_overflow(*n_bytes, n_tokens, n_bytes) &&
         !__builtin_add_overflow(*n_bytes, int64_t{kHeaderBytes}, n_bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<BaseFile>> BaseFile::Open(
    absl::string_view path) {
  std::unique_ptr<BaseFile> base(new BaseFile);
  ASSIGN_OR_RETURN(base->file_, MappedFile::Open(path));
  RETURN_IF_ERROR(Annotate(
      base->Read(),
      absl::StrCat("reading ", path, " as a base file of llama-perplexity")));
  return base;
}

absl::Status BaseFile::Read() {
  const absl::Span<const uint8_t> bytes = file_->bytes();
  if (bytes.size() < kHeaderBytes ||
      std::memcmp(bytes.data(), kMagic, kMagicBytes) != 0) {
    return absl::DataLossError("it does not begin with '_logits_'");
  }
  header_.context = IntAt(bytes, 8);
  header_.n_vocab = IntAt(bytes, 12);
  header_.n_windows = IntAt(bytes, 16);
  RETURN_IF_ERROR(CheckHeader(header_));
  int64_t n_bytes = 0;
  const bool fits = SizeOf(header_, &n_bytes);
  if (!fits || n_bytes != static_cast<int64_t>(bytes.size())) {
    return absl::DataLossError(
        absl::StrCat(header_.n_windows, " windows of ", header_.context,
                     " tokens over ", header_.n_vocab, " ids take ",
                     fits ? absl::StrCat(n_bytes) : "more than 2^63",
                     " bytes, the file has ", bytes.size(),
                     fits && n_bytes > static_cast<int64_t>(bytes.size())
                         ? "; was the program that wrote it stopped?"
                         : ""));
  }
  tokens_.resize(static_cast<size_t>(header_.context * header_.n_windows));
  rows_offset_ = kHeaderBytes + tokens_.size() * sizeof(int32_t);
  std::memcpy(tokens_.data(), bytes.data() + kHeaderBytes,
              tokens_.size() * sizeof(int32_t));
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i] < 0 || tokens_[i] >= header_.n_vocab) {
      return absl::DataLossError(absl::StrCat(
          "token ", i, " is number ", tokens_[i], " of ", header_.n_vocab,
          "; at offset ", kHeaderBytes + i * sizeof(int32_t)));
    }
  }
  return absl::OkStatus();
}

absl::Span<const uint8_t> BaseFile::Row(int64_t row) const {
  const size_t row_bytes = static_cast<size_t>(2 * header_.row_codes());
  return file_->bytes().subspan(
      rows_offset_ + static_cast<size_t>(row) * row_bytes, row_bytes);
}

absl::StatusOr<TokenComparison> BaseFile::Compare(int64_t row,
                                                  const float* logits,
                                                  int64_t n,
                                                  int32_t right) const {
  assert(n >= header_.n_vocab && right >= 0 && right < header_.n_vocab);
  const absl::Span<const uint8_t> bytes = Row(row);
  float scale;
  float least;
  std::memcpy(&scale, bytes.data(), sizeof(scale));
  std::memcpy(&least, bytes.data() + 4, sizeof(least));
  // Log-probabilities of a row reach from `least` to scale * 65535 above it.
  if (!(scale >= 0) || !(scale * kLevels <= 1.01f * kClip) ||
      !std::isfinite(least) || !(least + scale * kLevels < 0.1f)) {
    return absl::DataLossError(absl::StrCat(
        "row ", row, " has scale ", scale, " and least log-probability ", least,
        "; at offset ", bytes.data() - file_->bytes().data(), "; reading ",
        path()));
  }
  const uint8_t* codes = bytes.data() + 8;
  const auto log_prob = [&](int64_t i) {
    uint16_t code;
    std::memcpy(&code, codes + 2 * i, sizeof(code));
    return scale * static_cast<float>(code) + least;
  };
  TokenComparison token;
  const RowScore candidate = ScoreLogits(logits, n, right);
  token.candidate_nll = candidate.nll;
  token.reference_nll = -static_cast<double>(log_prob(right));
  // log q = logits - log_sum.
  const double log_sum = candidate.nll + static_cast<double>(logits[right]);
  float top = log_prob(0);
  int64_t top_token = 0;
  for (int64_t i = 0; i < header_.n_vocab; ++i) {
    const float p = log_prob(i);
    if (p > top) {
      top = p;
      top_token = i;
    }
    if (p > -kClip) {
      token.divergence +=
          std::exp(static_cast<double>(p)) *
          (static_cast<double>(p) - (static_cast<double>(logits[i]) - log_sum));
    }
  }
  token.same_top = candidate.top_token == top_token;
  return token;
}

void BaseFile::Release(int64_t first, int64_t n) const {
  if (n > 0) {
    const absl::Span<const uint8_t> begin = Row(first);
    file_->Release({begin.data(), static_cast<size_t>(n) * begin.size()});
  }
}

void EncodeBaseRow(const float* logits, int64_t n_vocab, uint16_t* codes) {
  const RowKernels& rows = RowKernelsForCpu();
  const float top = rows.max(logits, n_vocab);
  const float low =
      std::max(*std::min_element(logits, logits + n_vocab), top - kClip);
  const float log_sum =
      static_cast<float>(std::log(rows.exp_sum(logits, top, n_vocab)));
  const float scale = (top - low) / kLevels;
  const float least = low - top - log_sum;
  std::memcpy(codes, &scale, sizeof(scale));
  std::memcpy(codes + 2, &least, sizeof(least));
  codes += 4;
  const float inverse = scale > 0 ? 1 / scale : 0;
  for (int64_t i = 0; i < n_vocab; ++i) {
    codes[i] = logits[i] > low
                   ? static_cast<uint16_t>(std::min(
                         std::nearbyint(inverse * (logits[i] - low)), kLevels))
                   : 0;
  }
  if (n_vocab % 2 != 0) {
    codes[n_vocab] = 0;
  }
}

absl::Status CheckBasePath(const std::string& path) {
  if (FileExists(path)) {
    ASSIGN_OR_RETURN(const auto old, MappedFile::Open(path));
    if (!old->bytes().empty() &&
        (old->bytes().size() < kMagicBytes ||
         std::memcmp(old->bytes().data(), kMagic, kMagicBytes) != 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("a base file would replace ", path,
                       ", which is none; name another file, or remove it"));
    }
  }
  return OutputFile::Create(path).status();
}

absl::StatusOr<std::unique_ptr<BaseWriter>> BaseWriter::Create(
    const std::string& path, const BaseHeader& header,
    absl::Span<const int32_t> tokens) {
  int64_t n_bytes = 0;
  if (absl::Status status = CheckHeader(header);
      !status.ok() || !SizeOf(header, &n_bytes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a base file of llama-perplexity cannot hold this: ", status.message(),
        "; writing ", path));
  }
  assert(static_cast<int64_t>(tokens.size()) ==
         header.context * header.n_windows);
  ASSIGN_OR_RETURN(auto file, OutputFile::Create(path, n_bytes));
  RETURN_IF_ERROR(file->Append(absl::string_view(kMagic, kMagicBytes)));
  const int32_t numbers[] = {static_cast<int32_t>(header.context),
                             static_cast<int32_t>(header.n_vocab),
                             static_cast<int32_t>(header.n_windows)};
  RETURN_IF_ERROR(file->Append(
      {reinterpret_cast<const uint8_t*>(numbers), sizeof(numbers)}));
  RETURN_IF_ERROR(file->Append({reinterpret_cast<const uint8_t*>(tokens.data()),
                                tokens.size() * sizeof(int32_t)}));
  return std::unique_ptr<BaseWriter>(new BaseWriter(header, std::move(file)));
}

absl::Status BaseWriter::AppendRows(const float* logits, int64_t stride,
                                    int64_t n_rows) {
  std::vector<uint16_t> codes(static_cast<size_t>(header_.row_codes()));
  for (int64_t r = 0; r < n_rows; ++r) {
    EncodeBaseRow(logits + r * stride, header_.n_vocab, codes.data());
    RETURN_IF_ERROR(
        file_->Append({reinterpret_cast<const uint8_t*>(codes.data()),
                       codes.size() * sizeof(uint16_t)}));
  }
  n_written_ += n_rows;
  return absl::OkStatus();
}

absl::Status BaseWriter::Finish() {
  const int64_t n_rows = header_.n_windows * header_.window_rows();
  if (n_written_ != n_rows) {
    return absl::FailedPreconditionError(
        absl::StrCat(n_written_, " rows of ", n_rows, " were given; writing ",
                     file_->path()));
  }
  return file_->Finish();
}

}  // namespace narrow
