#ifndef CLONESAFE_VMM_DEVICE_CLI_COMMAND_LINE_H_
#define CLONESAFE_VMM_DEVICE_CLI_COMMAND_LINE_H_

#include <functional>

namespace CLI {
class App;
}

namespace clonesafe::cli {

// What a command line asks for; the exit code of the process.
using Command = std::function<int()>;

// Declares clonevm's verbs and their options. When `app` has parsed a command line, `chosen` is
// what its verb does; it lives at least until then, and `app` until `chosen` has been called.
void add_commands(CLI::App& app, Command& chosen);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_COMMAND_LINE_H_
