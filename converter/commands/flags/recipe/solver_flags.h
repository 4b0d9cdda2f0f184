// The flags of `narrow convert` about solvers that look at whole rows, and the
// text they are calibrated on.
//
//   AddSolverFlags(command, &flags);
//   ASSIGN_OR_RETURN(SolverRequest request, SolverFromFlags(*command, flags));
//   if (request.on) ...

#ifndef NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_SOLVER_FLAGS_H_
#define NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_SOLVER_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "calibration/text/sample_text.h"
#include "converter/compensated/matrix/solve_tensor.h"

namespace narrow {

struct SolverFlags {
  std::string solver;
  std::vector<std::string> texts;
  std::string text_kind = "auto";
  std::string order = "sequential";
  std::string token_weights = "fisher";
  int64_t coupled_outputs = 4096;
  SampleOptions samples;
  int64_t cover = 4;
  bool no_pack = false;
  CompensatedOptions options;
  int64_t held_out = 8;
  bool verify_kld = false;
  int64_t verify_windows = 8;
  std::string memory = "4GiB";
  bool restart = false;
};

struct SolverRequest {
  bool on = false;
  bool one_shot = false;
  bool fisher = false;
  int64_t max_coupled_outputs = 0;
  std::vector<std::string> texts;
  SampleOptions samples;
  // One window of so many is of tokens drawn from the vocabulary; 0: none.
  int64_t cover_every = 0;
  CompensatedOptions options;
  int64_t held_out_every = 0;
  int64_t verify_windows = 0;  // 0: blocks are not judged
  int64_t hidden_bytes = 0;
  bool restart = false;
};

// `flags` must outlive the command.
void AddSolverFlags(CLI::App* command, SolverFlags* flags);

// InvalidArgument: a solver that is not there, with the nearest name; one
// without --calibration; flags of a solver without one. Those about the text
// are for `allocating` too.
absl::StatusOr<SolverRequest> SolverFromFlags(const CLI::App& command,
                                              const SolverFlags& flags,
                                              bool allocating);

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_FLAGS_RECIPE_SOLVER_FLAGS_H_
