// All that a validation reads before a model runs, so that a wrong path or a
// vocabulary that differs costs no hour.
//
//   ASSIGN_OR_RETURN(ValidationInputs inputs,
//                    OpenValidationInputs(options, &report));

#ifndef NARROW_VALIDATE_VALIDATION_INPUTS_H_
#define NARROW_VALIDATE_VALIDATION_INPUTS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/arch/checkpoint.h"
#include "formats/base/hash/sha256.h"
#include "validate/llama_base/base_file.h"
#include "validate/reference/window_pass.h"
#include "validate/tasks/task.h"
#include "validate/tasks/tokenize_task.h"
#include "validate/validation.h"
#include "validate/windows.h"

namespace narrow {

struct DomainInput {
  TextTokens tokens;
  std::vector<ScoredWindow> windows;
  // Of the reference's hidden states: what they depend on, but for how many
  // windows there are.
  Sha256Digest cache_key;
};

struct TaskInput {
  Task task;
  TokenizedTask tokens;
};

struct ValidationInputs {
  std::unique_ptr<Checkpoint> original;  // null with a base file
  std::unique_ptr<BaseFile> base;        // null without one
  std::vector<DomainInput> domains;
  std::vector<TaskInput> tasks;
};

// Also fills settings, models, texts and warnings of `report`. Candidates are
// opened, compared with the original (or the base file) and closed again.
// InvalidArgument for options that contradict each other.
absl::StatusOr<ValidationInputs> OpenValidationInputs(
    const ValidationOptions& options, ValidationReport* report);

// Opens a candidate again, to be run.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenModel(
    const ValidationOptions& options, const std::string& path);

// Number of ids that have a token; that of the output rows where the model has
// no tokenizer.
int64_t VocabularySize(const Checkpoint& model);

}  // namespace narrow

#endif  // NARROW_VALIDATE_VALIDATION_INPUTS_H_
