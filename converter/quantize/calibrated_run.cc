#include "converter/quantize/calibrated_run.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "calibration/backward/fisher_file.h"
#include "calibration/blockwise/observe_request.h"
#include "calibration/text/cover_windows.h"
#include "calibration/text/sample_text.h"
#include "converter/quantize/block/layer_moments.h"
#include "formats/base/file.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"
#include "formats/lora/merge_lora.h"

namespace narrow {
namespace {

using Clock = std::chrono::steady_clock;

// The last of so many samples judges corrections of the drift.
constexpr int64_t kHeldOutEvery = 8;
// Outputs of the largest layers whose moments are gathered: 134 MB of them.
constexpr int64_t kMostCoupledOutputs = 4096;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class EmptySource final : public TensorSource {
 public:
  absl::Span<const TensorView> tensors() const override { return {}; }
  const TensorView* Find(absl::string_view) const override { return nullptr; }
  const Metadata& metadata() const override { return metadata_; }
  absl::string_view format() const override { return "none"; }
  void Release(absl::Span<const uint8_t>) const override {}

 private:
  Metadata metadata_;
};

struct KindRow {
  const char* name;
  TextKind kind;
};
constexpr KindRow kKinds[] = {{"auto", TextKind::kAuto},
                              {"plain", TextKind::kPlain},
                              {"jsonl", TextKind::kJsonl},
                              {"chat", TextKind::kChat}};

absl::StatusOr<SampleOptions> SampleOptionsOf(
    const CalibrationSettings& settings) {
  SampleOptions options;
  if (settings.has_text_kind()) {
    std::vector<std::string> names;
    bool found = false;
    for (const KindRow& row : kKinds) {
      names.push_back(row.name);
      if (settings.text_kind() == row.name) {
        options.kind = row.kind;
        found = true;
      }
    }
    if (!found) {
      return absl::InvalidArgumentError(absl::StrCat(
          "text_kind cannot be ", QuotedName(settings.text_kind()),
          "; the nearest is '", NearestName(settings.text_kind(), names), "'"));
    }
  }
  options.field = settings.text_field();
  if (settings.has_samples()) {
    options.n_samples = settings.samples();
  }
  if (settings.has_sample_tokens()) {
    options.sample_tokens = settings.sample_tokens();
  }
  options.seed = settings.seed();
  if (settings.has_pack()) {
    options.pack = settings.pack();
  }
  options.assistant_only = settings.assistant_only();
  options.spread = settings.spread();
  options.window_bos = !settings.has_window_bos() || settings.window_bos();
  return options;
}

absl::Status CheckCover(const CalibrationSettings& settings) {
  return settings.cover() == 1 || settings.cover() < 0
             ? absl::InvalidArgumentError(absl::StrCat(
                   "cover is ", settings.cover(),
                   ": of every so many windows one is drawn from the "
                   "vocabulary, the others are the text's; 4 is usual, 0 for "
                   "none"))
             : absl::OkStatus();
}

absl::StatusOr<Precision> PrecisionOf(const CalibrationSettings& settings) {
  const std::string& precision = settings.precision();
  if (precision.empty() || precision == "reproducible") {
    return Precision::kReproducible;
  }
  if (precision == "fast") {
    return Precision::kFast;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "precision is reproducible or fast, not ", QuotedName(precision)));
}

absl::Status CheckTokenWeights(const CalibrationSettings& settings) {
  const std::string& weights = settings.token_weights();
  return weights.empty() || weights == "none" || weights == "fisher"
             ? absl::OkStatus()
             : absl::InvalidArgumentError(
                   absl::StrCat("token_weights is none or fisher, not ",
                                QuotedName(weights)));
}

struct OrderRow {
  const char* name;
  CalibrationOrder order;
  bool by_sites;  // within a block too
};
constexpr OrderRow kOrders[] = {
    {"quantized", CalibrationOrder::kQuantized, true},
    {"blocks", CalibrationOrder::kQuantized, false},
    {"original", CalibrationOrder::kOriginal, false}};

absl::StatusOr<OrderRow> OrderOf(const CalibrationSettings& settings) {
  for (const OrderRow& row : kOrders) {
    if (settings.has_order() ? settings.order() == row.name : row.by_sites) {
      return row;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("order is quantized, blocks or original, not ",
                   QuotedName(settings.order())));
}

}  // namespace

CalibratedRun::CalibratedRun(const ModelInput* input, const QuantizePlan* plan,
                             const CalibratedRunOptions& options)
    : input_(*input),
      plan_(*plan),
      options_(options),
      pool_(options.n_threads) {}

absl::Status CalibratedRun::Open() {
  const CalibrationSettings& settings = plan_.recipe.calibration();
  RETURN_IF_ERROR(OrderOf(settings).status());
  RETURN_IF_ERROR(CheckTokenWeights(settings));
  RETURN_IF_ERROR(CheckCover(settings));
  ASSIGN_OR_RETURN(const SampleOptions samples, SampleOptionsOf(settings));
  CheckpointOptions options;
  options.intermediate = "exact";
  options.decode_quantized = options_.input.decode_quantized;
  absl::Status merging;
  options.wrap_source = [&](std::unique_ptr<TensorSource> inner) {
    if (!options_.input.lora_folder.empty()) {
      auto merged = MergeLora(std::move(inner), options_.input.lora_folder);
      if (merged.ok()) {
        inner = *std::move(merged);
      } else {
        // Merged once already, for the plan: the adapter has just changed.
        merging = merged.status();
        inner = std::make_unique<EmptySource>();
      }
    }
    auto overlay = std::make_unique<OverlaySource>(
        std::move(inner), BlockSolver::Replaceable(plan_));
    overlay_ = overlay.get();
    return std::unique_ptr<TensorSource>(std::move(overlay));
  };
  auto opened = Checkpoint::Open(input_.folder, options);
  RETURN_IF_ERROR(merging);
  RETURN_IF_ERROR(opened.status());
  model_ = *std::move(opened);
  return TakeSamples(samples);
}

absl::Status CalibratedRun::TakeSamples(SampleOptions of_text) {
  const CalibrationSettings& settings = plan_.recipe.calibration();
  const int64_t n_wanted = of_text.n_samples;
  of_text.n_samples -= CoverWindows(n_wanted, settings.cover());
  of_text.fewer = settings.cover() > 0;
  ASSIGN_OR_RETURN(
      samples_,
      SampleTexts(*model_, {settings.file().begin(), settings.file().end()},
                  of_text));
  n_drawn_ = DrawnWindows(n_wanted, settings.cover(), samples_.n_samples(),
                          samples_.sample_tokens);
  return n_drawn_ == 0 ? absl::OkStatus()
                       : AddCoverWindows(*model_, n_drawn_, settings.cover(),
                                         of_text.seed, &samples_);
}

absl::StatusOr<BlockOutput> CalibratedRun::AtOnce(BlockCalibrator* calibrator,
                                                  BlockSolver* solver,
                                                  BlockProgress* progress) {
  Clock::time_point start = Clock::now();
  ObserveRequest request;
  request.needs = plan_.needs;
  request.weights = weights();
  ASSIGN_OR_RETURN(BlockStats stats,
                   calibrator->Observe(request, [](double) {}));
  progress->observe_seconds = SecondsSince(start);
  start = Clock::now();
  ASSIGN_OR_RETURN(
      BlockOutput output,
      solver->Solve(static_cast<int>(progress->block), std::move(stats)));
  progress->solve_seconds = SecondsSince(start);
  return output;
}

// Layers that share an input at a time, so that those after them see what
// they will compute in the file.
absl::StatusOr<BlockOutput> CalibratedRun::BySites(BlockCalibrator* calibrator,
                                                   BlockSolver* solver,
                                                   BlockProgress* progress) {
  const int block = static_cast<int>(progress->block);
  BlockOutput all;
  for (const std::vector<std::string>& names : calibrator->SitesOfBlock()) {
    if (names.empty() || !solver->AnyToSolve(block, names)) {
      continue;
    }
    Clock::time_point start = Clock::now();
    ObserveRequest request;
    request.needs = plan_.needs;
    request.layers = names;
    request.weights = weights();
    request.held_out_every = plan_.needs.cross ? kHeldOutEvery : 0;
    ASSIGN_OR_RETURN(BlockStats stats,
                     calibrator->Observe(request, [](double) {}));
    progress->observe_seconds += SecondsSince(start);
    start = Clock::now();
    ASSIGN_OR_RETURN(BlockOutput output,
                     solver->Solve(block, std::move(stats), names));
    std::move(output.tensors.begin(), output.tensors.end(),
              std::back_inserter(all.tensors));
    std::move(output.reports.begin(), output.reports.end(),
              std::back_inserter(all.reports));
    progress->solve_seconds += SecondsSince(start);
  }
  return all;
}

absl::Status CalibratedRun::OneBlock(BlockCalibrator* calibrator,
                                     BlockSolver* solver, WorkStore* store) {
  BlockProgress progress;
  progress.block = calibrator->next_block();
  progress.n_blocks = calibrator->n_blocks();
  ASSIGN_OR_RETURN(const OrderRow order, OrderOf(plan_.recipe.calibration()));
  // Transforms move scales between the layers of a whole block.
  const bool by_sites = order.by_sites && plan_.transform == nullptr;
  ASSIGN_OR_RETURN(const BlockOutput output,
                   by_sites ? BySites(calibrator, solver, &progress)
                            : AtOnce(calibrator, solver, &progress));
  RETURN_IF_ERROR(store->Save(static_cast<int>(progress.block), output));
  for (const LayerReport& report : output.reports) {
    const double n = static_cast<double>(output.reports.size());
    progress.error += report.relative_error / n;
    progress.error_rounding += report.error_rounding / n;
  }
  const Clock::time_point start = Clock::now();
  RETURN_IF_ERROR(calibrator->Advance([](double) {}));
  solver->Restore(static_cast<int>(progress.block));
  progress.advance_seconds = SecondsSince(start);
  if (options_.on_block) {
    options_.on_block(progress);
  }
  return absl::OkStatus();
}

absl::Status CalibratedRun::WeighTokens(uint64_t run_fingerprint,
                                        WorkStore* store) {
  if (FileExists(store->fisher_path())) {
    ASSIGN_OR_RETURN(fisher_,
                     ReadFisherWeights(store->fisher_path(), run_fingerprint));
    return absl::OkStatus();
  }
  FisherOptions options;
  options.per_input = true;
  if (std::any_of(plan_.layers.begin(), plan_.layers.end(),
                  [](const PlannedLayer& layer) {
                    return layer.solver->couples_outputs;
                  })) {
    options.max_moment_outputs = kMostCoupledOutputs;
  }
  options.hidden_bytes = options_.hidden_bytes;
  options.n_threads = pool_.n_threads();
  options.cancelled = options_.cancelled;
  options.device = options_.device;
  options.on_device_note = options_.on_device_note;
  ASSIGN_OR_RETURN(fisher_, ComputeFisherWeights(model_.get(), samples_,
                                                 options, options_.on_weights));
  return WriteFisherWeights(fisher_, run_fingerprint, store->fisher_path());
}

absl::Status CalibratedRun::Blocks(uint64_t run_fingerprint, WorkStore* store,
                                   const std::function<void()>& on_saved) {
  const CalibrationSettings& settings = plan_.recipe.calibration();
  CalibrationOptions options;
  ASSIGN_OR_RETURN(const OrderRow order, OrderOf(settings));
  options.order = order.order;
  options.hidden_bytes = options_.hidden_bytes;
  options.keep_original = plan_.needs.cross;
  if (settings.has_expert_rows_per_column()) {
    options.expert_rows_per_column = settings.expert_rows_per_column();
  }
  options.cancelled = options_.cancelled;
  options.runner.n_threads = pool_.n_threads();
  options.runner.device = options_.device;
  options.runner.on_device_note = options_.on_device_note;
  ASSIGN_OR_RETURN(options.runner.precision, PrecisionOf(settings));
  ASSIGN_OR_RETURN(
      const auto calibrator,
      BlockCalibrator::Create(model_.get(), overlay_, samples_, options));
  if (settings.token_weights() == "fisher") {
    RETURN_IF_ERROR(WeighTokens(run_fingerprint, store));
    on_saved();
  }
  if (FileExists(store->calibrator_path())) {
    RETURN_IF_ERROR(
        Annotate(calibrator->Restore(store->calibrator_path(), run_fingerprint),
                 "begin anew with --restart"));
    n_resumed_ = calibrator->next_block();
    // Damage is told before hours go into the rest.
    RETURN_IF_ERROR(store->Load(n_resumed_));
    on_saved();
  }
  BlockSolver solver(&input_, &plan_, overlay_, &pool_, options_.cancelled,
                     options_.device.has_value() ? &*options_.device : nullptr);
  const LayerMoments moments(fisher_.moments.get(), model_.get());
  solver.set_moments(&moments);
  const int64_t n_blocks = calibrator->n_blocks();
  while (calibrator->next_block() < n_blocks) {
    RETURN_IF_ERROR(OneBlock(calibrator.get(), &solver, store));
    RETURN_IF_ERROR(
        calibrator->Save(store->calibrator_path(), run_fingerprint));
    on_saved();
  }
  return store->Load(n_blocks);
}

}  // namespace narrow
