#include "converter/commands/flags/recipe/solver_flags.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "converter/commands/flags/byte_size.h"
#include "converter/commands/flags/number_range.h"
#include "formats/base/status.h"
#include "formats/base/text/nearest.h"

namespace narrow {
namespace {

constexpr char kPlain[] = "none";
constexpr char kCompensated[] = "compensated";
// Defaults; without coupled outputs rows are solved once, so more is tried on
// them.
constexpr int kOrdersUncoupled = 2;
constexpr int kRoundsUncoupled = 8;

// Flags that mean nothing without a solver.
constexpr const char* kSolverOptions[] = {
    "--order",          "--rounds",        "--damping",        "--drift",
    "--residual",       "--column-orders", "--drift-damping",  "--restart",
    "--held-out",       "--token-weights", "--couple-outputs", "--verify-kld",
    "--verify-windows", "--cover"};
// And those that mean nothing without a text.
constexpr const char* kTextOptions[] = {
    "--calibration", "--samples", "--sample-tokens",  "--seed",  "--text-kind",
    "--text-field",  "--no-pack", "--assistant-only", "--memory"};

absl::StatusOr<TextKind> KindOf(const std::string& name) {
  const TextKind kinds[] = {TextKind::kAuto, TextKind::kPlain, TextKind::kJsonl,
                            TextKind::kChat};
  const char* names[] = {"auto", "plain", "jsonl", "chat"};
  for (size_t i = 0; i < 4; ++i) {
    if (name == names[i]) {
      return kinds[i];
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--text-kind ", QuotedName(name), " is unknown"));
}

void AddTextFlags(CLI::App* command, SolverFlags* flags) {
  command
      ->add_option("-c,--calibration", flags->texts,
                   "text to calibrate a solver on: plain, JSONL, or JSONL of "
                   "conversations; repeatable")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command
      ->add_option("--samples", flags->samples.n_samples,
                   "windows of it, or as many as it has")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command
      ->add_option("--sample-tokens", flags->samples.sample_tokens,
                   "tokens of a window")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--cover", flags->cover,
                   "of every N windows one is of tokens drawn evenly from the "
                   "vocabulary, for what other texts have and this one lacks, "
                   "and so are those that a short text lacks of --samples, or "
                   "all together of 8192 tokens; 0: of none")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option(
      "--seed", flags->samples.seed,
      "choose windows at random (default: 0, evenly spread over the "
      "text)");
  command
      ->add_option("--text-kind", flags->text_kind,
                   "how to read the text (default: auto)")
      ->check(CLI::IsMember({"auto", "plain", "jsonl", "chat"}));
  command->add_option("--text-field", flags->samples.field,
                      "JSONL: the field with the text or the messages");
  command->add_flag("--no-pack", flags->no_pack,
                    "JSONL: a record a window, padded, instead of joined");
  command->add_flag("--assistant-only", flags->samples.assistant_only,
                    "conversations: only the assistant's tokens count");
}

absl::Status CheckUnused(const CLI::App& command,
                         absl::Span<const char* const> names) {
  for (const char* name : names) {
    if (command.count(name) > 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, " is for solvers; name one with --solver ", kCompensated));
    }
  }
  return absl::OkStatus();
}

absl::Status AddText(const SolverFlags& flags, SolverRequest* request) {
  request->texts = flags.texts;
  request->samples = flags.samples;
  request->samples.pack = !flags.no_pack;
  request->samples.window_bos = true;
  request->samples.spread = true;
  request->samples.fewer = true;
  ASSIGN_OR_RETURN(request->samples.kind, KindOf(flags.text_kind));
  ASSIGN_OR_RETURN(request->hidden_bytes,
                   ParseByteSize(flags.memory, "--memory"));
  return absl::OkStatus();
}

}  // namespace

