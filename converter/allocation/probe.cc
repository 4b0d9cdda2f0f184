// Tested by allocate_test.cc and allocation_files_test.sh.

#include "converter/allocation/probe.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "calibration/backward/fisher_weights.h"
#include "calibration/blockwise/block_calibrator.h"
#include "calibration/blockwise/layer_stats.h"
#include "calibration/weights/weights.h"
#include "converter/allocation/row_errors.h"
#include "converter/compensated/embedding/solve_embedding.h"
#include "formats/base/hash/fingerprint.h"
#include "formats/base/parallel.h"
#include "formats/base/status.h"
#include "kernels/quant/codec.h"

namespace narrow {
namespace {

constexpr char kVersion[] = "narrow probe 3";
constexpr char kOutput[] = "output.weight";
// Share of the time that the reverse pass takes, for progress.
constexpr double kFisherShare = 0.4;
// Blocks on whose rows a solver is tried.
constexpr int64_t kSolvedBlocks = 4;
constexpr int64_t kTriedExperts = 2;

int64_t MatricesOf(const TensorMeta& meta) {
  return meta.shape.size() > 2 ? meta.shape[0] : 1;
}

class Probe {
 public:
  Probe(const Checkpoint& model, const CalibrationSamples& samples,
        const std::vector<ProbeTensor>& tensors, const ProbeOptions& options)
      : model_(model),
        samples_(samples),
        tensors_(tensors),
        options_(options),
        pool_(options.n_threads) {}

  absl::StatusOr<LossTable> Run();
  FisherWeights TakeFisher() { return std::move(fisher_); }

 private:
  // What is left of plain error where a solver was tried: sums of logarithms.
  struct Ratio {
    double log_sum = 0;
    int64_t n = 0;
  };
  using Kind = std::pair<std::string, QuantType>;  // name without its block

  absl::Status Weigh();
  absl::Status Blocks();
  absl::Status Tensor(const ProbeTensor& tensor, const std::string& as,
                      const BlockStats& stats, int64_t block);
  absl::Status Matrix(const ProbeTensor& tensor, int64_t matrix,
                      const LayerStats& stats,
                      const std::vector<double>& squares, bool solve);
  absl::Status Embedding(const ProbeTensor& tensor);
  absl::Status ReadSome(const CheckpointTensor& source,
                        const std::vector<int64_t>& rows,
                        std::vector<float>* weights) const;
  absl::Status TrySolver(const ProbeTensor& tensor, int64_t first_row,
                         int64_t n_rows, const LayerStats& stats);
  // All its uses shrink alike, as they are solved together.
  absl::Status TryEmbedding(const ProbeTensor& tensor);
  void ApplyRatios();
  bool IsSolved(const ProbeTensor& tensor) const {
    const CheckpointTensor& source = *tensor.planned->source;
    return options_.solver && HasInputStatistics(source) &&
           source.scales.empty();
  }
  bool IsTriedBlock(int64_t block, int64_t n_blocks) const;
  void Add(const std::string& name, QuantType type, double loss) {
    table_.tensors[name][type] += loss;
  }
  void Show(double share) const {
    if (options_.on_progress) {
      options_.on_progress(share);
    }
  }

