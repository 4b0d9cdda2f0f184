// Tested by: fisher_weights_test.

#include "calibration/backward/gradient_norms.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>

#include "calibration/backward/layers/row_gradients.h"
#include "formats/base/elementary.h"
#include "formats/base/status.h"
#include "kernels/gradients/device/device_gradients.h"

namespace narrow {
namespace {

// Norms become weights; false if they are all 0. `counts`: which of them
// count, or nullptr for all.
bool MakeWeights(double power, const uint8_t* counts,
                 std::vector<float>* values) {
  // Relative to the largest, so that no power overflows.
  const float top = *std::max_element(values->begin(), values->end());
  if (!(top > 0)) {
    return false;
  }
  std::vector<double> weights(values->size());
  double total = 0;
  int64_t n = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (counts != nullptr && counts[i] == 0) {
      continue;
    }
    const double ratio =
        static_cast<double>((*values)[i]) / static_cast<double>(top);
    if (power == 1) {
      weights[i] = ratio * ratio;
    } else if (power == 0) {
      weights[i] = 1;
    } else {
      weights[i] = ratio > 0 ? Pow(ratio, 2 * power) : 0;
    }
    total += weights[i];
    ++n;
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    (*values)[i] =
        static_cast<float>(weights[i] * static_cast<double>(n) / total);
  }
  return true;
}

// The mean of vectors of one length.
template <typename ValuesOf>
TokenWeights::Values Mean(const std::vector<std::string>& names,
                          ValuesOf values_of) {
  TokenWeights::Values mean = values_of(names.front());
  for (size_t i = 0; i < mean.size(); ++i) {
    double sum = 0;
    for (const std::string& name : names) {
      sum += static_cast<double>(values_of(name)[i]);
    }
    mean[i] = static_cast<float>(sum / static_cast<double>(names.size()));
  }
  return mean;
}

}  // namespace

std::vector<int64_t> GradientNorms::Counted(
    const LayerGradient& gradient) const {
  std::vector<int64_t> counted;
  for (int64_t r = 0; r < gradient.n_rows; ++r) {
    if ((*counts_)[static_cast<size_t>(first_token_ + gradient.token(r))]) {
      counted.push_back(r);
    }
  }
  return counted;
}

void GradientNorms::Note(const LayerGradient& gradient,
                         const std::vector<int64_t>& counted,
                         const std::vector<float>& norms) {
  const std::string name(gradient.name);
  if (gradient.expert >= 0) {
    ExpertNorms& expert = experts_[{name, gradient.expert}];
    for (size_t i = 0; i < counted.size(); ++i) {
      expert.tokens.push_back(first_token_ + gradient.token(counted[i]));
      expert.norms.push_back(norms[i]);
    }
    return;
  }
  std::vector<float>& layer = layers_[name];
  layer.resize(counts_->size());
  for (size_t i = 0; i < counted.size(); ++i) {
    layer[static_cast<size_t>(first_token_ + gradient.token(counted[i]))] =
        norms[i];
  }
}

absl::Status GradientNorms::OnGradient(const LayerGradient& gradient) {
  const std::vector<int64_t> counted = Counted(gradient);
  std::vector<float> norms(counted.size());
  pool_->ParallelFor(static_cast<int64_t>(counted.size()), [&](int64_t i) {
    const float* row =
        gradient.rows + counted[static_cast<size_t>(i)] * gradient.stride;
    norms[static_cast<size_t>(i)] =
        static_cast<float>(std::sqrt(SquaredNorm(row, gradient.n_cols)));
  });
  AddSquares(gradient, counted, 1);
  Note(gradient, counted, norms);
  return WantsMoments(gradient) ? AddMoments(gradient, counted)
                                : absl::OkStatus();
}

absl::StatusOr<bool> GradientNorms::Reserve(const Device& device,
                                            const std::vector<size_t>& sizes) {
  buffers_.resize(std::max(buffers_.size(), sizes.size()));
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (buffers_[i].n_bytes() >= sizes[i]) {
      continue;
    }
    buffers_[i] = DeviceBuffer();
    auto memory = device.Allocate(sizes[i], "sums of gradients");
    if (!memory.ok()) {
      return absl::IsResourceExhausted(memory.status())
                 ? absl::StatusOr<bool>(false)
                 : memory.status();
    }
    buffers_[i] = *std::move(memory);
  }
  return true;
}

