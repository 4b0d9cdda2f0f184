// Tested by: fisher_weights_test.

#include "calibration/backward/output_moments.h"

#include <cassert>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "formats/base/status.h"
#include "kernels/linalg/gram.h"

namespace narrow {

absl::StatusOr<std::unique_ptr<OutputMoments>> OutputMoments::Create(
    absl::string_view folder) {
  ASSIGN_OR_RETURN(auto file, TempFile::Create(folder));
  return std::unique_ptr<OutputMoments>(new OutputMoments(std::move(file)));
}

absl::Status OutputMoments::Load(const Entry& entry,
                                 std::vector<double>* sums) const {
  sums->resize(static_cast<size_t>(entry.n_outputs * entry.n_outputs));
  return file_->ReadAt(entry.offset,
                       absl::MakeSpan(reinterpret_cast<uint8_t*>(sums->data()),
                                      sums->size() * sizeof(double)));
}

absl::Status OutputMoments::Add(absl::string_view name, int expert,
                                const float* rows, int64_t n_rows,
                                int64_t n_outputs, ThreadPool* pool) {
  Entry& entry = entries_[{std::string(name), expert}];
  if (entry.n_outputs == 0) {
    entry.n_outputs = n_outputs;
  }
  assert(entry.n_outputs == n_outputs);
  if (entry.sums.empty()) {
    if (entry.on_file) {
      RETURN_IF_ERROR(Load(entry, &entry.sums));
    } else {
      entry.sums.resize(static_cast<size_t>(n_outputs * n_outputs));
    }
  }
  AddGram(pool, rows, n_rows, n_outputs, /*weights=*/nullptr,
          entry.sums.data());
  entry.n_rows += n_rows;
  return absl::OkStatus();
}

absl::Status OutputMoments::Flush() {
  for (auto& [key, entry] : entries_) {
    if (entry.sums.empty()) {
      continue;
    }
    const int64_t n_bytes =
        static_cast<int64_t>(entry.sums.size() * sizeof(double));
    if (!entry.on_file) {
      entry.on_file = true;
      entry.offset = file_bytes_;
      file_bytes_ += n_bytes;
    }
    RETURN_IF_ERROR(file_->WriteAt(
        entry.offset,
        absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(entry.sums.data()),
                            static_cast<size_t>(n_bytes))));
    entry.sums = {};
  }
  return absl::OkStatus();
}

bool OutputMoments::Has(absl::string_view name, int expert) const {
  return entries_.count({std::string(name), expert}) > 0;
}

absl::StatusOr<std::vector<double>> OutputMoments::Read(absl::string_view name,
                                                        int expert) const {
  const auto it = entries_.find({std::string(name), expert});
  if (it == entries_.end() || !it->second.on_file) {
    return absl::NotFoundError(absl::StrCat("no moments of the gradients of '",
                                            name, "', expert ", expert));
  }
  const Entry& entry = it->second;
  std::vector<double> mean;
  RETURN_IF_ERROR(Load(entry, &mean));
  const int64_t n = entry.n_outputs;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      double& above = mean[static_cast<size_t>(i * n + j)];
      above /= static_cast<double>(entry.n_rows);
      mean[static_cast<size_t>(j * n + i)] = above;
    }
  }
  return mean;
}

}  // namespace narrow
