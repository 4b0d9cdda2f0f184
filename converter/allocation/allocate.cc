// Tested by: allocate_test.

#include "converter/allocation/allocate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "converter/allocation/knapsack.h"
#include "converter/mix/mix_rules.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

// From few bits to many; types of nearly one size are told apart by the
// probe.
constexpr QuantType kLadder[] = {
    QuantType::kQ2_K, QuantType::kQ3_K, QuantType::kIQ3_S, QuantType::kIQ4_XS,
    QuantType::kQ4_K, QuantType::kQ5_K, QuantType::kQ6_K,  QuantType::kQ8_0};
constexpr QuantType kSmallLadder[] = {QuantType::kQ4_0, QuantType::kIQ4_NL,
                                      QuantType::kQ4_1, QuantType::kQ5_0,
                                      QuantType::kQ5_1, QuantType::kQ8_0};

// A GGUF file's tensors begin at multiples of this.
constexpr int64_t kAlignment = 32;

bool Fits(const TensorMeta& meta, QuantType type) {
  return meta.n_cols() % Geometry(type).block_weights == 0;
}

int64_t BytesAs(const TensorMeta& meta, QuantType type) {
  TensorMeta changed = meta;
  changed.type = type;
  return changed.n_bytes();
}

// Whether `type` can be had without more importance than there is.
bool HasImportance(const PlannedTensor& tensor, const Recipe& recipe,
                   QuantType type) {
  return tensor.importance != nullptr ||
         (recipe.calibrated && HasInputStatistics(*tensor.source)) ||
         !DemandsImportance(FileType::kQ2_K, type, tensor.role);
}

std::vector<QuantType> TypesFor(const PlannedTensor& tensor,
                                const Recipe& recipe,
                                absl::Span<const QuantType> allowed) {
  std::vector<QuantType> types;
  for (const QuantType type : allowed) {
    if (Fits(tensor.meta, type) && HasImportance(tensor, recipe, type)) {
      types.push_back(type);
    }
  }
  return types;
}

absl::StatusOr<Plan> PlanAs(const Checkpoint& model, Recipe recipe,
                            const ImportanceMatrix* importance,
                            FileType file_type) {
  recipe.file_type = file_type;
  recipe.pure = true;
  return MakePlan(model, recipe, importance);
}

// "blk.{}.ffn_up.weight", and the block in *block; or the name itself.
std::string KindOf(const std::string& name, std::string* block) {
  const std::vector<std::string> parts = absl::StrSplit(name, '.');
  if (parts.size() < 3 || parts[0] != "blk") {
    return name;
  }
  *block = parts[1];
  return absl::StrCat("blk.{}", name.substr(4 + parts[1].size()));
}

// The name of the set that a tensor shares its type with, or its own.
std::string SiblingsOf(const std::string& name) {
  for (const char* part : {"attn_q.", "attn_k.", "attn_v."}) {
    const size_t at = name.find(part);
    if (at != std::string::npos) {
      return absl::StrCat(name.substr(0, at), "attn_qkv");
    }
  }
  for (const char* part : {"ffn_gate", "ffn_up"}) {
    const size_t at = name.find(part);
    if (at != std::string::npos) {
      const size_t end = at + std::string(part).size();
      return absl::StrCat(name.substr(0, at), "ffn_gate_up", name.substr(end));
    }
  }
  return name;
}

// Tensors that get one type, and the types they can have.
struct Group {
  std::vector<size_t> tensors;  // of candidates.tensors
  std::vector<QuantType> types;
};

