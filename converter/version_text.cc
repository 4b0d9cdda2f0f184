#include "converter/version_text.h"

#include "absl/strings/str_cat.h"
#include "converter/version.h"
#include "formats/base/status.h"
#include "kernels/cpu.h"
#include "kernels/device.h"

namespace narrow {
namespace {

// Neither time nor place, so that the same sources give the same program.
std::string Build() {
#if defined(__clang__)
  constexpr char kCompiler[] = __VERSION__;
#elif defined(__GNUC__)
  constexpr char kCompiler[] = "g++ " __VERSION__;
#else
  constexpr char kCompiler[] = "an unknown compiler";
#endif
#if defined(NDEBUG)
  constexpr char kMode[] = "optimized";
#else
  constexpr char kMode[] = "with assertions";
#endif
#if defined(__x86_64__)
  constexpr char kMachine[] = "x86-64";
#elif defined(__aarch64__)
  constexpr char kMachine[] = "aarch64";
#else
  constexpr char kMachine[] = "another processor";
#endif
  return absl::StrCat(kCompiler, ", ", kMode, ", for ", kMachine);
}

std::string InstructionSets() {
  std::string text = std::string(IsaName(Isa::kScalar));
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    if (CpuIsa() >= isa) {
      absl::StrAppend(&text, ", ", IsaName(isa));
    }
  }
  return CpuHasBf16Products() ? text + ", bf16 products" : text;
}

std::string Devices() {
  std::string why;
  const auto device = OpenDevice(DeviceChoice::kAuto, &why);
  if (device.ok() && device->kind() == DeviceKind::kCuda) {
    return absl::StrCat("cpu, ", device->Description());
  }
  return absl::StrCat("cpu; no card: ",
                      why.empty() ? "built without CUDA" : OneLine(why));
}

}  // namespace

std::string VersionText() {
  return absl::StrCat("narrow ", kNarrowVersion, "\nbuild: ", Build(),
                      "\ninstruction sets: ", InstructionSets(),
                      "\ndevices: ", Devices());
}

}  // namespace narrow
