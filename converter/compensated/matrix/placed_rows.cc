// Tested by solve_tensor_test.cc.

#include "converter/compensated/matrix/placed_rows.h"

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace narrow {

PlacedRows::PlacedRows(const CompensatedProblem& problem, const float* gram)
    : p_(problem), gram_(gram) {
  if (p_.device == nullptr) {
    return;
  }
  OnDevice([&]() -> absl::Status {
    absl::StatusOr<std::unique_ptr<DeviceCodecBlocks>> made =
        DeviceCodecBlocks::New(*p_.device, *p_.codec, p_.n_cols, gram_, p_.pool,
                               p_.name);
    if (made.ok()) {
      device_ = *std::move(made);
    }
    return made.status();
  });
}

bool PlacedRows::OnDevice(const std::function<absl::Status()>& work) {
  if (!status_.ok()) {
    return true;
  }
  const absl::Status status = work();
  if (status.ok()) {
    return true;
  }
  if (!absl::IsResourceExhausted(status)) {
    status_ = status;
    return true;
  }
  memory_note_ = absl::StrCat("solved by the processor: ", status.message());
  device_.reset();
  return false;
}

PlacedFactor PlacedRows::Place(std::shared_ptr<const FeedFactor> factor) {
  PlacedFactor placed;
  placed.factor = std::move(factor);
  if (device_ != nullptr) {
    OnDevice([&]() -> absl::Status {
      auto copy = device_->Upload(*placed.factor);
      if (copy.ok()) {
        placed.on_device = *std::move(copy);
      }
      return copy.status();
    });
  }
  return placed;
}

void PlacedRows::Feed(const float* targets, int64_t n_rows,
                      const PlacedFactor& factor, const FeedOptions& options,
                      uint8_t* bytes) {
  if (device_ != nullptr && OnDevice([&] {
        return device_->Feed(targets, n_rows, *factor.on_device, options,
                             bytes);
      })) {
    return;
  }
  FeedRows(*p_.codec, targets, n_rows, *factor.factor, options, bytes, p_.pool);
}

void PlacedRows::Refeed(const float* targets, int64_t n_rows,
                        const PlacedFactor& factor, uint8_t* bytes) {
  // (The device takes all of its memory before it changes a row.)
  if (device_ != nullptr && OnDevice([&] {
        return device_->Refeed(targets, n_rows, *factor.on_device, bytes);
      })) {
    return;
  }
  RefeedRows(*p_.codec, targets, n_rows, *factor.factor, bytes, p_.pool);
}

void PlacedRows::Descend(const float* targets, int64_t n_rows,
                         const DescendOptions& options, uint8_t* bytes) {
  if (device_ != nullptr && OnDevice([&] {
        return device_->Descend(targets, n_rows, options, bytes);
      })) {
    return;
  }
  DescendRows(*p_.codec, targets, n_rows, p_.n_cols, gram_, options, bytes,
              p_.pool);
}

std::vector<RowError> PlacedRows::Measure(const float* targets, int64_t n_rows,
                                          const uint8_t* bytes) {
  std::vector<RowError> errors(static_cast<size_t>(n_rows));
  if (device_ != nullptr && OnDevice([&]() -> absl::Status {
        auto measured = device_->Measure(targets, n_rows, bytes);
        if (measured.ok()) {
          errors = *std::move(measured);
        }
        return measured.status();
      })) {
    return errors;
  }
  return status_.ok() ? MeasureRows(*p_.codec, targets, n_rows, p_.n_cols,
                                    gram_, bytes, p_.pool)
                      : errors;
}

std::vector<std::string> PlacedRows::notes() const {
  if (!memory_note_.empty()) {
    return {memory_note_};
  }
  if (device_ != nullptr && !device_->memory_note().empty()) {
    return {device_->memory_note()};
  }
  return {};
}

}  // namespace narrow
