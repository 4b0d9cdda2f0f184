#include "converter/quantize/block/block_solver.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "converter/quantize/tensor_values.h"
#include "converter/solvers/transforms/fold_scales.h"
#include "formats/base/float16.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Matrices at most this large are solved side by side, a thread each, where
// a group has many of them (experts).
constexpr int64_t kSmallMatrix = int64_t{1} << 22;
// Weights of layers that go to a device together: 1 GB here.
constexpr int64_t kMostTogether = int64_t{1} << 28;

float RoundTo(QuantType type, float value) {
  return type == QuantType::kBF16  ? FloatFromBf16(Bf16FromFloat(value))
         : type == QuantType::kF16 ? FloatFromF16(F16FromFloat(value))
                                   : value;
}

// No names: all.
bool IsNamed(const ModelLinear& linear, absl::Span<const std::string> names) {
  return names.empty() ||
         std::find(names.begin(), names.end(), linear.gguf_name) != names.end();
}

}  // namespace

// State of one block's solution.
struct BlockSolver::Work {
  std::map<size_t, Fold> folds;  // by known
  // Of transforms, by known.
  std::map<size_t, std::vector<std::string>> notes;
  std::vector<std::pair<size_t, std::vector<float>>> shown;
  BlockOutput out;
};

struct BlockSolver::Member {
  size_t known = 0;
  const LayerStats* stats = nullptr;
  float global_scale = 0;
  BlockOutput out;
  std::vector<float> shown;     // what the file computes
  std::vector<float> weights;   // until then
  std::vector<double> moments;  // of outputs; empty: not known
};

BlockSolver::BlockSolver(const ModelInput* input, const QuantizePlan* plan,
                         OverlaySource* overlay, ThreadPool* pool,
                         const std::atomic<bool>* cancelled,
                         const Device* device)
    : input_(*input),
      plan_(*plan),
      overlay_(*overlay),
      pool_(*pool),
      cancelled_(cancelled),
      device_(device),
      layer_of_(plan->linears.known.size(), -1) {
  for (size_t i = 0; i < plan_.layers.size(); ++i) {
    if (plan_.layers[i].linear->known >= 0) {
      layer_of_[static_cast<size_t>(plan_.layers[i].linear->known)] =
          static_cast<int>(i);
    }
  }
}

std::vector<std::string> BlockSolver::Replaceable(const QuantizePlan& plan) {
  std::vector<std::string> names;
  for (const ModelLinear& linear : plan.linears.known) {
    if (linear.layer >= 0) {
      names.push_back(linear.hf_name);
    }
  }
  return names;
}

const TensorView& BlockSolver::View(size_t known) const {
  return *input_.source->Find(Linear(known).hf_name);
}

// A layer that stays dense by choice keeps its bytes, so nothing may be moved
// into it; routers go along.
bool BlockSolver::CanTransform(const LinearGroup& group) const {
  bool any = false;
  for (const size_t known : group.members) {
    any = any || layer_of_[known] >= 0;
    if (layer_of_[known] < 0 && !Linear(known).is_router) {
      return false;
    }
  }
  return any && group.absorber.kind != Absorber::Kind::kNone &&
         input_.source->Find(group.absorber.hf_name) != nullptr;
}

absl::Status BlockSolver::Transform(const LinearGroup& group,
                                    const BlockStats& stats, Work* work) {
  TransformGroup problem;
  std::vector<std::vector<float>> weights(group.members.size());
  for (size_t i = 0; i < group.members.size(); ++i) {
    const size_t known = group.members[i];
    const ModelLinear& linear = Linear(known);
    const TensorView& view = View(known);
    weights[i].resize(static_cast<size_t>(view.meta.n_elements()));
    RETURN_IF_ERROR(
        ReadValues(view, 0, linear.n_rows, &pool_, weights[i].data()));
    TransformMember member;
    member.name = linear.hf_name;
    member.weights = weights[i].data();
    member.n_rows = linear.n_rows;
    member.quantized = layer_of_[known] >= 0;
    if (member.quantized) {
      member.scheme =
          plan_.layers[static_cast<size_t>(layer_of_[known])].scheme;
    }
    problem.members.push_back(member);
    problem.n_cols = linear.n_cols;
    // A router sees every row; an expert only its own.
    const LayerStats* seen = stats.Find(linear.gguf_name, linear.expert);
    if (problem.stats == nullptr ||
        (seen != nullptr && seen->n_rows > problem.stats->n_rows)) {
      problem.stats = seen;
    }
  }
  problem.column_class = group.absorber.row_of_column;
  problem.device = device_;
  if (problem.stats == nullptr) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(
      GroupScales found,
      plan_.transform->run(problem, plan_.transform_options, &pool_));
  for (const size_t known : group.members) {
    work->notes[known] = found.notes;
  }
  if (found.scales.empty()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Absorb(group, &found.scales, work));
  for (const size_t known : group.members) {
    work->folds[known].columns = found.scales;
    work->folds[known].ratio = found.ratio;
  }
  return absl::OkStatus();
}

