#include "converter/solvers/device/device_hqq.h"

#include "formats/base/status.h"
#include "kernels/device.h"
#include "kernels/half_quadratic/device/device_hqq.h"

namespace narrow {
namespace {

// Memory of a device for one problem, and copies to and from it.
class Memory {
 public:
  Memory(const SolverProblem& problem, DeviceStream* stream)
      : problem_(problem), stream_(*stream) {}

  template <typename T>
  absl::StatusOr<T*> New(size_t n) {
    ASSIGN_OR_RETURN(DeviceBuffer buffer,
                     problem_.device->Allocate(n * sizeof(T), problem_.name));
    buffers_.push_back(std::move(buffer));
    return buffers_.back().as<T>();
  }
  template <typename T>
  absl::StatusOr<T*> Upload(const T* values, size_t n) {
    ASSIGN_OR_RETURN(T* const to, New<T>(n));
    RETURN_IF_ERROR(stream_.Copy(values, n * sizeof(T), to));
    return to;
  }
  template <typename T>
  absl::Status Download(const T* from, std::vector<T>* to) {
    return stream_.Copy(from, to->size() * sizeof(T), to->data());
  }

 private:
  const SolverProblem& problem_;
  DeviceStream& stream_;
  std::vector<DeviceBuffer> buffers_;
};

hqq_threads::Stored StoredAs(QuantType type) {
  return type == QuantType::kF16    ? hqq_threads::Stored::kF16
         : type == QuantType::kBF16 ? hqq_threads::Stored::kBF16
                                    : hqq_threads::Stored::kF32;
}

hqq_threads::Task TaskOf(const SolverProblem& problem) {
  const SolverOptions& options = *problem.options;
  hqq_threads::Task task = {};
  task.n_cols = problem.n_cols;
  task.stored = StoredAs(problem.scheme.scale_type);
  task.whole_zeros =
      problem.scheme.zero == ZeroKind::kInteger || options.hqq_round_zero;
  task.zero_low = static_cast<float>(options.zero_low);
  task.high = static_cast<float>(problem.scheme.n_codes() - 1);
  task.power = options.hqq_power;
  task.beta = options.hqq_beta;
  task.beta_growth = options.hqq_beta_growth;
  task.iterations = options.hqq_iterations;
  task.refit = options.refit;
  return task;
}

}  // namespace

bool CanHqqOnDevice(const SolverProblem& problem) {
  const QuantType type = problem.scheme.scale_type;
  return problem.device != nullptr && problem.options->hqq_keep_best &&
         (type == QuantType::kF32 || type == QuantType::kF16 ||
          type == QuantType::kBF16);
}

absl::Status HqqOnDevice(const SolverProblem& problem,
                         const std::vector<float>& importance,
                         std::vector<hqq_threads::Batch> batches,
                         QuantizedMatrix* matrix,
                         std::vector<hqq_threads::GroupErrors>* errors) {
  ASSIGN_OR_RETURN(DeviceStream stream, problem.device->NewStream());
  Memory memory(problem, &stream);
  int64_t n_aside = 0;
  for (hqq_threads::Batch& batch : batches) {
    batch.aside = n_aside;
    n_aside += batch.n * kGroupsAside;
  }
  hqq_threads::Task task = TaskOf(problem);
  task.n_batches = static_cast<int64_t>(batches.size());
  ASSIGN_OR_RETURN(task.batches, memory.Upload(batches.data(), batches.size()));
  ASSIGN_OR_RETURN(task.weights,
                   memory.Upload(problem.weights, matrix->codes.size()));
  ASSIGN_OR_RETURN(task.x, memory.New<float>(static_cast<size_t>(n_aside)));
  if (!importance.empty()) {
    ASSIGN_OR_RETURN(task.importance,
                     memory.Upload(importance.data(), importance.size()));
    ASSIGN_OR_RETURN(task.w, memory.New<float>(static_cast<size_t>(n_aside)));
  }
  ASSIGN_OR_RETURN(task.scales, memory.New<float>(matrix->scales.size()));
  ASSIGN_OR_RETURN(task.zeros, memory.New<float>(matrix->zeros.size()));
  ASSIGN_OR_RETURN(task.codes, memory.New<uint8_t>(matrix->codes.size()));
  errors->resize(batches.size() * static_cast<size_t>(kGroupsAside));
  ASSIGN_OR_RETURN(task.errors,
                   memory.New<hqq_threads::GroupErrors>(errors->size()));
  RETURN_IF_ERROR(RunHqq(task, &stream));
  RETURN_IF_ERROR(memory.Download(task.scales, &matrix->scales));
  RETURN_IF_ERROR(memory.Download(task.zeros, &matrix->zeros));
  RETURN_IF_ERROR(memory.Download(task.codes, &matrix->codes));
  RETURN_IF_ERROR(memory.Download(task.errors, errors));
  return stream.Synchronize(problem.name);
}

}  // namespace narrow
