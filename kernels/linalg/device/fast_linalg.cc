#include "kernels/linalg/device/fast_linalg.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "formats/base/status.h"

namespace narrow {

absl::StatusOr<std::unique_ptr<FastLinalg>> FastLinalg::Open(
    const Device& device, std::vector<std::string>* notes) {
  std::string note;
  ASSIGN_OR_RETURN(auto products, DeviceProducts::Open(device, &note));
  std::unique_ptr<FastLinalg> fast(new FastLinalg(device, std::move(products)));
  if (device.kind() != DeviceKind::kCuda) {
    return fast;
  }
  if (!note.empty() && notes != nullptr) {
    notes->push_back(note);
  }
  absl::StatusOr<std::unique_ptr<CuSolver>> solver = CuSolver::Open(device);
  if (solver.ok()) {
    fast->solver_ = *std::move(solver);
  } else if (notes != nullptr) {
    notes->push_back(absl::StrCat(solver.status().message(),
                                  "; factors are made by own kernels"));
  }
  return fast;
}

}  // namespace narrow