absl::Status BlockSolver::Absorb(const LinearGroup& group,
                                 std::vector<float>* scales, Work* work) {
  for (const float scale : *scales) {
    if (!std::isfinite(scale) || scale <= 0) {
      return absl::InternalError(absl::StrCat(
          "the transform gave a scale of ", scale, " to the columns of '",
          Linear(group.members[0]).hf_name, "'"));
    }
  }
  return group.absorber.kind == Absorber::Kind::kNorm
             ? AbsorbInNorm(group.absorber, scales, work)
             : AbsorbInRows(group.absorber, *scales, work);
}

absl::Status BlockSolver::AbsorbInNorm(const Absorber& absorber,
                                       std::vector<float>* scales, Work* work) {
  const TensorView& view = *input_.source->Find(absorber.hf_name);
  std::vector<float> norm(scales->size());
  if (view.meta.n_elements() != static_cast<int64_t>(norm.size())) {
    return absl::DataLossError(absl::StrCat(
        "tensor '", view.meta.name, "' is ", ShapeString(view.meta.shape),
        ", it feeds ", norm.size(), " columns; reading ", view.origin.file));
  }
  RETURN_IF_ERROR(
      ReadValues(view, 0, view.meta.n_rows(), nullptr, norm.data()));
  TensorMeta meta = view.meta;
  meta.type = input_.StoredType(view);
  FoldIntoNorm(absorber.norm_offset, meta.type, absl::MakeSpan(norm),
               absl::MakeSpan(*scales));
  std::vector<uint8_t> bytes;
  RETURN_IF_ERROR(AppendValues(norm, meta.type, meta.name, &bytes));
  work->out.tensors.emplace_back(std::move(meta), std::move(bytes));
  return absl::OkStatus();
}

absl::Status BlockSolver::AbsorbInRows(const Absorber& absorber,
                                       const std::vector<float>& scales,
                                       Work* work) {
  for (size_t known = 0; known < plan_.linears.known.size(); ++known) {
    const ModelLinear& linear = Linear(known);
    if (linear.hf_name != absorber.hf_name) {
      continue;
    }
    std::vector<float>& rows = work->folds[known].rows;
    rows.resize(static_cast<size_t>(linear.n_rows), 1.0f);
    for (size_t j = 0; j < scales.size(); ++j) {
      const int64_t row =
          absorber.first_row + (absorber.row_of_column.empty()
                                    ? static_cast<int64_t>(j)
                                    : absorber.row_of_column[j]);
      if (row < 0 || row >= linear.n_rows) {
        return absl::InternalError(
            absl::StrCat("column ", j, " is fed by row ", row, " of '",
                         linear.hf_name, "', which has ", linear.n_rows));
      }
      rows[static_cast<size_t>(row)] = scales[j];
    }
    return absl::OkStatus();
  }
  return absl::InternalError(
      absl::StrCat("no linear layer '", absorber.hf_name, "'"));
}

absl::Status BlockSolver::ReadFolded(size_t known, const Work& work,
                                     std::vector<float>* weights,
                                     ThreadPool* pool) const {
  const TensorView& view = View(known);
  const int64_t n_rows = Linear(known).n_rows;
  const size_t n_cols = static_cast<size_t>(Linear(known).n_cols);
  weights->resize(static_cast<size_t>(view.meta.n_elements()));
  RETURN_IF_ERROR(ReadValues(view, 0, n_rows, pool, weights->data()));
  input_.source->Release(view.data);
  const auto it = work.folds.find(known);
  if (it == work.folds.end()) {
    return absl::OkStatus();
  }
  const Fold& fold = it->second;
  pool->ParallelFor(n_rows, [&](int64_t r) {
    float* row = weights->data() + static_cast<size_t>(r) * n_cols;
    const float divisor =
        fold.rows.empty() ? 1 : fold.rows[static_cast<size_t>(r)];
    for (size_t j = 0; j < n_cols; ++j) {
      row[j] = row[j] / divisor * (fold.columns.empty() ? 1 : fold.columns[j]);
    }
  });
  return absl::OkStatus();
}

