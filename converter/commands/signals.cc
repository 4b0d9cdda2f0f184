#include "converter/commands/signals.h"

#include <csignal>

namespace narrow {
namespace {

std::atomic<bool> g_cancelled{false};

void OnSignal(int) { g_cancelled.store(true); }

}  // namespace

const std::atomic<bool>* CatchSignals() {
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
  if (std::signal(SIGHUP, OnSignal) == SIG_IGN) {
    std::signal(SIGHUP, SIG_IGN);  // run by nohup
  }
  return &g_cancelled;
}

}  // namespace narrow
