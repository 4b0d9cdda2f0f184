#include "converter/quantize/quantize_run.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "converter/packed_output/config_json.h"
#include "converter/packed_output/output_folder.h"
#include "converter/packed_output/side_files.h"
#include "converter/quantize/direct_solver.h"
#include "converter/quantize/recipe/recipe_text.h"
#include "converter/quantize/verify_output.h"
#include "converter/quantize/work_store.h"
#include "converter/quantize/write_tensors.h"
#include "formats/base/file.h"
#include "formats/base/hash/fingerprint.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

// Changes when the same recipe gives other bytes than before.
constexpr char kVersion[] = "narrow quantize 2";

// Names, types, shapes and the ends of the data: enough to tell models apart
// without reading them.
void AddInput(const ModelInput& input, Fingerprint* hash) {
  constexpr size_t kEnd = 256;
  hash->Add(input.config_text);
  for (const TensorView& view : input.source->tensors()) {
    hash->Add(view.meta.name);
    hash->Add(ShapeString(view.meta.shape));
    hash->Add(static_cast<int64_t>(view.meta.type));
    const size_t n = std::min(kEnd, view.data.size());
    hash->Add(view.data.subspan(0, n));
    hash->Add(view.data.subspan(view.data.size() - n));
  }
}

class Run {
 public:
  Run(const ModelInput& input, const QuantizePlan& plan,
      const RunOptions& options)
      : input_(input),
        plan_(plan),
        options_(options),
        pool_(options.n_threads) {
    result_.reports.resize(plan.layers.size());
  }

  absl::StatusOr<QuantizeResult> All() {
    ASSIGN_OR_RETURN(folder_, OutputFolder::Create(options_.out));
    CalibratedRunOptions run_options;
    run_options.input = options_.input;
    run_options.n_threads = options_.n_threads;
    run_options.device = options_.device;
    run_options.on_device_note = options_.on_device_note;
    run_options.hidden_bytes = options_.hidden_bytes;
    run_options.on_block = options_.on_block;
    run_options.on_weights = options_.on_weights;
    run_options.cancelled = options_.cancelled;
    CalibratedRun calibrated(&input_, &plan_, run_options);
    if (plan_.calibrated) {
      RETURN_IF_ERROR(calibrated.Open());
      result_.n_samples = calibrated.samples().n_samples();
      result_.n_drawn = calibrated.n_drawn();
      result_.sample_tokens = calibrated.samples().sample_tokens;
    }
    ASSIGN_OR_RETURN(const uint64_t fingerprint, FingerprintOf(calibrated));
    RETURN_IF_ERROR(folder_->BeginWork(
        absl::StrFormat("%s %016x", kVersion, fingerprint), options_.restart));
    if (folder_->complete()) {
      result_.was_complete = true;
      RETURN_IF_ERROR(folder_->Finish());
      return std::move(result_);
    }
    WorkStore store(folder_->work_path());
    bool has_work = folder_->keeps_work();
    absl::Status status;
    if (plan_.calibrated) {
      status = calibrated.Blocks(fingerprint, &store,
                                 [&has_work] { has_work = true; });
      result_.n_blocks_resumed = calibrated.n_resumed();
    }
    if (status.ok()) {
      status = Write(store);
    }
    if (!status.ok()) {
      return Stopped(status, has_work);
    }
    RETURN_IF_ERROR(folder_->Finish());
    return std::move(result_);
  }

 private:
  // Of all of an adapter: it is small, and its tensors are not shown.
  absl::StatusOr<uint64_t> AdapterHash() const {
    Fingerprint hash;
    if (!options_.input.lora_folder.empty()) {
      for (const char* name :
           {"adapter_config.json", "adapter_model.safetensors"}) {
        ASSIGN_OR_RETURN(
            const auto file,
            MappedFile::Open(JoinPath(options_.input.lora_folder, name)));
        hash.Add(file->bytes());
      }
    }
    return hash.value();
  }

  absl::StatusOr<uint64_t> FingerprintOf(
      const CalibratedRun& calibrated) const {
    Fingerprint hash;
    hash.Add(RecipeText(plan_.recipe));
    hash.Add(options_.plan.max_shard_bytes);
    hash.Add(int64_t{options_.plan.merge_only});
    ASSIGN_OR_RETURN(const uint64_t adapter, AdapterHash());
    hash.Add(static_cast<int64_t>(adapter));
    hash.Add(
        static_cast<int64_t>(plan_.calibrated ? calibrated.fingerprint() : 0));
    AddInput(input_, &hash);
    return hash.value();
  }

  // What was done is worth keeping where the same command can succeed later.
  absl::Status Stopped(const absl::Status& status, bool has_work) {
    if (!has_work || !MayGoOn(status)) {
      return absl::IsCancelled(status) ? Annotate(status, "nothing was written")
                                       : folder_->NameRestart(status);
    }
    folder_->KeepWork();
    return Annotate(status, absl::StrCat("the same command goes on after the "
                                         "last finished block, kept in ",
                                         folder_->work_path()));
  }