// Undoes what ReadFolded does: the weights in the original's coordinates.
template <typename FoldType>
static void Unfold(const FoldType& fold, int64_t n_rows, size_t n_cols,
                   ThreadPool* pool, std::vector<float>* weights) {
  pool->ParallelFor(n_rows, [&](int64_t r) {
    float* row = weights->data() + static_cast<size_t>(r) * n_cols;
    const float factor =
        fold.rows.empty() ? 1 : fold.rows[static_cast<size_t>(r)];
    for (size_t j = 0; j < n_cols; ++j) {
      row[j] = row[j] * factor / (fold.columns.empty() ? 1 : fold.columns[j]);
    }
  });
}

// Weights, and the moments of what they will give: an output that is divided
// by s has a gradient s times as large.
absl::Status BlockSolver::ReadMember(const Work& work, ThreadPool* pool,
                                     Member* member) const {
  RETURN_IF_ERROR(ReadFolded(member->known, work, &member->weights, pool));
  if (moments_ == nullptr || !LayerOf(member->known).solver->couples_outputs) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(member->moments, moments_->Read(Linear(member->known)));
  const auto fold = work.folds.find(member->known);
  if (fold == work.folds.end() || fold->second.rows.empty()) {
    return absl::OkStatus();
  }
  const std::vector<float>& rows = fold->second.rows;
  for (size_t at = 0; at < member->moments.size(); ++at) {
    member->moments[at] *=
        double{rows[at / rows.size()]} * double{rows[at % rows.size()]};
  }
  return absl::OkStatus();
}

absl::Status BlockSolver::SolveMember(const Work& work, ThreadPool* pool,
                                      Member* member) const {
  RETURN_IF_ERROR(ReadMember(work, pool, member));
  ASSIGN_OR_RETURN(SolvedLayer solved, SolveLayer(ProblemOf(*member), pool));
  return FinishMember(work, std::move(solved), pool, member);
}

absl::Status BlockSolver::SolveMembers(
    const Work& work, absl::Span<Member* const> members) const {
  std::vector<LayerProblem> problems;
  for (Member* member : members) {
    RETURN_IF_ERROR(ReadMember(work, &pool_, member));
    problems.push_back(ProblemOf(*member));
  }
  ASSIGN_OR_RETURN(std::vector<SolvedLayer> solved,
                   SolveLayers(problems, &pool_));
  for (size_t i = 0; i < members.size(); ++i) {
    RETURN_IF_ERROR(
        FinishMember(work, std::move(solved[i]), &pool_, members[i]));
  }
  return absl::OkStatus();
}

LayerProblem BlockSolver::ProblemOf(const Member& member) const {
  LayerProblem problem;
  problem.plan = &plan_;
  problem.layer = layer_of_[member.known];
  problem.weights = member.weights.data();
  problem.stats = member.stats;
  problem.global_scale = member.global_scale;
  problem.output_moments =
      member.moments.empty() ? nullptr : member.moments.data();
  problem.device = device_;
  return problem;
}

absl::Status BlockSolver::FinishMember(const Work& work, SolvedLayer solved,
                                       ThreadPool* pool, Member* member) const {
  const auto fold = work.folds.find(member->known);
  if (fold != work.folds.end()) {
    solved.report.transformed = !fold->second.columns.empty();
    solved.report.transform_ratio = fold->second.ratio;
  }
  const auto notes = work.notes.find(member->known);
  if (notes != work.notes.end()) {
    solved.report.notes.insert(solved.report.notes.end(), notes->second.begin(),
                               notes->second.end());
  }
  const int64_t n_rows = solved.matrix.n_rows;
  const size_t n_cols = static_cast<size_t>(solved.matrix.n_cols);
  member->moments = {};
  std::vector<float>& weights = member->weights;
  pool->ParallelFor(n_rows, [&](int64_t r) {
    DequantizeRows(solved.matrix, r, 1,
                   weights.data() + static_cast<size_t>(r) * n_cols);
  });
  if (fold != work.folds.end()) {
    Unfold(fold->second, n_rows, n_cols, pool, &weights);
  }
  member->shown = std::move(weights);
  const PlannedLayer& layer = LayerOf(member->known);
  for (size_t p = 0; p < layer.planes.size(); ++p) {
    member->out.tensors.emplace_back(layer.planes[p],
                                     std::move(solved.planes[p]));
  }
  member->out.reports.push_back(std::move(solved.report));
  return WriteFoldedBias(member->known, work, &member->out);
}

