// The flags of `narrow convert` that have it choose a type for every tensor.
//
//   AddAllocationFlags(command, &flags);
//   ASSIGN_OR_RETURN(AllocationJob job, AllocationFromFlags(*command, flags));
//   if (job.on) ...

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_ALLOCATION_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_ALLOCATION_FLAGS_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "converter/allocation/allocate.h"
#include "formats/quant_type.h"

namespace narrow {

struct AllocationFlags {
  std::string size;
  double bits_per_weight = 0;
  double divergence = 0;
  std::string types;
  bool fuse_siblings = false;
  std::string probe;
  std::string recipe;
};

struct AllocationJob {
  bool on = false;
  AllocationRequest request;
  std::vector<QuantType> types;  // empty: the default ladder
  std::string label;             // "4.25bpw", for the output's name
  std::string probe_path;        // empty: beside the output
  std::string recipe_path;       // empty: not written
};

// `flags` must outlive the command.
void AddAllocationFlags(CLI::App* command, AllocationFlags* flags);

// InvalidArgument: more than one target, a target with --to, flags of a target
// without one, a type that is not there or no block type.
absl::StatusOr<AllocationJob> AllocationFromFlags(const CLI::App& command,
                                                  const AllocationFlags& flags);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_ALLOCATION_FLAGS_H_