absl::StatusOr<bool> GradientNorms::OnDevice(const GradientOnDevice& there) {
  const LayerGradient& gradient = there.gradient;
  const std::vector<int64_t> counted = Counted(gradient);
  const auto n_counted = static_cast<int64_t>(counted.size());
  if (n_counted == 0) {
    return false;
  }
  const bool moments = WantsMoments(gradient);
  const auto n_cols = static_cast<size_t>(gradient.n_cols);
  ASSIGN_OR_RETURN(
      const bool fits,
      Reserve(*there.device,
              {counted.size() * sizeof(int64_t),
               static_cast<size_t>(gradient.n_rows) * sizeof(float),
               n_cols * sizeof(double),
               moments ? counted.size() * n_cols * sizeof(float) : 0}));
  if (!fits) {
    return false;
  }
  RETURN_IF_ERROR(there.stream->Copy(
      counted.data(), counted.size() * sizeof(int64_t), buffers_[0].data()));
  if (moments) {
    // First, as it may find no room.
    ASSIGN_OR_RETURN(const bool added, AddMoments(there, n_counted));
    if (!added) {
      return false;
    }
  }
  ASSIGN_OR_RETURN(const std::vector<float> all, SumOnDevice(there, counted));
  std::vector<float> norms;
  for (const int64_t r : counted) {
    norms.push_back(all[static_cast<size_t>(r)]);
  }
  Note(gradient, counted, norms);
  return true;
}

absl::StatusOr<bool> GradientNorms::AddMoments(const GradientOnDevice& there,
                                               int64_t n_counted) {
  const LayerGradient& gradient = there.gradient;
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::PickScaledTask{
          gradient.rows, buffers_[0].as<int64_t>(), n_counted, gradient.n_cols,
          gradient.stride, gradient.input_norms, /*by_place=*/false,
          buffers_[3].as<float>()},
      there.stream));
  return moments_->AddOnDevice(gradient.name, gradient.expert,
                               buffers_[3].as<float>(), n_counted,
                               gradient.n_cols, *there.device, there.stream);
}

absl::StatusOr<std::vector<float>> GradientNorms::SumOnDevice(
    const GradientOnDevice& there, const std::vector<int64_t>& counted) {
  const LayerGradient& gradient = there.gradient;
  std::vector<double>& sums =
      squares_[{std::string(gradient.name), gradient.expert}];
  sums.resize(static_cast<size_t>(gradient.n_cols));
  const size_t n_bytes = sums.size() * sizeof(double);
  double* const on_device = buffers_[2].as<double>();
  RETURN_IF_ERROR(there.stream->Copy(sums.data(), n_bytes, on_device));
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::ColumnSquaresTask{
          gradient.rows, buffers_[0].as<int64_t>(),
          static_cast<int64_t>(counted.size()), gradient.n_cols,
          gradient.stride, 1, on_device},
      there.stream));
  RETURN_IF_ERROR(RunGradients(
      gradient_threads::RowNormTask{gradient.rows, gradient.n_rows,
                                    gradient.n_cols, gradient.stride,
                                    buffers_[1].as<float>()},
      there.stream));
  std::vector<float> norms(static_cast<size_t>(gradient.n_rows));
  RETURN_IF_ERROR(there.stream->Copy(on_device, n_bytes, sums.data()));
  RETURN_IF_ERROR(there.stream->Copy(
      buffers_[1].data(), norms.size() * sizeof(float), norms.data()));
  RETURN_IF_ERROR(there.stream->Synchronize("norms of gradients"));
  return norms;
}

void GradientNorms::AddSquares(absl::string_view name, const float* rows,
                               int64_t n_tokens, int64_t n_cols, double scale) {
  LayerGradient gradient;
  gradient.name = name;
  gradient.rows = rows;
  gradient.n_rows = n_tokens;
  gradient.n_cols = gradient.stride = n_cols;
  AddSquares(gradient, Counted(gradient), scale * scale);
}