absl::Status BlockSolver::WriteFoldedDense(size_t known, const Work& work,
                                           BlockOutput* out,
                                           std::vector<float>* shown) const {
  const auto fold = work.folds.find(known);
  if (fold == work.folds.end()) {
    return absl::OkStatus();
  }
  std::vector<float> weights;
  RETURN_IF_ERROR(ReadFolded(known, work, &weights, &pool_));
  TensorMeta meta = View(known).meta;
  meta.type = input_.StoredType(View(known));
  std::vector<uint8_t> bytes;
  RETURN_IF_ERROR(AppendValues(weights, meta.type, meta.name, &bytes));
  for (float& weight : weights) {
    weight = RoundTo(meta.type, weight);
  }
  Unfold(fold->second, Linear(known).n_rows,
         static_cast<size_t>(Linear(known).n_cols), &pool_, &weights);
  *shown = std::move(weights);
  out->tensors.emplace_back(std::move(meta), std::move(bytes));
  return WriteFoldedBias(known, work, out);
}

// Rows that are divided have their biases divided.
absl::Status BlockSolver::WriteFoldedBias(size_t known, const Work& work,
                                          BlockOutput* out) const {
  const auto fold = work.folds.find(known);
  if (fold == work.folds.end() || fold->second.rows.empty()) {
    return absl::OkStatus();
  }
  const std::vector<float>& rows = fold->second.rows;
  const TensorView* view = input_.source->Find(
      absl::StrCat(ModuleOf(Linear(known).hf_name), ".bias"));
  if (view == nullptr) {
    return absl::OkStatus();
  }
  if (view->meta.n_elements() != static_cast<int64_t>(rows.size())) {
    return absl::DataLossError(
        absl::StrCat("tensor '", view->meta.name, "' is ",
                     ShapeString(view->meta.shape), ", its layer has ",
                     rows.size(), " outputs; reading ", view->origin.file));
  }
  std::vector<float> bias(rows.size());
  RETURN_IF_ERROR(
      ReadValues(*view, 0, view->meta.n_rows(), nullptr, bias.data()));
  for (size_t r = 0; r < rows.size(); ++r) {
    bias[r] /= rows[r];
  }
  TensorMeta meta = view->meta;
  meta.type = input_.StoredType(*view);
  if (layer_of_[known] >= 0 && plan_.packing->f16_bias) {
    meta.type = QuantType::kF16;
  }
  std::vector<uint8_t> bytes;
  RETURN_IF_ERROR(AppendValues(bias, meta.type, meta.name, &bytes));
  out->tensors.emplace_back(std::move(meta), std::move(bytes));
  return absl::OkStatus();
}

absl::Status BlockSolver::SolveGroup(const LinearGroup& group,
                                     BlockStats* stats, Work* work) {
  const size_t n = group.members.size();
  std::vector<const LayerStats*> member_stats(n, nullptr);
  std::map<const LayerStats*, std::shared_ptr<const LayerStats>> divided;
  std::map<int, float> max_abs;  // of fused siblings
  for (size_t i = 0; i < n; ++i) {
    const size_t known = group.members[i];
    const ModelLinear& linear = Linear(known);
    const LayerStats* seen = stats->Find(linear.gguf_name, linear.expert);
    const auto fold = work->folds.find(known);
    if (seen != nullptr && layer_of_[known] >= 0 && fold != work->folds.end() &&
        !fold->second.columns.empty()) {
      std::shared_ptr<const LayerStats>& own = divided[seen];
      if (own == nullptr) {
        own = std::make_shared<LayerStats>(
            ScaleStats(*seen, fold->second.columns));
      }
      seen = own.get();
    }
    member_stats[i] = seen;
    if (layer_of_[known] >= 0) {
      const PlannedLayer& layer =
          plan_.layers[static_cast<size_t>(layer_of_[known])];
      if (layer.scheme.global_scale && layer.linear->siblings >= 0) {
        std::vector<float> weights;
        RETURN_IF_ERROR(ReadFolded(known, *work, &weights, &pool_));
        float& most = max_abs[layer.linear->siblings];
        most = std::max(
            most, MaxAbs(weights.data(), static_cast<int64_t>(weights.size())));
      }
    }
  }
  std::vector<Member> members(n);
  for (size_t i = 0; i < n; ++i) {
    members[i].known = group.members[i];
    members[i].stats = member_stats[i];
    if (layer_of_[members[i].known] >= 0) {
      const PlannedLayer& layer = LayerOf(members[i].known);
      const auto most = max_abs.find(layer.linear->siblings);
      members[i].global_scale =
          most == max_abs.end() ? 0
                                : FusedGlobalScale(plan_, layer, most->second);
    }
  }
  RETURN_IF_ERROR(SolveAll(*work, &members));
  for (Member& member : members) {
    const ModelLinear& linear = Linear(member.known);
    if (layer_of_[member.known] < 0) {
      RETURN_IF_ERROR(
          WriteFoldedDense(member.known, *work, &member.out, &member.shown));
    }
    for (auto& tensor : member.out.tensors) {
      work->out.tensors.push_back(std::move(tensor));
    }
    for (LayerReport& report : member.out.reports) {
      work->out.reports.push_back(std::move(report));
    }
    if (!member.shown.empty()) {
      work->shown.emplace_back(member.known, std::move(member.shown));
    }
    stats->layers.erase({linear.gguf_name, linear.expert});
  }
  return absl::OkStatus();
}

