// Tested by: fisher_weights_test, fisher_file_test.

#include "calibration/backward/output_moments.h"

#include <cassert>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "formats/base/checksum.h"
#include "formats/base/status.h"
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

absl::Status OutputMoments::Add(absl::string_view name, int expert,
                                const float* rows, int64_t n_rows,
                                int64_t n_outputs, ThreadPool* pool) {
  const std::pair<std::string, int> key(name, expert);
  const auto [at, is_new] = layers_.insert({key, Layer()});
  Layer& layer = at->second;
  std::vector<double>& sums = in_memory_[key];
  if (is_new) {
    layer.n_outputs = n_outputs;
    layer.offset = -1;
  }
  assert(layer.n_outputs == n_outputs);
  if (sums.empty() && layer.offset >= 0) {
    ASSIGN_OR_RETURN(sums, ReadSums(layer));
  }
  sums.resize(static_cast<size_t>(n_outputs * n_outputs));
  AddGram(pool, rows, n_rows, n_outputs, /*weights=*/nullptr, sums.data());
  layer.n_rows += n_rows;
  return absl::OkStatus();
}

absl::Status OutputMoments::Flush() {
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
