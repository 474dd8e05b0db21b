#ifndef CLONESAFE_GUEST_AGENT_BASE_COMMAND_LINE_H_
#define CLONESAFE_GUEST_AGENT_BASE_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>

namespace clonesafe {

inline constexpr int kExitUsage = 2;

// Parses the command line of a program whose name is the app's. If the program is to end: its exit
// code, 0 after --help and --version; kExitUsage after one line that says what is wrong.
inline std::optional<int> parse_command_line(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), error.what());
    return kExitUsage;
  }
}

}  // namespace clonesafe

#endif  // CLONESAFE_GUEST_AGENT_BASE_COMMAND_LINE_H_