  absl::Status Write(WorkStore& store) {
    WriteOptions write;
    write.max_shard_bytes = options_.plan.max_shard_bytes;
    write.on_progress = options_.on_written;
    write.cancelled = options_.cancelled;
    const RewrittenFn rewritten = [&](absl::string_view name) {
      return plan_.calibrated ? store.Find(name) : nullptr;
    };
    if (plan_.calibrated) {
      write.n_threads = 1;
      const PlanesFn planes = [&](int layer) { return Stored(store, layer); };
      RETURN_IF_ERROR(WriteTensors(input_, plan_, folder_->path(), planes,
                                   rewritten, write));
      TakeReports(store);
    } else {
      RETURN_IF_ERROR(options_.solved ? WriteSolved(rewritten, &write)
                                      : WriteDirect(rewritten, &write));
    }
    return WriteRest();
  }

  absl::StatusOr<Planes> Stored(const WorkStore& store, int layer) const {
    Planes planes;
    for (const TensorMeta& meta :
         plan_.layers[static_cast<size_t>(layer)].planes) {
      const TensorView* view = store.Find(meta.name);
      if (view == nullptr || view->meta.type != meta.type ||
          view->meta.shape != meta.shape) {
        return absl::DataLossError(
            absl::StrCat("the finished blocks have no tensor '", meta.name,
                         "' as planned; begin anew with --restart; in ",
                         folder_->work_path()));
      }
      planes.emplace_back(view->data.begin(), view->data.end());
    }
    return planes;
  }

  void TakeReports(const WorkStore& store) {
    std::map<std::string, size_t> index;
    for (size_t i = 0; i < plan_.layers.size(); ++i) {
      index[plan_.layers[i].name()] = i;
    }
    for (const LayerReport& report : store.reports()) {
      const auto it = index.find(report.name);
      if (it != index.end()) {
        result_.reports[it->second] = report;
      }
    }
  }

  // Layers are solved while the file is written, several at a time as far as
  // memory allows, each by its share of the threads.
  absl::Status WriteDirect(const RewrittenFn& rewritten, WriteOptions* write) {
    DirectSolver solver(
        &input_, &plan_, options_.importance,
        options_.device.has_value() ? &*options_.device : nullptr);
    const int n_threads = pool_.n_threads();
    write->n_threads = solver.SideBySide(n_threads);
    const int each = std::max(1, n_threads / write->n_threads);
    std::mutex mutex;
    std::vector<std::unique_ptr<ThreadPool>> free_pools;
    const PlanesFn planes = [&](int layer) -> absl::StatusOr<Planes> {
      std::unique_ptr<ThreadPool> pool;
      {
        std::lock_guard<std::mutex> lock(mutex);
        if (!free_pools.empty()) {
          pool = std::move(free_pools.back());
          free_pools.pop_back();
        }
      }
      if (pool == nullptr) {
        pool = std::make_unique<ThreadPool>(each);
      }
      auto solved = solver.Solve(layer, pool.get());
      if (solved.ok()) {
        result_.reports[static_cast<size_t>(layer)] = std::move(solved->report);
      }
      std::lock_guard<std::mutex> lock(mutex);
      free_pools.push_back(std::move(pool));
      RETURN_IF_ERROR(solved.status());
      return std::move(solved->planes);
    };
    return WriteTensors(input_, plan_, folder_->path(), planes, rewritten,
                        *write);
  }

  // Layers come from elsewhere; see RunOptions::solved.
  absl::Status WriteSolved(const RewrittenFn& rewritten, WriteOptions* write) {
    write->n_threads = 1;
    const PlanesFn planes = [&](int layer) -> absl::StatusOr<Planes> {
      ASSIGN_OR_RETURN(SolvedLayer solved, options_.solved(layer));
      result_.reports[static_cast<size_t>(layer)] = std::move(solved.report);
      return std::move(solved.planes);
    };
    return WriteTensors(input_, plan_, folder_->path(), planes, rewritten,
                        *write);
  }

  absl::Status WriteRest() {
    const std::string& folder = folder_->path();
    ASSIGN_OR_RETURN(
        const std::string config,
        SetQuantizationConfig(input_.config_text, plan_.quantization_config));
    RETURN_IF_ERROR(WriteTextFile(JoinPath(folder, "config.json"), config));
    if (plan_.packing != nullptr && plan_.packing->config_file != nullptr) {
      RETURN_IF_ERROR(
          WriteTextFile(JoinPath(folder, plan_.packing->config_file),
                        plan_.quantization_config + "\n"));
    }
    ASSIGN_OR_RETURN(result_.side_files, ListSideFiles(input_.folder));
    RETURN_IF_ERROR(CopySideFiles(input_.folder, result_.side_files, folder));
    if (options_.verify && plan_.packing != nullptr) {
      RETURN_IF_ERROR(
          Annotate(VerifyOutput(folder, plan_, result_.reports, &pool_),
                   "checking what was written; nothing was kept"));
    }
    if (options_.model_card) {
      ASSIGN_OR_RETURN(const std::string card,
                       options_.model_card(folder, result_));
      RETURN_IF_ERROR(WriteTextFile(JoinPath(folder, "README.md"), card));
    }
    if (options_.before_finish) {
      RETURN_IF_ERROR(options_.before_finish(folder));
    }
    return absl::OkStatus();
  }

  const ModelInput& input_;
  const QuantizePlan& plan_;
  const RunOptions& options_;
  ThreadPool pool_;
  std::unique_ptr<OutputFolder> folder_;
  QuantizeResult result_;
};

}  // namespace

absl::StatusOr<QuantizeResult> RunQuantize(const ModelInput& input,
                                           const QuantizePlan& plan,
                                           const RunOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(QuantizeResult result, Run(input, plan, options).All());
  result.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  return result;
}

}  // namespace narrow
