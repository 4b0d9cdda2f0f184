#include "converter/commands/flags/recipe/allocation_flags.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "converter/commands/flags/byte_size.h"
#include "converter/commands/flags/number_range.h"
#include "converter/commands/flags/recipe/type_flags.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr const char* kTargets[] = {"--target-size", "--target-bpw",
                                    "--target-kld"};

absl::StatusOr<std::vector<QuantType>> TypesFromFlag(const std::string& list) {
  std::vector<QuantType> types;
  for (absl::string_view name : absl::StrSplit(list, ',', absl::SkipEmpty())) {
    ASSIGN_OR_RETURN(
        const QuantType type,
        ParseTensorType(absl::StripAsciiWhitespace(name), "--types"));
    if (Geometry(type).block_weights == 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--types: ", TypeName(type),
                       " has no blocks; there is nothing to choose in it"));
    }
    if (std::find(types.begin(), types.end(), type) == types.end()) {
      types.push_back(type);
    }
  }
  if (types.empty()) {
    return absl::InvalidArgumentError("--types names no type");
  }
  return types;
}

absl::Status CheckUse(const CLI::App& command, int n_targets) {
  if (n_targets > 1) {
    return absl::InvalidArgumentError(
        "--target-size, --target-bpw and --target-kld exclude each other: one "
        "of them is reached, the others follow");
  }
  if (n_targets == 1) {
    for (const char* name : {"--to", "--pure"}) {
      if (command.count(name) > 0) {
        return absl::InvalidArgumentError(
            absl::StrCat(name,
                         " says what types tensors get, and so would a "
                         "target; give one of the two"));
      }
    }
    if (command.count("--calibration") == 0) {
      return absl::InvalidArgumentError(
          "a target needs a text to measure losses on; give one with "
          "--calibration FILE");
    }
    return absl::OkStatus();
  }
  for (const char* name :
       {"--types", "--fuse-siblings", "--probe", "--write-recipe"}) {
    if (command.count(name) > 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          name,
          " is for a choice of types; give --target-size, --target-bpw "
          "or --target-kld"));
    }
  }
  if (command.count("--to") == 0) {
    return absl::InvalidArgumentError(
        "--to is required: a file type, or give --target-size, --target-bpw "
        "or --target-kld for types of narrow's choice");
  }
  return absl::OkStatus();
}

}  // namespace

void AddAllocationFlags(CLI::App* command, AllocationFlags* flags) {
  command
      ->add_option("--target-size", flags->size,
                   "instead of --to: a type for every tensor so that the file "
                   "is at most so large and loses least, by the divergence "
                   "that each would cause; needs --calibration")
      ->type_name("SIZE");
  command
      ->add_option("--target-bpw", flags->bits_per_weight,
                   "the same for bits per weight, all tensors counted")
      ->type_name("BITS")
      ->check(NumberRange(0.1, 32.0));
  command
      ->add_option("--target-kld", flags->divergence,
                   "the smallest file whose predicted KL divergence from the "
                   "model is at most this, nats a token")
      ->type_name("NATS")
      ->check(PositiveNumber());
  command
      ->add_option("--types", flags->types,
                   "with a target: the types to choose from (default: Q2_K, "
                   "Q3_K, IQ3_S, IQ4_XS, Q4_K, Q5_K, Q6_K, Q8_0; Q4_0, IQ4_NL, "
                   "Q4_1, Q5_0, Q5_1, Q8_0 where rows are no multiple of 256)")
      ->type_name("TYPE,…");
  command->add_flag("--fuse-siblings", flags->fuse_siblings,
                    "with a target: query, key and value of a layer get one "
                    "type, gate and up too, for engines that fuse them");
  command
      ->add_option("--probe", flags->probe,
                   "with a target: file of the losses measured, read if it is "
                   "of this model, text and types, and written otherwise "
                   "(default: MODEL-probe.json beside the output)")
      ->type_name("FILE");
  command
      ->add_option("--write-recipe", flags->recipe,
                   "with a target: write the types chosen, for "
                   "--tensor-type-file")
      ->type_name("FILE");
}

absl::StatusOr<AllocationJob> AllocationFromFlags(
    const CLI::App& command, const AllocationFlags& flags) {
  AllocationJob job;
  int n_targets = 0;
  for (const char* name : kTargets) {
    n_targets += command.count(name) > 0 ? 1 : 0;
  }
  RETURN_IF_ERROR(CheckUse(command, n_targets));
  if (n_targets == 0) {
    return job;
  }
  job.on = true;
  if (command.count("--target-size") > 0) {
    ASSIGN_OR_RETURN(const int64_t n_bytes,
                     ParseByteSize(flags.size, "--target-size"));
    job.request.target = AllocationTarget::kFileBytes;
    job.request.value = static_cast<double>(n_bytes);
    job.label = flags.size;
  } else if (command.count("--target-bpw") > 0) {
    job.request.target = AllocationTarget::kBitsPerWeight;
    job.request.value = flags.bits_per_weight;
    job.label = absl::StrFormat("%gbpw", flags.bits_per_weight);
  } else {
    job.request.target = AllocationTarget::kDivergence;
    job.request.value = flags.divergence;
    job.label = absl::StrFormat("kld%g", flags.divergence);
  }
  job.request.fuse_siblings = flags.fuse_siblings;
  if (command.count("--types") > 0) {
    ASSIGN_OR_RETURN(job.types, TypesFromFlag(flags.types));
  }
  job.probe_path = flags.probe;
  job.recipe_path = flags.recipe;
  return job;
}

}  // namespace narrow
