// Signals that ask a command to stop, as a flag that long work looks at
// between its steps.
//
//   options.cancelled = CatchSignals();

#ifndef NARROW_CONVERTER_COMMANDS_SIGNALS_H_
#define NARROW_CONVERTER_COMMANDS_SIGNALS_H_

#include <atomic>

namespace narrow {

// From now on SIGHUP (unless it is ignored, as under nohup), SIGINT and
// SIGTERM set the flag that is returned, which lives as long as the program.
const std::atomic<bool>* CatchSignals();

}  // namespace narrow

#endif  // NARROW_CONVERTER_COMMANDS_SIGNALS_H_