void AddSolverFlags(CLI::App* command, SolverFlags* flags) {
  command
      ->add_option("--solver", flags->solver,
                   "compensated: error feedback over whole rows, scales and "
                   "codes refined under the Gram matrix of the inputs; same "
                   "types, sizes and speed, a third to a half of the error; "
                   "needs --calibration")
      ->type_name("NAME");
  AddTextFlags(command, flags);
  command
      ->add_option("--order", flags->order,
                   "sequential: matrices see what those before them will "
                   "compute in the file, and correct its drift; one pass a "
                   "type of --to. one-shot: all see the original model, "
                   "faster, and all types share the pass")
      ->check(CLI::IsMember({"sequential", "one-shot"}))
      ->capture_default_str();
  command
      ->add_option("--token-weights", flags->token_weights,
                   "fisher: a token weighs by the squared gradient of the "
                   "model's loss at what a layer gives for it, from one "
                   "reverse pass; none: all weigh the same")
      ->check(CLI::IsMember({"fisher", "none"}))
      ->capture_default_str();
  command
      ->add_option("--couple-outputs", flags->coupled_outputs,
                   "with fisher: outputs of matrices with at most N of them "
                   "weigh together, by the second moments of their gradients; "
                   "0: of none")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  CompensatedOptions& options = flags->options;
  command
      ->add_option(
          "--rounds", options.rounds,
          absl::StrCat(
              "solver: rounds of refitting scales and codes (default: ",
              options.rounds, "; where no outputs are coupled ",
              kRoundsUncoupled, ")"))
      ->type_name("N")
      ->check(CLI::Range(0, 1000));
  command
      ->add_option("--damping", options.damping,
                   "solver: added to the Gram matrix, in parts of its mean "
                   "diagonal")
      ->check(NumberRange(1e-6, 1e3))
      ->capture_default_str();
  command
      ->add_option(
          "--column-orders", options.n_orders,
          absl::StrCat("solver: orders of columns tried; the best row is kept "
                       "(default: ",
                       options.n_orders, "; where no outputs are coupled ",
                       kOrdersUncoupled, ")"))
      ->type_name("N")
      ->check(CLI::Range(1, 16));
  command
      ->add_option("--drift", options.drift,
                   "sequential: share of the drift of a matrix's inputs that "
                   "is corrected; 0: none")
      ->check(NumberRange(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--residual", options.residual,
                   "sequential: share of the residual stream's drift that "
                   "matrices writing to it correct; 0: none")
      ->check(NumberRange(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--drift-damping", options.drift_damping,
                   "sequential: shrinks both corrections, in parts of the "
                   "Gram matrix's mean diagonal")
      ->check(NumberRange(1e-6, 1e3))
      ->capture_default_str();
  command
      ->add_option("--held-out", flags->held_out,
                   "sequential: the last of every N windows judges how much "
                   "of the drift is corrected, and serves nothing else; 0: "
                   "all of it is")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_flag(
      "--verify-kld", flags->verify_kld,
      "solver: a block keeps its solved bytes only where the model's KL "
      "divergence on windows not calibrated on is lower with them than with "
      "plain ones, blocks after it being the original's (one-shot: all "
      "others). Each verdict runs the windows through the rest of the model "
      "twice: about a third more time for 18 blocks, growing with the square "
      "of their number");
  command
      ->add_option("--verify-windows", flags->verify_windows,
                   "with --verify-kld: windows to judge on, those of the text "
                   "after the calibrated ones; where it has no more, the last "
                   "of these are set apart")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command
      ->add_option("--memory", flags->memory,
                   "solver: hidden states above this go to the disk, "
                   "compressed")
      ->type_name("SIZE")
      ->capture_default_str();
  command->add_flag("--restart", flags->restart,
                    "solver: discard what a stopped run has done");
}

absl::StatusOr<SolverRequest> SolverFromFlags(const CLI::App& command,
                                              const SolverFlags& flags,
                                              bool allocating) {
  SolverRequest request;
  if (flags.solver.empty() || flags.solver == kPlain) {
    RETURN_IF_ERROR(CheckUnused(command, kSolverOptions));
    if (!allocating) {
      RETURN_IF_ERROR(CheckUnused(command, kTextOptions));
      return request;
    }
    RETURN_IF_ERROR(AddText(flags, &request));
    return request;
  }
  const std::vector<std::string> names = {kCompensated, kPlain};
  if (flags.solver != kCompensated) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--solver ", QuotedName(flags.solver), " is unknown; there are ",
        absl::StrJoin(names, ", "), "; the nearest is '",
        NearestName(flags.solver, names), "'"));
  }
  if (flags.texts.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--solver ", kCompensated,
                     " looks at what goes into every matrix; give a text with "
                     "--calibration FILE"));
  }
  request.on = true;
  request.one_shot = flags.order == "one-shot";
  if (request.one_shot) {
    for (const char* name :
         {"--drift", "--residual", "--drift-damping", "--held-out"}) {
      if (command.count(name) > 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            name, " is for --order sequential: one-shot, nothing drifts"));
      }
    }
  }
  request.fisher = flags.token_weights == "fisher";
  request.max_coupled_outputs = request.fisher ? flags.coupled_outputs : 0;
  if (!request.fisher && command.count("--couple-outputs") > 0) {
    return absl::InvalidArgumentError(
        "--couple-outputs needs the reverse pass of --token-weights fisher");
  }
  RETURN_IF_ERROR(AddText(flags, &request));
  request.options = flags.options;
  if (request.max_coupled_outputs == 0 && command.count("--rounds") == 0) {
    request.options.rounds = kRoundsUncoupled;
  }
  if (request.max_coupled_outputs == 0 &&
      command.count("--column-orders") == 0) {
    request.options.n_orders = kOrdersUncoupled;
  }
  request.held_out_every = flags.held_out;
  if (flags.cover == 1) {
    return absl::InvalidArgumentError(
        "--cover 1 leaves no window of the text; 4 is the default, 0 for none");
  }
  request.cover_every = flags.cover;
  if (!flags.verify_kld && command.count("--verify-windows") > 0) {
    return absl::InvalidArgumentError(
        "--verify-windows is for --verify-kld, which judges blocks on them");
  }
  request.verify_windows = flags.verify_kld ? flags.verify_windows : 0;
  request.restart = flags.restart;
  return request;
}

}  // namespace narrow