  const Checkpoint& model_;
  const CalibrationSamples& samples_;
  const std::vector<ProbeTensor>& tensors_;
  const ProbeOptions& options_;
  ThreadPool pool_;
  FisherWeights fisher_;
  LossTable table_;
  std::map<Kind, Ratio> ratios_;
};

// "blk.3.ffn_up.weight" -> "ffn_up.weight".
std::string KindName(const CheckpointTensor& source) {
  const std::string prefix = absl::StrCat("blk.", source.layer, ".");
  const std::string& name = source.meta.name;
  return source.layer >= 0 && name.compare(0, prefix.size(), prefix) == 0
             ? name.substr(prefix.size())
             : name;
}

bool Probe::IsTriedBlock(int64_t block, int64_t n_blocks) const {
  if (block >= n_blocks) {
    return true;  // the output matrix
  }
  for (int64_t i = 0; i < kSolvedBlocks; ++i) {
    if (block == i * (n_blocks - 1) / (kSolvedBlocks - 1)) {
      return true;
    }
  }
  return false;
}

absl::Status Probe::ReadSome(const CheckpointTensor& source,
                             const std::vector<int64_t>& rows,
                             std::vector<float>* weights) const {
  const int64_t n_cols = source.meta.n_cols();
  weights->resize(rows.size() * static_cast<size_t>(n_cols));
  for (size_t i = 0; i < rows.size(); ++i) {
    float* out = weights->data() + static_cast<int64_t>(i) * n_cols;
    RETURN_IF_ERROR(ReadScaledRows(model_, source, rows[i], 1, out));
    for (int64_t c = 0; c < n_cols; ++c) {
      if (!std::isfinite(out[c])) {
        return absl::DataLossError(
            absl::StrCat("tensor ", QuotedName(source.meta.name),
                         ": weight is ", out[c], " at row ", rows[i],
                         ", column ", c, "; reading ", source.origin.file));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Probe::Weigh() {
  FisherOptions options;
  options.per_input = true;
  options.embedding = true;
  options.max_moment_outputs = options_.max_moment_outputs;
  options.hidden_bytes = options_.hidden_bytes;
  options.n_threads = options_.n_threads;
  options.cancelled = options_.cancelled;
  options.device = options_.device;
  options.on_device_note = options_.on_device_note;
  ASSIGN_OR_RETURN(fisher_, ComputeFisherWeights(&model_, samples_, options,
                                                 [this](double share) {
                                                   Show(share * kFisherShare);
                                                 }));
  return absl::OkStatus();
}

absl::Status Probe::TrySolver(const ProbeTensor& tensor, int64_t first_row,
                              int64_t n_rows, const LayerStats& stats) {
  const CheckpointTensor& source = *tensor.planned->source;
  std::vector<int64_t> rows = EvenRows(n_rows, options_.max_solved_rows);
  for (int64_t& row : rows) {
    row += first_row;
  }
  std::vector<float> weights;
  RETURN_IF_ERROR(ReadSome(source, rows, &weights));
  for (const QuantType type : tensor.types) {
    CompensatedProblem problem;
    problem.name = source.meta.name;
    problem.weights = weights.data();
    problem.n_rows = static_cast<int64_t>(rows.size());
    problem.n_cols = source.meta.n_cols();
    problem.codec = FindCodec(type);
    problem.stats = &stats;
    problem.options = &options_.solver_options;
    problem.pool = &pool_;
    problem.device = options_.device.has_value() ? &*options_.device : nullptr;
    ASSIGN_OR_RETURN(const CompensatedResult result, SolveCompensated(problem));
    if (result.relative_error > 0 && result.relative_error_plain > 0) {
      Ratio& ratio = ratios_[{KindName(source), type}];
      ratio.log_sum +=
          std::log(result.relative_error / result.relative_error_plain);
      ++ratio.n;
    }
  }
  return absl::OkStatus();
}

absl::Status Probe::Matrix(const ProbeTensor& tensor, int64_t matrix,
                           const LayerStats& stats,
                           const std::vector<double>& squares, bool solve) {
  const CheckpointTensor& source = *tensor.planned->source;
  const int64_t n_matrices = MatricesOf(source.meta);
  const int64_t n_cols = source.meta.n_cols();
  const int64_t n_rows = source.meta.n_rows() / n_matrices;
  if (static_cast<int64_t>(squares.size()) != n_rows ||
      stats.n_cols != n_cols || stats.gram.empty()) {
    return absl::OkStatus();
  }
  const int64_t max_rows =
      std::max<int64_t>(16, options_.max_rows / n_matrices);
  std::vector<WeighedRow> chosen = ChooseRows(squares, max_rows);
  std::vector<int64_t> rows;
  for (const WeighedRow& row : chosen) {
    rows.push_back(matrix * n_rows + row.row);
  }
  std::vector<float> weights;
  RETURN_IF_ERROR(ReadSome(source, rows, &weights));
  std::vector<float> importance;
  const float* importance_row = nullptr;
  if (IsSolved(tensor)) {
    for (int64_t c = 0; c < n_cols; ++c) {
      importance.push_back(static_cast<float>(stats.MeanSquare(c)));
    }
    importance_row = importance.data();
  } else if (tensor.planned->importance != nullptr) {
    importance_row = tensor.planned->importance + matrix * n_cols;
  }
  const std::vector<float> gram = MeanGram(stats);
  for (const QuantType type : tensor.types) {
    const std::vector<double> errors = RowErrors(
        *FindCodec(type), weights, n_cols, importance_row, gram, &pool_);
    double loss = 0;
    for (size_t i = 0; i < chosen.size(); ++i) {
      loss += chosen[i].weight * errors[i] / 2;
    }
    Add(source.meta.name, type, loss);
  }
  return solve ? TrySolver(tensor, matrix * n_rows, n_rows, stats)
               : absl::OkStatus();
}

absl::Status Probe::Tensor(const ProbeTensor& tensor, const std::string& as,
                           const BlockStats& stats, int64_t block) {
  const CheckpointTensor& source = *tensor.planned->source;
  const int64_t n_matrices = MatricesOf(source.meta);
  const bool tried =
      IsSolved(tensor) && IsTriedBlock(block, model_.config().n_layers);
  for (int64_t m = 0; m < n_matrices; ++m) {
    if (options_.cancelled != nullptr && options_.cancelled->load()) {
      return absl::CancelledError("stopped while measuring losses");
    }
    const int expert = source.meta.shape.size() > 2 ? static_cast<int>(m) : -1;
    const LayerStats* seen = stats.Find(as, expert);
    const auto squares = fisher_.output_squares.find({as, expert});
    if (seen == nullptr || squares == fisher_.output_squares.end()) {
      continue;  // an expert that no token came to, or no linear layer
    }
    RETURN_IF_ERROR(
        Matrix(tensor, m, *seen, squares->second, tried && m < kTriedExperts));
  }
  return absl::OkStatus();
}

// Rows of the tokens at evenly spread places of the text.
absl::Status Probe::Embedding(const ProbeTensor& tensor) {
  const CheckpointTensor& source = *tensor.planned->source;
  const int64_t n_cols = source.meta.n_cols();
  const auto squares = fisher_.output_squares.find({"token_embd.weight", -1});
  if (squares == fisher_.output_squares.end() ||
      static_cast<int64_t>(squares->second.size()) != n_cols) {
    return absl::OkStatus();
  }
  std::vector<int32_t> counted;
  for (size_t t = 0; t < samples_.ids.size(); ++t) {
    if (samples_.counts[t] != 0) {
      counted.push_back(samples_.ids[t]);
    }
  }
  std::map<int64_t, double> shares;
  const auto places =
      EvenRows(static_cast<int64_t>(counted.size()), 4 * options_.max_rows);
  for (const int64_t place : places) {
    shares[counted[static_cast<size_t>(place)]] +=
        1 / static_cast<double>(places.size());
  }
  std::vector<int64_t> rows;
  for (const auto& [row, share] : shares) {
    rows.push_back(row);
  }
  std::vector<float> weights;
  RETURN_IF_ERROR(ReadSome(source, rows, &weights));
  for (const QuantType type : tensor.types) {
    const std::vector<double> errors =
        DiagonalErrors(*FindCodec(type), weights, n_cols,
                       tensor.planned->importance, squares->second, &pool_);
    double loss = 0;
    size_t i = 0;
    for (const auto& [row, share] : shares) {
      loss += share * errors[i++] / 2;
    }
    Add(source.meta.name, type, loss);
  }
  return absl::OkStatus();
}

absl::Status Probe::TryEmbedding(const ProbeTensor& tensor) {
  const int64_t n_rows = tensor.planned->source->meta.n_rows();
  ASSIGN_OR_RETURN(const EmbeddingMetric metric,
                   EmbeddingMetric::Of(fisher_, samples_, n_rows));
  ProbeTensor solved = tensor;
  solved.types.erase(std::remove_if(solved.types.begin(), solved.types.end(),
                                    [](QuantType type) {
                                      return !IsWorthSolving(*FindCodec(type));
                                    }),
                     solved.types.end());
  return TrySolver(solved, 0, n_rows, metric.StatsOf(0));
}

absl::Status Probe::Blocks() {
  CalibrationOptions calibration;
  calibration.order = CalibrationOrder::kOriginal;
  calibration.hidden_bytes = options_.hidden_bytes;
  calibration.cancelled = options_.cancelled;
  calibration.runner.n_threads = pool_.n_threads();
  ASSIGN_OR_RETURN(
      const auto calibrator,
      BlockCalibrator::Create(&model_, nullptr, samples_, calibration));
  ObserveRequest request;
  request.needs.columns = request.needs.gram = true;
  request.weights = &fisher_.tokens;
  const int64_t n_blocks = calibrator->n_blocks();
  for (int64_t block = 0; block < n_blocks; ++block) {
    // A site at a time, so that few Gram matrices are in memory.
    for (const std::vector<std::string>& names : calibrator->SitesOfBlock()) {
      std::vector<const ProbeTensor*> asked;
      request.layers.clear();
      for (const ProbeTensor& tensor : tensors_) {
        const std::string& name = tensor.planned->source->meta.name;
        if (std::find(names.begin(), names.end(), name) != names.end()) {
          asked.push_back(&tensor);
          request.layers.push_back(name);
        }
      }
      if (asked.empty()) {
        continue;
      }
      ASSIGN_OR_RETURN(const BlockStats stats,
                       calibrator->Observe(request, nullptr));
      for (const ProbeTensor* tensor : asked) {
        RETURN_IF_ERROR(
            Tensor(*tensor, tensor->planned->source->meta.name, stats, block));
      }
    }
    RETURN_IF_ERROR(calibrator->Advance(nullptr));
    Show(kFisherShare + (1 - kFisherShare) * static_cast<double>(block + 1) /
                            static_cast<double>(n_blocks + 1));
  }
  const bool tied = model_.Find(kOutput) == nullptr;
  request.layers.clear();
  for (const ProbeTensor& tensor : tensors_) {
    const bool embedding =
        tensor.planned->role == TensorRole::kTokenEmbedding &&
        tensor.planned->source->meta.name == "token_embd.weight";
    if (tensor.planned->source->meta.name == kOutput || (embedding && tied)) {
      ASSIGN_OR_RETURN(const BlockStats stats,
                       calibrator->ObserveOutput(request));
      RETURN_IF_ERROR(Tensor(tensor, kOutput, stats, n_blocks));
    }
    if (embedding) {
      RETURN_IF_ERROR(Embedding(tensor));
    }
    if (options_.solver && IsEmbedding(*tensor.planned->source)) {
      RETURN_IF_ERROR(TryEmbedding(tensor));
    }
  }
  return absl::OkStatus();
}

void Probe::ApplyRatios() {
  for (const ProbeTensor& tensor : tensors_) {
    const CheckpointTensor& source = *tensor.planned->source;
    if (!IsSolved(tensor) && !IsEmbedding(source)) {
      continue;
    }
    for (const QuantType type : tensor.types) {
      const auto ratio = ratios_.find({KindName(source), type});
      const auto losses = table_.tensors.find(source.meta.name);
      if (ratio != ratios_.end() && losses != table_.tensors.end()) {
        losses->second[type] *= std::exp(ratio->second.log_sum /
                                         static_cast<double>(ratio->second.n));
      }
    }
  }
}

absl::StatusOr<LossTable> Probe::Run() {
  RETURN_IF_ERROR(Weigh());
  RETURN_IF_ERROR(Blocks());
  ApplyRatios();
  Show(1);
  return std::move(table_);
}

}  // namespace

absl::StatusOr<uint64_t> ProbeFingerprint(
    const Checkpoint& model, const CalibrationSamples& samples,
    const std::vector<ProbeTensor>& tensors, const ProbeOptions& options) {
  Fingerprint print;
  print.Add(kVersion);
  print.Add(static_cast<int64_t>(samples.hash));
  print.Add(options.max_rows);
  print.Add(int64_t{options.solver});
  if (options.solver) {
    const CompensatedOptions& o = options.solver_options;
    for (const int64_t number : {int64_t{o.rounds}, int64_t{o.refit},
                                 int64_t{o.sweep}, int64_t{o.n_orders}}) {
      print.Add(number);
    }
    print.Add(absl::StrFormat("%.17g", o.damping));
  }
  for (const CheckpointTensor& tensor : model.tensors()) {
    print.Add(tensor.meta.name);
    print.Add(TypeName(tensor.meta.type));
    print.Add(ShapeString(tensor.meta.shape));
  }
  for (const ProbeTensor& tensor : tensors) {
    const TensorMeta& meta = tensor.planned->source->meta;
    print.Add(meta.name);
    for (const QuantType type : tensor.types) {
      print.Add(TypeName(type));
    }
    // Enough to tell models apart without reading them.
    std::vector<float> row(static_cast<size_t>(meta.n_cols()));
    for (const int64_t r : {int64_t{0}, meta.n_rows() - 1}) {
      RETURN_IF_ERROR(
          ReadRows(model, *tensor.planned->source, r, 1, row.data()));
      print.Add({reinterpret_cast<const uint8_t*>(row.data()),
                 row.size() * sizeof(float)});
    }
    if (tensor.planned->importance != nullptr) {
      print.Add({reinterpret_cast<const uint8_t*>(tensor.planned->importance),
                 static_cast<size_t>(MatricesOf(meta) * meta.n_cols()) *
                     sizeof(float)});
    }
  }
  return print.value();
}

absl::StatusOr<LossTable> ProbeLosses(const Checkpoint& model,
                                      const CalibrationSamples& samples,
                                      const std::vector<ProbeTensor>& tensors,
                                      const ProbeOptions& options,
                                      FisherWeights* fisher) {
  Probe probe(model, samples, tensors, options);
  ASSIGN_OR_RETURN(LossTable table, probe.Run());
  if (fisher != nullptr) {
    *fisher = probe.TakeFisher();
  }
  return table;
}

}  // namespace narrow
