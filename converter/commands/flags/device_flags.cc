#include "converter/commands/flags/device_flags.h"

#include <cstdint>
#include <cstdio>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "formats/base/status.h"

namespace narrow {
namespace {

constexpr absl::string_view kEmulated = "emulated";

// The memory that "emulated" or "emulated:BYTES" asks for, 0 where it does not
// say; nothing for other words.
std::optional<int64_t> EmulatedMemory(absl::string_view word) {
  if (!absl::ConsumePrefix(&word, kEmulated)) {
    return std::nullopt;
  }
  int64_t n_bytes = 0;
  if (word.empty()) {
    return n_bytes;
  }
  const bool is_size = absl::ConsumePrefix(&word, ":") &&
                       absl::SimpleAtoi(word, &n_bytes) && n_bytes > 0;
  return is_size ? std::optional<int64_t>(n_bytes) : std::nullopt;
}

}  // namespace

void AddDeviceOption(CLI::App* command, std::string* word,
                     absl::string_view more) {
  *word = kAutoDevice;
  command
      ->add_option("--device", *word,
                   absl::StrCat("where to compute: on the first NVIDIA card "
                                "(cuda), the processor (cpu), or the card if "
                                "there is one (auto, default)",
                                more))
      ->type_name("NAME")
      ->check([](const std::string& value) {
        return EmulatedMemory(value).has_value()
                   ? std::string()
                   : std::string(ParseDeviceChoice(value).status().message());
      });
}

absl::StatusOr<std::optional<Device>> OpenDeviceAsked(const std::string& word) {
  if (const auto memory = EmulatedMemory(word); memory.has_value()) {
    return std::optional<Device>(Device::Cpu(*memory));
  }
  ASSIGN_OR_RETURN(const DeviceChoice choice, ParseDeviceChoice(word));
  if (choice == DeviceChoice::kCpu) {
    return std::optional<Device>();
  }
  absl::StatusOr<Device> card = OpenDevice(DeviceChoice::kCuda);
  if (card.ok()) {
    return std::optional<Device>(*std::move(card));
  }
  if (choice == DeviceChoice::kCuda) {
    return Annotate(card.status(), "--device cuda");
  }
  // Without CUDA or without a card there is nothing to tell.
  if (!absl::IsUnimplemented(card.status()) &&
      !absl::IsNotFound(card.status())) {
    PrintDeviceNote(
        absl::StrCat("working on the processor: ", card.status().message()));
  }
  return std::optional<Device>();
}

void PrintDeviceNote(absl::string_view text) {
  std::fprintf(stderr, "narrow: note: %s\n", OneLine(text).c_str());
}

}  // namespace narrow