std::vector<Group> GroupsOf(const Candidates& candidates,
                            const LossTable& table, bool fuse) {
  std::vector<Group> groups;
  std::map<std::string, size_t> index;
  for (size_t i = 0; i < candidates.tensors.size(); ++i) {
    const ProbeTensor& tensor = candidates.tensors[i];
    const std::string& name = tensor.planned->source->meta.name;
    Group group;
    group.tensors = {i};
    for (const QuantType type : tensor.types) {
      if (table.Find(name, type) != nullptr) {
        group.types.push_back(type);
      }
    }
    if (group.types.empty()) {  // not probed: the widest
      group.types = {
          *std::max_element(tensor.types.begin(), tensor.types.end(),
                            [&](QuantType a, QuantType b) {
                              return BytesAs(tensor.planned->meta, a) <
                                     BytesAs(tensor.planned->meta, b);
                            })};
    }
    if (fuse && group.types.size() > 1) {
      const auto [at, is_new] = index.insert({SiblingsOf(name), groups.size()});
      Group* first = is_new ? nullptr : &groups[at->second];
      if (first != nullptr && first->types == group.types) {
        first->tensors.push_back(i);
        continue;
      }
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

class Allocator {
 public:
  Allocator(const Checkpoint& model, const Recipe& recipe,
            const ImportanceMatrix* importance, const Candidates& candidates,
            const LossTable& table, const AllocationRequest& request)
      : model_(model),
        recipe_(recipe),
        importance_(importance),
        candidates_(candidates),
        table_(table),
        request_(request),
        groups_(GroupsOf(candidates, table, request.fuse_siblings)) {
    for (const Group& group : groups_) {
      KnapsackItem item;
      for (const QuantType type : group.types) {
        KnapsackChoice choice;
        for (const size_t i : group.tensors) {
          choice.cost += CostOf(i, type);
          choice.loss += LossOf(i, type);
        }
        item.choices.push_back(choice);
      }
      items_.push_back(std::move(item));
    }
  }

  absl::StatusOr<Allocation> Run() {
    return request_.target == AllocationTarget::kDivergence ? ByDivergence()
                                                            : ByBudget();
  }

 private:
  int64_t CostOf(size_t tensor, QuantType type) const {
    const int64_t n_bytes =
        BytesAs(candidates_.tensors[tensor].planned->meta, type);
    return request_.target == AllocationTarget::kBitsPerWeight
               ? n_bytes
               : (n_bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  // Not probed: 0, as it has no choice.
  double LossOf(size_t tensor, QuantType type) const {
    const double* loss = table_.Find(
        candidates_.tensors[tensor].planned->source->meta.name, type);
    return loss == nullptr ? 0 : *loss * request_.factor;
  }

  Allocation Types(const KnapsackSolution& solution) const;
  absl::Status Plan(Allocation* allocation) const;
  absl::StatusOr<Allocation> ByDivergence() const;
  absl::StatusOr<Allocation> ByBudget() const;
  double Reached(const Allocation& allocation) const {
    return request_.target == AllocationTarget::kBitsPerWeight
               ? allocation.bits_per_weight
               : static_cast<double>(allocation.file_bytes);
  }

  const Checkpoint& model_;
  const Recipe& recipe_;
  const ImportanceMatrix* importance_;
  const Candidates& candidates_;
  const LossTable& table_;
  const AllocationRequest& request_;
  std::vector<Group> groups_;
  std::vector<KnapsackItem> items_;
};

Allocation Allocator::Types(const KnapsackSolution& solution) const {
  Allocation allocation;
  allocation.tensors.resize(candidates_.tensors.size());
  for (size_t g = 0; g < groups_.size(); ++g) {
    const QuantType type =
        groups_[g].types[static_cast<size_t>(solution.chosen[g])];
    for (const size_t i : groups_[g].tensors) {
      AllocatedTensor& tensor = allocation.tensors[i];
      const PlannedTensor& planned = *candidates_.tensors[i].planned;
      tensor.name = planned.meta.name;
      tensor.type = type;
      tensor.n_bytes = BytesAs(planned.meta, type);
      tensor.probed = table_.Find(planned.source->meta.name, type) != nullptr;
      tensor.loss = LossOf(i, type);
    }
  }
  allocation.divergence = solution.loss;
  allocation.gap = solution.gap;
  return allocation;
}

// The file type of the type that most weights get; its name is only a name
// then.
FileType FileTypeOf(const std::vector<AllocatedTensor>& tensors) {
  std::map<QuantType, int64_t> n_bytes;
  for (const AllocatedTensor& tensor : tensors) {
    n_bytes[tensor.type] += tensor.n_bytes;
  }
  const auto most = std::max_element(
      n_bytes.begin(), n_bytes.end(),
      [](const auto& a, const auto& b) { return a.second < b.second; });
  const std::vector<FileType> offered = OfferedFileTypes();
  for (const FileType type : offered) {
    if (Info(type).default_type == most->first) {
      return type;
    }
  }
  return FileType::kQ4_K_M;
}

absl::Status Allocator::Plan(Allocation* allocation) const {
  Recipe& recipe = allocation->recipe;
  recipe = recipe_;
  recipe.pure = false;
  recipe.file_type = FileTypeOf(allocation->tensors);
  // Those that were given decide first.
  for (absl::string_view line : absl::StrSplit(RecipeText(allocation->tensors),
                                               '\n', absl::SkipEmpty())) {
    const size_t equals = line.rfind('=');
    recipe.overrides.push_back({std::string(line.substr(0, equals)),
                                *TypeFromName(line.substr(equals + 1))});
  }
  ASSIGN_OR_RETURN(const auto plan, MakePlan(model_, recipe, importance_));
  allocation->file_bytes = plan.file_bytes;
  allocation->bits_per_weight = plan.bits_per_weight();
  std::map<std::string, QuantType> planned;
  for (const PlannedTensor& tensor : plan.tensors) {
    planned[tensor.meta.name] = tensor.meta.type;
  }
  for (const AllocatedTensor& tensor : allocation->tensors) {
    if (planned[tensor.name] != tensor.type) {
      return absl::InternalError(
          absl::StrCat("tensor ", QuotedName(tensor.name), " was to become ",
                       TypeName(tensor.type), ", the plan has ",
                       TypeName(planned[tensor.name])));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Allocation> Allocator::ByDivergence() const {
  const double least = LeastPossibleLoss(items_);
  if (request_.value < least) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "--target-kld %g cannot be reached with these types: the least that "
        "is predicted is %.3g",
        request_.value, least));
  }
  Allocation allocation = Types(LeastCost(items_, request_.value));
  RETURN_IF_ERROR(Plan(&allocation));
  return allocation;
}

absl::StatusOr<Allocation> Allocator::ByBudget() const {
  const bool bits = request_.target == AllocationTarget::kBitsPerWeight;
  const int64_t least_cost = LeastPossibleCost(items_);
  Allocation least = Types(LeastLoss(items_, least_cost));
  RETURN_IF_ERROR(Plan(&least));
  if (Reached(least) > request_.value) {
    return absl::InvalidArgumentError(
        bits ? absl::StrFormat(
                   "--target-bpw %g cannot be reached with these types: the "
                   "least is %.4f",
                   request_.value, Reached(least))
             : absl::StrFormat(
                   "--target-size: %d bytes cannot be reached with these "
                   "types: the least is %d",
                   static_cast<int64_t>(request_.value), least.file_bytes));
  }
  // What is not chosen costs the same in every file, but for the metadata of
  // one file or another, which the plan tells.
  const double n_weights = static_cast<double>(candidates_.plan->n_weights);
  const double room = bits ? (request_.value - Reached(least)) * n_weights / 8
                           : request_.value - Reached(least);
  int64_t budget = least_cost + static_cast<int64_t>(room + 1e-6);
  for (;;) {
    Allocation allocation = Types(LeastLoss(items_, budget));
    RETURN_IF_ERROR(Plan(&allocation));
    const double above = Reached(allocation) - request_.value;
    if (above <= 1e-9 * request_.value * (bits ? 1 : 0)) {
      return allocation;
    }
    const double excess = bits ? above * n_weights / 8 : above;
    budget -= static_cast<int64_t>(std::ceil(excess));
    if (budget < least_cost) {
      return least;
    }
  }
}

}  // namespace

absl::StatusOr<Candidates> FindCandidates(const Checkpoint& model,
                                          const Recipe& recipe,
                                          const ImportanceMatrix* importance,
                                          const std::vector<QuantType>& types) {
  Candidates candidates;
  ASSIGN_OR_RETURN(auto plan,
                   PlanAs(model, recipe, importance, FileType::kQ8_0));
  ASSIGN_OR_RETURN(const auto other,
                   PlanAs(model, recipe, importance, FileType::kQ4_0));
  candidates.plan = std::make_unique<Plan>(std::move(plan));
  bool any = false;
  for (size_t i = 0; i < other.tensors.size(); ++i) {
    const PlannedTensor& tensor = candidates.plan->tensors[i];
    const QuantType type = tensor.meta.type;
    if (type == other.tensors[i].meta.type) {  // nobody's choice
      const BlockCodec* codec = FindCodec(type);
      if (codec != nullptr && codec->block > 1 &&
          type != tensor.source->stored) {
        candidates.tensors.push_back({&tensor, {type}});
      }
      continue;
    }
    std::vector<QuantType> fitting =
        TypesFor(tensor, recipe,
                 types.empty() ? absl::MakeConstSpan(kLadder)
                               : absl::MakeConstSpan(types));
    const bool whole = Fits(tensor.meta, QuantType::kQ4_K);
    if (fitting.empty() || (types.empty() && !whole)) {
      fitting = TypesFor(tensor, recipe, kSmallLadder);
    }
    any = any || fitting.size() > 1;
    candidates.tensors.push_back({&tensor, std::move(fitting)});
  }
  if (!any) {
    const std::string why =
        types.size() == 1
            ? absl::StrCat("one type alone is allowed, ", TypeName(types[0]),
                           "; allow more with --types")
            : "every tensor's type is fixed";
    return absl::InvalidArgumentError(absl::StrCat(
        "there is nothing to choose: ", why, "; reading ", model.path()));
  }
  return candidates;
}

absl::StatusOr<Allocation> Allocate(const Checkpoint& model,
                                    const Recipe& recipe,
                                    const ImportanceMatrix* importance,
                                    const Candidates& candidates,
                                    const LossTable& table,
                                    const AllocationRequest& request) {
  return Allocator(model, recipe, importance, candidates, table, request).Run();
}

std::string RecipeText(const std::vector<AllocatedTensor>& tensors) {
  // By kind and type, the blocks; in order of appearance.
  std::vector<std::pair<std::string, QuantType>> order;
  std::map<std::pair<std::string, QuantType>, std::vector<std::string>> blocks;
  for (const AllocatedTensor& tensor : tensors) {
    std::string block;
    const auto key = std::make_pair(KindOf(tensor.name, &block), tensor.type);
    if (blocks.count(key) == 0) {
      order.push_back(key);
    }
    blocks[key].push_back(block);
  }
  // As long as a pattern may be (type_chooser.cc).
  constexpr size_t kBlocksALine = 200;
  std::string text;
  for (const auto& key : order) {
    const std::vector<std::string>& list = blocks[key];
    for (size_t at = 0; at < list.size(); at += kBlocksALine) {
      std::string alternatives;
      for (size_t i = at; i < std::min(list.size(), at + kBlocksALine); ++i) {
        absl::StrAppend(&alternatives, i > at ? "|" : "", list[i]);
      }
      absl::StrAppend(&text, "^");
      for (size_t i = 0; i < key.first.size(); ++i) {
        const char c = key.first[i];
        if (key.first.compare(i, 2, "{}") == 0) {
          absl::StrAppend(&text, "(", alternatives, ")");
          ++i;
        } else if (absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                   c == '_' || c == '-') {
          text += c;
        } else if (c == '.') {
          text += "\\.";
        } else {
          text += '.';  // what patterns or the file would read otherwise
        }
      }
      absl::StrAppend(&text, "$=", TypeName(key.second), "\n");
    }
  }
  return text;
}

}  // namespace narrow
