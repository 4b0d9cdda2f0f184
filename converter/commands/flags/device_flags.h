// --device: where a command computes.
//
//   AddDeviceOption(command, &flags.device);
//   ASSIGN_OR_RETURN(std::optional<Device> device,
//                    OpenDeviceAsked(flags.device));
//
// auto (default) is the first card, if this build has CUDA and there is one
// that works, else the processor; cpu the processor; cuda the card, or an
// error. For tests there is `emulated`, or `emulated:BYTES` with as much
// memory: the card's code on the processor.

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_DEVICE_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_DEVICE_FLAGS_H_

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/device.h"

namespace narrow {

inline constexpr char kAutoDevice[] = "auto";

// `more` follows the help's text.
void AddDeviceOption(CLI::App* command, std::string* word,
                     absl::string_view more = "");

// The device that the word names; nothing where it is the processor with code
// of its own. A card that is there and cannot be used is noted on standard
// error if the word is auto. Errors of kernels/device.h's OpenDevice.
absl::StatusOr<std::optional<Device>> OpenDeviceAsked(const std::string& word);

// A line on standard error.
void PrintDeviceNote(absl::string_view text);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_DEVICE_FLAGS_H_
