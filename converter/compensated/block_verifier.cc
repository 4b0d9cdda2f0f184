// Tested by compensated_convert_test.cc.

#include "converter/compensated/block_verifier.h"

#include <algorithm>
#include <set>

#include "formats/base/status.h"

namespace narrow {
namespace {

// Plain blocks in the place of all of one output's.
void Reject(int output, std::vector<SolvedTensor>* solved) {
  for (SolvedTensor& tensor : *solved) {
    if (tensor.output == output && tensor.report.plain_why.empty()) {
      tensor.bytes = tensor.plain_bytes;
      tensor.report.relative_error = tensor.report.relative_error_plain;
      tensor.report.n_accepted = 0;
      tensor.report.rejected = true;
    }
  }
}

}  // namespace

absl::Status BlockVerifier::Show(const std::vector<SolveJob>& jobs,
                                 const std::vector<SolvedTensor>& solved,
                                 int output, bool plain) {
  for (size_t i = 0; i < solved.size(); ++i) {
    const SolvedTensor& tensor = solved[i];
    if (tensor.output == output) {
      RETURN_IF_ERROR(overlay_.Replace(
          jobs[i].planned->source->meta.name,
          solver_.Decode(*jobs[i].planned,
                         plain ? tensor.plain_bytes : tensor.bytes,
                         tensor.scales)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<BlockVerdict> BlockVerifier::Judge(
    int64_t block, const HiddenStates& states,
    const std::vector<SolveJob>& jobs, const std::vector<SolvedTensor>& solved,
    int output) {
  const auto show = [&](int variant) {
    return Show(jobs, solved, output, /*plain=*/variant == 1);
  };
  ASSIGN_OR_RETURN(const std::vector<double> divergences,
                   judge_.Divergences(block, states, /*n_variants=*/2, show));
  BlockVerdict verdict;
  verdict.output = output;
  verdict.block = block;
  verdict.divergence = divergences[0];
  verdict.divergence_plain = divergences[1];
  verdict.accepted = divergences[0] < divergences[1];
  return verdict;
}

absl::StatusOr<std::vector<BlockVerdict>> BlockVerifier::Verify(
    int64_t block, const HiddenStates& states,
    const std::vector<SolveJob>& jobs, std::vector<SolvedTensor>* solved) {
  std::set<int> outputs;  // that differ from their plain blocks
  for (const SolvedTensor& tensor : *solved) {
    if (tensor.bytes != tensor.plain_bytes) {
      outputs.insert(tensor.output);
    }
  }
  std::vector<BlockVerdict> verdicts;
  for (const int output : outputs) {
    ASSIGN_OR_RETURN(const BlockVerdict verdict,
                     Judge(block, states, jobs, *solved, output));
    if (!verdict.accepted) {
      Reject(output, solved);
    } else if (!one_shot_) {
      RETURN_IF_ERROR(Show(jobs, *solved, output, /*plain=*/false));
    }
    verdicts.push_back(verdict);
  }
  for (const SolveJob& job : jobs) {
    if (one_shot_) {
      overlay_.Restore(job.planned->source->meta.name);
    }
  }
  return verdicts;
}

}  // namespace narrow
