// The file that llama-perplexity writes with --kl-divergence-base and reads
// with --kl-divergence: a text's tokens, and for every scored position the
// log-probabilities of the whole vocabulary in 16 bits.
//
//   ASSIGN_OR_RETURN(auto base, BaseFile::Open("base.kld"));
//   base->tokens();
//   ASSIGN_OR_RETURN(TokenComparison token,
//                    base->Compare(row, logits, n_vocab, right_token));
//
//   ASSIGN_OR_RETURN(auto out, BaseWriter::Create(path, header, tokens));
//   RETURN_IF_ERROR(out->AppendRows(logits, n_vocab, n_rows));
//   RETURN_IF_ERROR(out->Finish());
//
// Little-endian, frozen:
//
//   0   8  "_logits_"
//   8   4  n_ctx     int32: tokens a window
//  12   4  n_vocab   int32
//  16   4  n_chunk   int32: windows
//  20   4 * n_ctx * n_chunk: the tokens, as in the text (no BOS put in)
//   …   windows * (n_ctx - 1 - n_ctx / 2) rows of 2 * nv bytes,
//       nv = 2 * ((n_vocab + 1) / 2) + 4:
//       scale f32, least f32, then uint16 codes: log p = scale * code + least
//
// What lies 16 nats below the most probable token is raised to there, so the
// probabilities of a row sum to more than 1 (by 3 % where a vocabulary of
// 262144 is flat); llama-perplexity takes the divergence over those above
// e^-16 alone, and so does Compare. Figures against a base file are therefore
// near those against the model itself, not equal to them.

#ifndef NARROW_VALIDATE_LLAMA_BASE_BASE_FILE_H_
#define NARROW_VALIDATE_LLAMA_BASE_BASE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "formats/base/file.h"
#include "validate/measures/paired_scores.h"

namespace narrow {

struct BaseHeader {
  int64_t context = 0;  // n_ctx
  int64_t n_vocab = 0;
  int64_t n_windows = 0;  // n_chunk

  // Scored positions of a window: the second half, less the last, which
  // predicts nothing that the window has.
  int64_t window_rows() const { return context - 1 - context / 2; }
  // uint16 numbers of a row, its scale and least value among them.
  int64_t row_codes() const { return 2 * ((n_vocab + 1) / 2) + 4; }
};

// Immutable after Open and safe to share between threads.
class BaseFile {
 public:
  // DataLoss, with place, both numbers and file, unless the file has the size
  // that its header says and its tokens lie in its vocabulary.
  static absl::StatusOr<std::unique_ptr<BaseFile>> Open(absl::string_view path);

  const BaseHeader& header() const { return header_; }
  const std::string& path() const { return file_->path(); }
  // Of all windows, one after another.
  const std::vector<int32_t>& tokens() const { return tokens_; }

  // Row `row` of all windows together, against a candidate's logits, by
  // llama-perplexity's rules. DataLoss for a scale or least value that no
  // log-probabilities have. REQUIRES: n >= n_vocab; `right` < n_vocab.
  absl::StatusOr<TokenComparison> Compare(int64_t row, const float* logits,
                                          int64_t n, int32_t right) const;
  // Rows [first, first + n) will not be needed soon.
  void Release(int64_t first, int64_t n) const;

 private:
  BaseFile() = default;
  absl::Status Read();
  absl::Span<const uint8_t> Row(int64_t row) const;

  std::shared_ptr<const MappedFile> file_;
  BaseHeader header_;
  std::vector<int32_t> tokens_;
  size_t rows_offset_ = 0;
};

class BaseWriter {
 public:
  // InvalidArgument for numbers that the format cannot hold. REQUIRES:
  // tokens.size() == context * n_windows.
  static absl::StatusOr<std::unique_ptr<BaseWriter>> Create(
      const std::string& path, const BaseHeader& header,
      absl::Span<const int32_t> tokens);

  // Logits of the next rows, [n_rows, stride], of which the first n_vocab of
  // each are taken.
  absl::Status AppendRows(const float* logits, int64_t stride, int64_t n_rows);
  // FailedPrecondition unless all rows were given. The file is complete under
  // its name after this, or not there.
  absl::Status Finish();

 private:
  BaseWriter(const BaseHeader& header, std::unique_ptr<OutputFile> file)
      : header_(header), file_(std::move(file)) {}

  const BaseHeader header_;
  std::unique_ptr<OutputFile> file_;
  int64_t n_written_ = 0;
};

// Fails where BaseWriter would fail to write `path`, before the work that it is
// to hold, and where it would replace a file that is no base file.
absl::Status CheckBasePath(const std::string& path);

// One row as the format has it: row_codes() numbers. For BaseWriter and tests.
void EncodeBaseRow(const float* logits, int64_t n_vocab, uint16_t* codes);

}  // namespace narrow

#endif  // NARROW_VALIDATE_LLAMA_BASE_BASE_FILE_H_