// Members that a device takes together; without one each is alone.
std::vector<std::vector<BlockSolver::Member*>> BlockSolver::Lots(
    std::vector<Member>* members) const {
  std::vector<std::vector<Member*>> lots;
  for (Member& member : *members) {
    if (layer_of_[member.known] < 0) {
      continue;
    }
    const PlannedLayer& layer = LayerOf(member.known);
    const int64_t most = kMostTogether / (layer.n_rows() * layer.n_cols());
    const auto lot =
        std::find_if(lots.begin(), lots.end(), [&](const auto& other) {
          return device_ != nullptr &&
                 static_cast<int64_t>(other.size()) < most &&
                 SolvedTogether(LayerOf(other[0]->known), layer);
        });
    if (lot != lots.end()) {
      lot->push_back(&member);
    } else {
      lots.push_back({&member});
    }
  }
  return lots;
}

absl::Status BlockSolver::SolveAll(const Work& work,
                                   std::vector<Member>* members) const {
  const auto is_small = [&](const Member& member) {
    const ModelLinear& linear = Linear(member.known);
    return linear.n_rows * linear.n_cols <= kSmallMatrix;
  };
  const std::vector<std::vector<Member*>> lots = Lots(members);
  std::vector<absl::Status> status(lots.size());
  const auto solve = [&](size_t i, ThreadPool* pool) {
    if (cancelled_ != nullptr && cancelled_->load()) {
      status[i] = absl::CancelledError("stopped by a signal");
    } else if (lots[i].size() > 1) {
      status[i] = SolveMembers(work, lots[i]);
    } else {
      status[i] = SolveMember(work, pool, lots[i][0]);
    }
  };
  if (device_ == nullptr &&
      std::all_of(members->begin(), members->end(), is_small) &&
      members->size() >= static_cast<size_t>(2 * pool_.n_threads())) {
    pool_.ParallelFor(static_cast<int64_t>(lots.size()), [&](int64_t i) {
      ThreadPool alone(1);
      solve(static_cast<size_t>(i), &alone);
    });
  } else {
    for (size_t i = 0; i < lots.size() && (i == 0 || status[i - 1].ok()); ++i) {
      solve(i, &pool_);
    }
  }
  for (const absl::Status& one : status) {
    RETURN_IF_ERROR(one);
  }
  return absl::OkStatus();
}

bool BlockSolver::AnyToSolve(int block,
                             absl::Span<const std::string> names) const {
  for (size_t known = 0; known < layer_of_.size(); ++known) {
    if (layer_of_[known] >= 0 && Linear(known).layer == block &&
        IsNamed(Linear(known), names)) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<BlockOutput> BlockSolver::Solve(
    int block, BlockStats stats, absl::Span<const std::string> names) {
  std::vector<LinearGroup> groups =
      GroupsOfBlock(plan_.linears.known, *input_.arch, input_.config, block);
  for (LinearGroup& group : groups) {
    group.members.erase(
        std::remove_if(
            group.members.begin(), group.members.end(),
            [&](size_t known) { return !IsNamed(Linear(known), names); }),
        group.members.end());
  }
  Work work;
  if (plan_.transform != nullptr) {
    for (const LinearGroup& group : groups) {
      if (CanTransform(group)) {
        RETURN_IF_ERROR(Transform(group, stats, &work));
      }
    }
  }
  for (const LinearGroup& group : groups) {
    RETURN_IF_ERROR(SolveGroup(group, &stats, &work));
  }
  for (auto& [known, values] : work.shown) {
    RETURN_IF_ERROR(overlay_.Replace(Linear(known).hf_name, std::move(values)));
  }
  return std::move(work.out);
}

void BlockSolver::Restore(int block) {
  for (const ModelLinear& linear : plan_.linears.known) {
    if (linear.layer == block) {
      overlay_.Restore(linear.hf_name);
    }
  }
}

}  // namespace narrow
