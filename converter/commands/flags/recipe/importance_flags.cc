#include "converter/commands/flags/recipe/importance_flags.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

struct MissingRow {
  const char* name;
  MissingImportance missing;
};

// The first is llama-quantize's.
constexpr MissingRow kMissing[] = {
    {"uniform", MissingImportance::kUniform},
    {"layer", MissingImportance::kLayer},
    {"refuse", MissingImportance::kRefuse},
};

bool ContainsAny(const std::string& name,
                 const std::vector<std::string>& parts) {
  return std::any_of(parts.begin(), parts.end(), [&](const std::string& part) {
    return absl::StrContains(name, part);
  });
}

}  // namespace

void AddImportanceFlags(CLI::App* command, ImportanceFlags* flags) {
  command
      ->add_option("--imatrix", flags->path,
                   "importance matrix of narrow imatrix or llama-imatrix, "
                   ".gguf or .dat")
      ->type_name("FILE");
  CLI::Option* include =
      command
          ->add_option("--include-weights", flags->include,
                       "use importance for tensors whose name has this part, "
                       "and no others; repeatable")
          ->type_name("PART")
          ->allow_extra_args(false);
  command
      ->add_option("--exclude-weights", flags->exclude,
                   "use no importance for tensors whose name has this part; "
                   "repeatable")
      ->type_name("PART")
      ->allow_extra_args(false)
      ->excludes(include);
  std::vector<std::string> names;
  for (const MissingRow& row : kMissing) {
    names.push_back(row.name);
  }
  command
      ->add_option("--imatrix-missing", flags->missing,
                   "what experts that saw no token get: uniform weights, the "
                   "mean of the layer's other experts, or an error (default: "
                   "uniform, as llama-quantize)")
      ->check(CLI::IsMember(names));
}

absl::StatusOr<std::optional<ImportanceMatrix>> ReadImportanceAsked(
    const ImportanceFlags& flags) {
  std::optional<ImportanceMatrix> matrix;
  if (flags.path.empty()) {
    const bool filters = !flags.include.empty() || !flags.exclude.empty() ||
                         !flags.missing.empty();
    return filters ? absl::StatusOr<std::optional<ImportanceMatrix>>(
                         absl::InvalidArgumentError(
                             "--include-weights, --exclude-weights and "
                             "--imatrix-missing say how to use an importance "
                             "matrix; give one with --imatrix"))
                   : matrix;
  }
  MissingImportance missing = kMissing[0].missing;
  for (const MissingRow& row : kMissing) {
    if (flags.missing == row.name) {
      missing = row.missing;
    }
  }
  ASSIGN_OR_RETURN(matrix, ReadImportance(flags.path, missing));
  for (auto it = matrix->entries.begin(); it != matrix->entries.end();) {
    const bool used =
        !ContainsAny(it->first, flags.exclude) &&
        (flags.include.empty() || ContainsAny(it->first, flags.include));
    it = used ? std::next(it) : matrix->entries.erase(it);
  }
  if (matrix->entries.empty()) {
    std::fprintf(stderr,
                 "narrow: warning: no entry of the importance matrix is left; "
                 "it has no part in this conversion\n");
    matrix.reset();
  }
  return matrix;
}

}  // namespace narrow
