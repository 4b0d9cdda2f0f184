// Matrices that are left at 16 or 32 bits though they should not be.

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/base/status.h"
#include "formats/quant_type.h"
#include "validate/sanity/checks.h"

namespace narrow {
namespace {

constexpr char kTensors[] = "tensors";
constexpr char kFileTypeKey[] = "general.file_type";
// File types of llama.cpp without a quantized type: F32, F16, BF16.
constexpr int64_t kPlainFileTypes[] = {0, 1, 32};

bool IsMatrix(const CheckpointTensor& tensor) {
  return tensor.meta.shape.size() >= 2;
}

// Fewer than 16 bits a weight, or in a packing.
bool IsQuantized(const Checkpoint& model, const CheckpointTensor& tensor) {
  return !model.HasBytes(tensor) ||
         Geometry(tensor.stored).bits_per_weight() < 16;
}

std::string TypeOf(const Checkpoint& model, const CheckpointTensor& tensor) {
  return model.HasBytes(tensor) ? TypeName(tensor.stored) : kPacked;
}

// "blk.*.attn_q.weight" for every layer's.
std::string RoleOf(const CheckpointTensor& tensor) {
  const std::string& name = tensor.meta.name;
  const size_t first = name.find('.');
  const size_t second = name.find('.', first + 1);
  return tensor.layer < 0 || second == name.npos
             ? name
             : absl::StrCat("blk.*", name.substr(second));
}

// Tensors of one role that have one thing wrong with them: one finding.
struct Group {
  SanitySeverity severity;
  std::string message;
  std::vector<std::string> names;
};

void Report(const Group& group, SanityReport* report) {
  SanityFinding finding;
  finding.severity = group.severity;
  finding.check = kTensors;
  finding.subject = QuotedName(group.names.front());
  if (group.names.size() > 1) {
    absl::StrAppend(&finding.subject, " (and ", group.names.size() - 1,
                    " of its kind)");
  }
  finding.message = group.message;
  report->findings.push_back(std::move(finding));
}

// Against what was asked for. Another quantized type is worth a note: some
// choices depend on the importance matrix, which is not here.
void CheckAsked(const Checkpoint& candidate, const ExpectedTypes& expected,
                SanityReport* report) {
  std::map<std::string, Group> groups;  // by role and what is wrong
  for (const CheckpointTensor& tensor : candidate.tensors()) {
    const auto it = expected.types.find(tensor.meta.name);
    if (!IsMatrix(tensor) || it == expected.types.end()) {
      continue;
    }
    const std::string type = TypeOf(candidate, tensor);
    const bool left = !IsQuantized(candidate, tensor);
    if (!left && (!expected.is_recipe || type == it->second)) {
      continue;
    }
    Group& group =
        groups[absl::StrCat(RoleOf(tensor), " ", type, " ", it->second)];
    group.severity = !left                ? SanitySeverity::kNote
                     : expected.is_recipe ? SanitySeverity::kError
                                          : SanitySeverity::kWarning;
    group.message =
        absl::StrCat(left ? "is left as " : "is stored as ", type, ", where ",
                     expected.source, " has it as ", it->second);
    group.names.push_back(tensor.meta.name);
  }
  for (const auto& [key, group] : groups) {
    Report(group, report);
  }
}

struct Role {
  int64_t n_quantized = 0;
  std::vector<const CheckpointTensor*> plain;
  std::string type;  // of one that is quantized
};

// Where those of other layers were quantized.
void CheckBesideLike(const Checkpoint& candidate, SanityReport* report) {
  std::map<std::string, Role> roles;
  for (const CheckpointTensor& tensor : candidate.tensors()) {
    if (!IsMatrix(tensor)) {
      continue;
    }
    Role& role = roles[RoleOf(tensor)];
    if (IsQuantized(candidate, tensor)) {
      ++role.n_quantized;
      role.type = TypeOf(candidate, tensor);
    } else {
      role.plain.push_back(&tensor);
    }
  }
  for (const auto& [name, role] : roles) {
    if (role.n_quantized == 0 || role.plain.empty()) {
      continue;
    }
    Group group;
    group.severity = SanitySeverity::kWarning;
    group.message = absl::StrCat(
        "is left as ", TypeName(role.plain.front()->stored), ", where ",
        role.n_quantized, " layers have it as ", role.type);
    for (const CheckpointTensor* tensor : role.plain) {
      group.names.push_back(tensor->meta.name);
    }
    Report(group, report);
  }
}

// A file that says it is quantized, and is not.
void CheckFileType(const Checkpoint& candidate, SanityReport* report) {
  const auto type = candidate.metadata().GetInteger(kFileTypeKey);
  const bool plain =
      !type.has_value() ||
      std::find(std::begin(kPlainFileTypes), std::end(kPlainFileTypes),
                *type) != std::end(kPlainFileTypes);
  const bool any =
      std::any_of(candidate.tensors().begin(), candidate.tensors().end(),
                  [&](const CheckpointTensor& tensor) {
                    return IsMatrix(tensor) && IsQuantized(candidate, tensor);
                  });
  if (candidate.is_gguf() && !plain && !any) {
    report->findings.push_back(
        {SanitySeverity::kError, kTensors, kFileTypeKey,
         absl::StrCat("is ", *type,
                      ", a quantized file type, and no tensor is quantized"),
         "", ""});
  }
}

}  // namespace

void CheckLeftOver(const Checkpoint& candidate, const ExpectedTypes* expected,
                   SanityReport* report) {
  if (expected != nullptr) {
    CheckAsked(candidate, *expected, report);
  } else {
    CheckBesideLike(candidate, report);
  }
  CheckFileType(candidate, report);
}

}  // namespace narrow