// A column's sum is one chain over the tokens, and squares of floats are exact
// in double: the same bits for any number of threads and instruction set.
void GradientNorms::AddSquares(const LayerGradient& gradient,
                               const std::vector<int64_t>& counted,
                               double scale) {
  constexpr int64_t kColumnsAtOnce = 256;
  std::vector<double>& sums =
      squares_[{std::string(gradient.name), gradient.expert}];
  sums.resize(static_cast<size_t>(gradient.n_cols));
  const int64_t n_parts =
      (gradient.n_cols + kColumnsAtOnce - 1) / kColumnsAtOnce;
  pool_->ParallelFor(n_parts, [&](int64_t part) {
    const int64_t first = part * kColumnsAtOnce;
    const int64_t end = std::min(gradient.n_cols, first + kColumnsAtOnce);
    for (const int64_t r : counted) {
      const float* row = gradient.rows + r * gradient.stride;
      for (int64_t c = first; c < end; ++c) {
        const double value = static_cast<double>(row[c]);
        sums[static_cast<size_t>(c)] += scale * (value * value);
      }
    }
  });
}

std::map<std::pair<std::string, int>, std::vector<double>>
GradientNorms::OutputSquares() const {
  const double n_tokens = static_cast<double>(
      std::count_if(counts_->begin(), counts_->end(),
                    [](uint8_t count) { return count != 0; }));
  auto means = squares_;
  for (auto& [key, values] : means) {
    for (double& value : values) {
      value /= n_tokens;
    }
  }
  return means;
}

absl::Status GradientNorms::AddMoments(const LayerGradient& gradient,
                                       const std::vector<int64_t>& counted) {
  if (counted.empty()) {
    return absl::OkStatus();
  }
  std::vector<float> rows;
  rows.reserve(counted.size() * static_cast<size_t>(gradient.n_cols));
  for (const int64_t r : counted) {
    const float* row = gradient.rows + r * gradient.stride;
    const float size =
        gradient.input_norms == nullptr ? 1 : gradient.input_norms[r];
    for (int64_t c = 0; c < gradient.n_cols; ++c) {
      rows.push_back(row[c] * size);
    }
  }
  return moments_->Add(gradient.name, gradient.expert, rows.data(),
                       static_cast<int64_t>(counted.size()), gradient.n_cols,
                       pool_);
}

TokenWeights GradientNorms::Weights(double power) {
  TokenWeights weights;
  for (auto& [name, norms] : layers_) {
    if (MakeWeights(power, counts_->data(), &norms)) {
      weights.layers[name] =
          std::make_shared<const TokenWeights::Values>(std::move(norms));
    }
  }
  for (auto& [key, expert] : experts_) {
    if (!expert.norms.empty() && MakeWeights(power, nullptr, &expert.norms)) {
      weights.experts[key] = std::make_shared<const TokenWeights::ExpertValues>(
          TokenWeights::ExpertValues{std::move(expert.tokens),
                                     std::move(expert.norms)});
    }
  }
  layers_.clear();
  experts_.clear();
  return weights;
}

void ShareWeights(const std::vector<std::vector<std::string>>& sets,
                  TokenWeights* weights) {
  for (const std::vector<std::string>& names : sets) {
    if (std::all_of(names.begin(), names.end(), [&](const std::string& name) {
          return weights->Find(name) != nullptr;
        })) {
      const auto mean = std::make_shared<const TokenWeights::Values>(Mean(
          names, [&](const std::string& name) -> const auto& {
            return *weights->layers[name];
          }));
      for (const std::string& name : names) {
        weights->layers[name] = mean;
      }
    }
    // An expert saw the same tokens in all its layers.
    std::set<int> experts;
    for (const auto& [key, values] : weights->experts) {
      if (key.first == names.front()) {
        experts.insert(key.second);
      }
    }
    for (const int expert : experts) {
      if (!std::all_of(names.begin(), names.end(),
                       [&](const std::string& name) {
                         return weights->FindExpert(name, expert) != nullptr;
                       })) {
        continue;
      }
      TokenWeights::ExpertValues shared;
      shared.tokens = weights->FindExpert(names.front(), expert)->tokens;
      shared.weights = Mean(
          names, [&](const std::string& name) -> const auto& {
            return weights->FindExpert(name, expert)->weights;
          });
      const auto mean =
          std::make_shared<const TokenWeights::ExpertValues>(std::move(shared));
      for (const std::string& name : names) {
        weights->experts[{name, expert}] = mean;
      }
    }
  }
}

}  // namespace narrow
