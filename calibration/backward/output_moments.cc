// Tested by: fisher_weights_test, fisher_file_test.

#include "calibration/backward/output_moments.h"

#include <cassert>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "formats/base/hash/checksum.h"
#include "formats/base/status.h"
#include "kernels/linalg/device/device_chains.h"
#include "kernels/linalg/gram.h"

namespace narrow {
namespace {

uint64_t ChecksumOf(const std::vector<double>& sums) {
  Checksum checksum;
  checksum.Add(sums.data(), sums.size() * sizeof(double));
  return checksum.value();
}

}  // namespace

absl::StatusOr<std::unique_ptr<OutputMoments>> OutputMoments::Create(
    absl::string_view folder) {
  auto moments = std::unique_ptr<OutputMoments>(new OutputMoments);
  ASSIGN_OR_RETURN(moments->own_file_, TempFile::Create(folder));
  return moments;
}

std::unique_ptr<OutputMoments> OutputMoments::OfFile(
    std::shared_ptr<const MappedFile> file, Layers layers) {
  auto moments = std::unique_ptr<OutputMoments>(new OutputMoments);
  moments->their_file_ = std::move(file);
  moments->layers_ = std::move(layers);
  return moments;
}

absl::StatusOr<std::vector<double>> OutputMoments::ReadSums(
    const Layer& layer) const {
  std::vector<double> sums(
      static_cast<size_t>(layer.n_outputs * layer.n_outputs));
  const auto bytes = absl::MakeSpan(reinterpret_cast<uint8_t*>(sums.data()),
                                    static_cast<size_t>(layer.n_bytes()));
  if (own_file_ != nullptr) {
    RETURN_IF_ERROR(own_file_->ReadAt(layer.offset, bytes));
    return sums;
  }
  const auto from = their_file_->bytes().subspan(
      static_cast<size_t>(layer.offset), bytes.size());
  std::memcpy(bytes.data(), from.data(), from.size());
  their_file_->Release(from);
  if (ChecksumOf(sums) != layer.checksum) {
    return absl::DataLossError(
        absl::StrCat("moments of gradients are damaged; at offset ",
                     layer.offset, "; reading ", their_file_->path()));
  }
  return sums;
}

OutputMoments::Layer* OutputMoments::Find(const Key& key, int64_t n_outputs) {
  const auto [at, is_new] = layers_.insert({key, Layer()});
  if (is_new) {
    at->second.n_outputs = n_outputs;
    at->second.offset = -1;
  }
  assert(at->second.n_outputs == n_outputs);
  return &at->second;
}

absl::StatusOr<std::vector<double>> OutputMoments::TakeSums(
    const Key& key, const Layer& layer) {
  const auto found = in_memory_.find(key);
  if (found != in_memory_.end()) {
    std::vector<double> sums = std::move(found->second);
    in_memory_.erase(found);
    return sums;
  }
  if (layer.offset >= 0) {
    return ReadSums(layer);
  }
  return std::vector<double>();
}

absl::Status OutputMoments::Add(absl::string_view name, int expert,
                                const float* rows, int64_t n_rows,
                                int64_t n_outputs, ThreadPool* pool) {
  const Key key(name, expert);
  Layer* const layer = Find(key, n_outputs);
  if (const auto there = on_device_.find(key); there != on_device_.end()) {
    RETURN_IF_ERROR(Fetch(key, there->second));
    on_device_.erase(there);
  }
  ASSIGN_OR_RETURN(std::vector<double> sums, TakeSums(key, *layer));
  sums.resize(static_cast<size_t>(n_outputs * n_outputs));
  AddGram(pool, rows, n_rows, n_outputs, /*weights=*/nullptr, sums.data());
  in_memory_[key] = std::move(sums);
  layer->n_rows += n_rows;
  return absl::OkStatus();
}

absl::StatusOr<bool> OutputMoments::AddOnDevice(
    absl::string_view name, int expert, const float* rows, int64_t n_rows,
    int64_t n_outputs, const Device& device, DeviceStream* stream) {
  const Key key(name, expert);
  DeviceBuffer& sums = on_device_[key];
  const auto n_bytes = static_cast<size_t>(n_outputs * n_outputs) * 8;
  if (sums.data() == nullptr) {
    auto memory = device.Allocate(n_bytes, "moments of gradients");
    if (!memory.ok()) {
      on_device_.erase(key);
      return absl::IsResourceExhausted(memory.status())
                 ? absl::StatusOr<bool>(false)
                 : memory.status();
    }
    sums = *std::move(memory);
    ASSIGN_OR_RETURN(const std::vector<double> before,
                     TakeSums(key, *Find(key, n_outputs)));
    RETURN_IF_ERROR(before.empty()
                        ? stream->Fill(0, n_bytes, sums.data())
                        : stream->Copy(before.data(), n_bytes, sums.data()));
    RETURN_IF_ERROR(stream->Synchronize("moments of gradients"));
    device_ = device;
  }
  chain::GramTask task;
  task.left = task.right = rows;
  task.left_stride = task.right_stride = n_outputs;
  task.m = task.n = n_outputs;
  task.n_rows = n_rows;
  task.upper = true;
  task.sums = sums.as<double>();
  task.sums_stride = n_outputs;
  RETURN_IF_ERROR(RunGram(task, stream));
  RETURN_IF_ERROR(stream->Synchronize("moments of gradients"));
  Find(key, n_outputs)->n_rows += n_rows;
  return true;
}

absl::Status OutputMoments::Fetch(const Key& key, const DeviceBuffer& sums) {
  ASSIGN_OR_RETURN(DeviceStream stream, device_->NewStream());
  std::vector<double> here(sums.n_bytes() / sizeof(double));
  RETURN_IF_ERROR(stream.Copy(sums.data(), sums.n_bytes(), here.data()));
  RETURN_IF_ERROR(stream.Synchronize("moments of gradients"));
  in_memory_[key] = std::move(here);
  return absl::OkStatus();
}

absl::Status OutputMoments::Flush() {
  for (const auto& [key, sums] : on_device_) {
    RETURN_IF_ERROR(Fetch(key, sums));
  }
  on_device_.clear();
  for (const auto& [key, sums] : in_memory_) {
    Layer& layer = layers_[key];
    if (layer.offset < 0) {
      layer.offset = file_bytes_;
      file_bytes_ += layer.n_bytes();
    }
    layer.checksum = ChecksumOf(sums);
    RETURN_IF_ERROR(own_file_->WriteAt(
        layer.offset, {reinterpret_cast<const uint8_t*>(sums.data()),
                       static_cast<size_t>(layer.n_bytes())}));
  }
  in_memory_.clear();
  return absl::OkStatus();
}

bool OutputMoments::Has(absl::string_view name, int expert) const {
  return layers_.count({std::string(name), expert}) > 0;
}

absl::StatusOr<std::vector<double>> OutputMoments::Read(absl::string_view name,
                                                        int expert) const {
  const auto it = layers_.find({std::string(name), expert});
  if (it == layers_.end() || it->second.offset < 0) {
    return absl::NotFoundError(absl::StrCat("no moments of the gradients of '",
                                            name, "', expert ", expert));
  }
  const Layer& layer = it->second;
  ASSIGN_OR_RETURN(std::vector<double> mean, ReadSums(layer));
  const int64_t n = layer.n_outputs;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      double& above = mean[static_cast<size_t>(i * n + j)];
      above /= static_cast<double>(layer.n_rows);
      mean[static_cast<size_t>(j * n + i)] = above;
    }
  }
  return mean;
}

}  // namespace narrow
