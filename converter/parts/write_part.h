// `narrow convert --shard K/N` as a function: the rows of one part of a
// planned GGUF output, in a file that `narrow merge` puts together again.
//
//   PartRequest request = {{2, 4}, "narrow 0.1.0", settings, false};
//   RETURN_IF_ERROR(WritePart(*model, plan, request, "m.part-2", options));
//
// The rows' bytes are those of the single run. Every part also hashes its
// share of the model, so that all together know the model's hash after one
// read of it.

#ifndef NARROW_CONVERTER_PARTS_WRITE_PART_H_
#define NARROW_CONVERTER_PARTS_WRITE_PART_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "converter/parts/part.pb.h"
#include "converter/parts/shard_rows.h"
#include "converter/pipeline.h"
#include "converter/plan.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/hash/sha256.h"

namespace narrow {

struct PartRequest {
  Shard shard;
  std::string version;
  // Settings that bytes depend on, by name.
  std::vector<std::pair<std::string, std::string>> recipe;
  // Tensors are not divided: a solver works on whole ones.
  bool whole_tensors = false;
  // What the solver makes of a tensor depends on: "" without one.
  std::string solver;
  // Only these tensors, all rows of them, whatever the shard; empty: all.
  std::vector<std::string> only;
  // A provenance::Manifest without inputs and output, for who merges.
  std::string provenance;
};

// The rows that the part has.
std::vector<RowRange> RangesOf(const Plan& plan, const PartRequest& request);

// The input's sizes of all planned tensors, by which parts are cut.
std::vector<TensorMeta> SourceMetas(const Plan& plan);

// Size of the part's rows, in bytes.
int64_t PartBytes(const Plan& plan, const PartRequest& request);

// Writes the part to `path`, complete or not at all. `plan` may have encoded
// rows (PlannedTensor::encoded) for the tensors of this part only. Errors of
// EncodeRows; the size of the file.
absl::StatusOr<int64_t> WritePart(const Checkpoint& model, const Plan& plan,
                                  const PartRequest& request,
                                  const std::string& path,
                                  const PipelineOptions& options);

// The same of any rows: `description` says what they are, but for the rows
// themselves, the model and the inputs.
absl::StatusOr<int64_t> WriteRowsAsPart(const Checkpoint& model,
                                        const Plan& plan,
                                        const std::vector<RowRange>& ranges,
                                        const PartRequest& request,
                                        parts::Part description,
                                        const std::string& path,
                                        const PipelineOptions& options);

// What only one part has, and its hash.
absl::StatusOr<parts::Head> HeadOf(const Plan& plan,
                                   const PartRequest& request);
Sha256Digest DigestOfHead(const parts::Head& head);

// What the bytes of a tensor depend on besides the model: how it is stored,
// the type it gets, its importance, the solver and the version.
Sha256Digest TensorRecipe(const PlannedTensor& planned,
                          const PartRequest& request);

}  // namespace narrow

#endif  // NARROW_CONVERTER_PARTS_WRITE_PART_H_
