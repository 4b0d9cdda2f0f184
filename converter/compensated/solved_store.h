// Solved blocks of a GGUF file, kept in a folder until the file is written, or
// for the next run if this one is stopped.
//
//   SolvedStore store(folder->work_path());
//   RETURN_IF_ERROR(store.Save(block, tensors, verdicts));
//   RETURN_IF_ERROR(store.Load(0, n_blocks));
//   store.Find(/*output=*/0, "blk.0.ffn_up.weight");   // EncodedRows
//
// A block is a safetensors file, complete under its name or not there, whose
// tensors are bytes; the reports of its tensors are in its metadata. Several
// outputs solved together (one-shot) share a store. Belongs to one thread;
// Find and the rows may be used by several.

#ifndef NARROW_CONVERTER_COMPENSATED_SOLVED_STORE_H_
#define NARROW_CONVERTER_COMPENSATED_SOLVED_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "converter/plan.h"
#include "formats/tensor.h"

namespace narrow {

// What became of a tensor; errors are means over its matrices.
struct SolvedReport {
  std::string name;
  int64_t n_matrices = 1;
  int64_t n_accepted = 0;     // matrices that are better than plain ones
  double relative_error = 0;  // of the output, under the statistics
  double relative_error_plain = 0;
  std::string plain_why;           // encoded as without a solver; empty: solved
  bool rejected = false;           // its block's verdict was for plain blocks
  std::vector<std::string> notes;  // without repeats
};

struct SolvedTensor {
  int output = 0;
  SolvedReport report;
  int64_t row_bytes = 0;
  std::vector<uint8_t> bytes;
  // Not kept: what plain encoding gives, and of each matrix what the file will
  // multiply it by.
  std::vector<uint8_t> plain_bytes;
  std::vector<float> scales;
};

// Of the whole model, on windows that nothing was fitted to (block_judge.h).
struct BlockVerdict {
  int output = 0;
  int64_t block = 0;      // the number of blocks: the output matrix
  double divergence = 0;  // KL, nats a token, with the solved block
  double divergence_plain = 0;
  bool accepted = false;  // the solved block is kept
};

class SolvedStore {
 public:
  explicit SolvedStore(std::string folder);
  ~SolvedStore();

  // Where the calibrator keeps its state.
  std::string calibrator_path() const;
  bool Has(int64_t block) const;

  absl::Status Save(int64_t block, const std::vector<SolvedTensor>& tensors,
                    const std::vector<BlockVerdict>& verdicts) const;
  // Opens blocks first ... end - 1, and these alone. DataLoss if one is missing
  // or damaged.
  absl::Status Load(int64_t first, int64_t end);

  // Of a loaded block; nullptr if none has the tensor.
  const EncodedRows* Find(int output, absl::string_view name) const;
  int64_t n_bytes(int output, absl::string_view name) const;
  // In the order of blocks and their tensors.
  const std::vector<SolvedReport>& reports(int output) const;
  const std::vector<BlockVerdict>& verdicts(int output) const;

 private:
  class Rows;

  std::string BlockPath(int64_t block) const;
  absl::Status LoadBlock(const std::string& path);

  std::string folder_;
  std::vector<std::unique_ptr<TensorSource>> blocks_;
  std::map<std::pair<int, std::string>, std::unique_ptr<Rows>> rows_;
  std::map<int, std::vector<SolvedReport>> reports_;
  std::map<int, std::vector<BlockVerdict>> verdicts_;
};

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMPENSATED_SOLVED_STORE_H_
