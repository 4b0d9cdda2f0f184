// gate_simulation [PAIRS [TAILS]]: the rates at which the gate errs on
// synthetic pairs whose true effect lies 0.2 % beside the limit, over several
// kinds of tails and numbers of windows; beside them the plain comparison of
// two perplexities and their errors. The table of docs/measurements.md.

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "validate/gate/gate_simulation.h"

namespace narrow {
namespace {

struct Tails {
  const char* name;
  double log_sigma;
  double window_sigma;
};

constexpr Tails kTails[] = {
    {"mild", 1.5, 0.3}, {"heavy", 1.8, 0.5}, {"very heavy", 2.2, 0.3}};

void Print(const char* tails, const SimulationSettings& settings,
           const SimulationResult& r) {
  const double pairs = static_cast<double>(settings.n_pairs);
  const auto row = [&](const char* name, const CriterionTally& t) {
    std::printf("%-10s  %4lld%s  %-16s  %6.2f  %6.2f  %6.1f\n", tails,
                static_cast<long long>(settings.n_windows),
                settings.early_stop ? " early" : "      ", name,
                100 * static_cast<double>(t.wrong_passes) / pairs,
                100 * static_cast<double>(t.wrong_failures) / pairs,
                50 * static_cast<double>(t.n_decided) / pairs);
  };
  row("ppl ratio", r.of(Criterion::kPerplexityRatio));
  row("ppl difference", r.of(Criterion::kPerplexityDifference));
  row("KL divergence", r.of(Criterion::kDivergence));
  row("RMS delta p", r.of(Criterion::kRmsDeltaP));
  row("same top", r.of(Criterion::kSameTop));
  row("all five", r.all);
  row("PPL +- overlap", r.overlap);
  row("PPL bare", r.bare);
  if (settings.early_stop) {
    std::printf("%-10s  mean windows until decided: %.1f\n", tails,
                r.mean_windows);
  }
  std::fflush(stdout);
}

void Run(int64_t n_pairs, const char* only) {
  std::printf(
      "tails       windows     criterion         false   false   decided\n"
      "                                          pass %%  fail %%  %%\n");
  for (const Tails& tails : kTails) {
    if (only != nullptr && std::strcmp(only, tails.name) != 0) {
      continue;
    }
    for (const int64_t n_windows : {20, 40, 100}) {
      for (const bool early_stop : {false, true}) {
        if (early_stop && n_windows == 20) {
          continue;
        }
        SimulatedTokens tokens;
        tokens.log_sigma = tails.log_sigma;
        tokens.window_sigma = tails.window_sigma;
        SimulationSettings settings;
        settings.n_pairs = n_pairs;
        settings.n_windows = n_windows;
        settings.early_stop = early_stop;
        Print(tails.name, settings, SimulateGate(tokens, settings));
      }
    }
  }
}

}  // namespace
}  // namespace narrow

int main(int argc, char** argv) {
  const long long n_pairs = argc > 1 ? std::atoll(argv[1]) : 2000;
  if (n_pairs < 1) {
    std::fprintf(
        stderr, "usage: gate_simulation [PAIRS [mild|heavy|\"very heavy\"]]\n");
    return 2;
  }
  narrow::Run(n_pairs, argc > 2 ? argv[2] : nullptr);
  return 0;
}
