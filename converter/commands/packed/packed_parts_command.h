// `narrow quantize --shard` and `narrow merge` of what it writes.

#ifndef NARROW_CONVERTER_COMMANDS_PACKED_PACKED_PARTS_COMMAND_H_
#define NARROW_CONVERTER_COMMANDS_PACKED_PACKED_PARTS_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "converter/parts/packed_part.h"
#include "converter/provenance/recorder.h"
#include "converter/quantize/model_input.h"
#include "converter/quantize/quantize_plan.h"

namespace narrow {

struct PackedPartJob {
  std::string shard;  // "2/4"
  std::string out;
  // Its importance, progress and provenance are filled in.
  PackedPartRequest request;
  ProvenanceRequest provenance;
  bool dry_run = false;
  bool quiet = false;
  std::string json;
};

// Writes the part, unless it is a dry run, and says so.
absl::Status RunPackedPart(const ModelInput& input, const QuantizePlan& plan,
                           PackedPartJob job);

struct PackedMergeJob {
  std::vector<std::string> parts;
  std::string model;  // empty: where the parts found it
  std::string out;
  bool manifest = true;
  bool quiet = false;
  int n_threads = 0;
  std::string json;
};

// The directory that a run without --shard writes.
absl::Status MergePackedParts(const PackedMergeJob& job);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_PACKED_PACKED_PARTS_COMMAND_H_
