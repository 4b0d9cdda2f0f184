#include "converter/fallbacks.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

std::string Escaped(absl::string_view name) {
  return absl::Utf8SafeCHexEscape(name);
}

std::string Change(const PlannedTensor& tensor) {
  return absl::StrCat(TypeName(tensor.wanted), " -> ",
                      TypeName(tensor.meta.type), ", rows of ",
                      tensor.meta.n_cols());
}

// "0-3,7" of rising numbers.
std::string Ranges(const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) {
      ++end;
    }
    absl::StrAppend(&text, text.empty() ? "" : ",", numbers[i]);
    if (end - i > 1) {
      absl::StrAppend(&text, "-", numbers[end - 1]);
    }
    i = end;
  }
  return text;
}

// "blk.N.rest" into N and rest.
bool SplitLayer(absl::string_view name, int64_t* layer,
                absl::string_view* rest) {
  if (!absl::StartsWith(name, "blk.")) {
    return false;
  }
  name.remove_prefix(4);
  const size_t dot = name.find('.');
  if (dot == absl::string_view::npos ||
      !absl::SimpleAtoi(name.substr(0, dot), layer)) {
    return false;
  }
  *rest = name.substr(dot + 1);
  return true;
}

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Whether products with the tensor are what an importance matrix describes: a
// table of embeddings that is looked up alone is not, and some types ignore
// it.
bool UsesImportance(const PlannedTensor& tensor, bool tied) {
  const BlockCodec* codec = FindCodec(tensor.meta.type);
  return codec != nullptr && codec->uses_importance &&
         (tied || tensor.role != TensorRole::kTokenEmbedding);
}

}  // namespace

std::vector<std::string> FallbackLines(const Plan& plan) {
  // By the name without its layer, and what became of it.
  std::map<std::pair<std::string, std::string>, std::vector<int64_t>> by_layer;
  std::vector<std::string> lines;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (!tensor.fell_back()) {
      continue;
    }
    int64_t layer = 0;
    absl::string_view rest;
    if (SplitLayer(tensor.meta.name, &layer, &rest)) {
      by_layer[{std::string(rest), Change(tensor)}].push_back(layer);
    } else {
      lines.push_back(
          absl::StrCat(Escaped(tensor.meta.name), ": ", Change(tensor)));
    }
  }
  for (const auto& [key, layers] : by_layer) {
    const std::string numbers = Ranges(layers);
    const bool one = layers.size() == 1;
    lines.push_back(absl::StrCat("blk.", one ? "" : "{", numbers,
                                 one ? "." : "}.", Escaped(key.first), ": ",
                                 key.second));
  }
  return lines;
}

std::vector<std::string> StrictProblems(const Plan& plan) {
  const bool tied = std::none_of(plan.tensors.begin(), plan.tensors.end(),
                                 [](const PlannedTensor& tensor) {
                                   return tensor.role == TensorRole::kOutput;
                                 });
  std::vector<std::string> problems;
  for (const PlannedTensor& tensor : plan.tensors) {
    const std::string name = Escaped(tensor.meta.name);
    if (tensor.fell_back()) {
      problems.push_back(absl::StrCat(
          "tensor '", name, "': wanted ", TypeName(tensor.wanted),
          ", whose blocks of ", Geometry(tensor.wanted).block_weights,
          " do not divide its rows of ", tensor.meta.n_cols(),
          "; compat mode writes ", TypeName(tensor.meta.type)));
    }
    if (plan.recipe.missing_importance_chosen ||
        !UsesImportance(tensor, tied)) {
      continue;
    }
    if (Contains(plan.without_importance, tensor.meta.name)) {
      problems.push_back(absl::StrCat("tensor '", name, "' as ",
                                      TypeName(tensor.meta.type),
                                      ": the importance matrix has no entry"));
    } else if (Contains(plan.partial_importance, tensor.meta.name)) {
      problems.push_back(absl::StrCat(
          "tensor '", name, "' as ", TypeName(tensor.meta.type),
          ": the importance matrix has no data for some of its ",
          tensor.meta.shape[tensor.meta.shape.size() - 3], " experts"));
    }
  }
  return problems;
}

absl::Status StrictError(const Plan& plan, size_t n_problems) {
  if (n_problems == 0) {
    return absl::OkStatus();
  }
  std::string advice;
  if (plan.n_fallbacks > 0) {
    advice =
        "give those tensors a type that fits with --tensor-type PATTERN=TYPE";
  }
  if (!plan.recipe.missing_importance_chosen &&
      static_cast<size_t>(plan.n_fallbacks) < n_problems) {
    absl::StrAppend(&advice, advice.empty() ? "" : "; ",
                    "say what tensors without importance get with "
                    "--imatrix-missing, or make a matrix that has them "
                    "(narrow imatrix, with --process-output for the output)");
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "strict mode: ", n_problems, " of ", plan.tensors.size(), " tensors of ",
      Info(plan.recipe.file_type).name,
      " cannot be had as they should be, and nothing was written: ", advice,
      "; or take --mode compat"));
}

}  // namespace narrow
