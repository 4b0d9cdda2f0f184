#include "converter/commands/flags/recipe/gguf_flags.h"

#include "converter/gguf/metadata_overrides.h"
#include "converter/gguf/prune_layers.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf_split.h"

namespace narrow {
namespace {

constexpr int64_t kMaxTensors = int64_t{1} << 31;

absl::Status AddSplit(const GgufFlags& flags, Recipe* recipe) {
  const bool limited =
      !flags.split_max_size.empty() || flags.split_max_tensors > 0;
  recipe->keep_split = flags.keep_split;
  if (flags.keep_split && (limited || flags.no_tensor_first_split)) {
    return absl::InvalidArgumentError(
        "--keep-split repeats the input's shards; it goes with no other "
        "--split flag");
  }
  if (!limited) {
    return flags.no_tensor_first_split
               ? absl::InvalidArgumentError(
                     "--no-tensor-first-split goes with --split-max-size or "
                     "--split-max-tensors")
               : absl::OkStatus();
  }
  GgufSplitOptions split;
  split.max_tensors = flags.split_max_tensors;
  split.no_tensor_first_split = flags.no_tensor_first_split;
  if (!flags.split_max_size.empty()) {
    ASSIGN_OR_RETURN(split.max_bytes, ParseSplitSize(flags.split_max_size));
  }
  if (split.max_bytes > 0 && split.max_tensors > 0) {
    return absl::InvalidArgumentError(
        "--split-max-size and --split-max-tensors exclude each other");
  }
  recipe->split = split;
  return absl::OkStatus();
}

}  // namespace

void AddGgufFlags(CLI::App* command, GgufFlags* flags) {
  command
      ->add_option("--split-max-size", flags->split_max_size,
                   "split the output into shards of at most so many bytes of "
                   "tensors, as 300M or 2G (decimal); --out is their prefix")
      ->type_name("SIZE");
  command
      ->add_option("--split-max-tensors", flags->split_max_tensors,
                   "split the output into shards of at most so many tensors")
      ->check(CLI::Range(int64_t{1}, kMaxTensors))
      ->type_name("N");
  command->add_flag("--no-tensor-first-split", flags->no_tensor_first_split,
                    "the first shard has the keys only");
  command->add_flag("--keep-split", flags->keep_split,
                    "write the shards of the input again");
  command->add_flag("--keep-order", flags->keep_order,
                    "with --to COPY: keep the order of tensors and keys, as "
                    "llama-gguf-split does; of a directory, this is the file "
                    "of llama.cpp's converter");
  command
      ->add_option("--override-kv", flags->override_kv,
                   "set a metadata key; TYPE is int, float, bool or str, VALUE "
                   "may be a list, [1,2]; it gets the type that the key has; "
                   "repeatable")
      ->type_name("KEY=TYPE:VALUE")
      ->allow_extra_args(false);
  command
      ->add_option("--prune-layers", flags->prune_layers,
                   "leave out these layers, as 3,5-7, and number the others "
                   "anew")
      ->type_name("LAYERS");
}

absl::Status AddGgufOptions(const GgufFlags& flags, Recipe* recipe) {
  RETURN_IF_ERROR(AddSplit(flags, recipe));
  recipe->keep_order = flags.keep_order;
  for (const std::string& text : flags.override_kv) {
    ASSIGN_OR_RETURN(MetadataOverride row, ParseMetadataOverride(text));
    recipe->metadata_overrides.push_back(std::move(row));
  }
  if (!flags.prune_layers.empty()) {
    ASSIGN_OR_RETURN(recipe->pruned_layers, ParseLayerList(flags.prune_layers));
  }
  return absl::OkStatus();
}

}  // namespace narrow
