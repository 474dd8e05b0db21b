// clonesafe-proxy: stands between applications and their upstreams, so that the applications keep
// their connections when the machine is cloned, and every clone has sessions of its own.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "clonesafe/version.h"
#include "proxy/config/config.h"
#include "proxy/program/program.h"
#include "proxy/program/start_commands.h"

namespace {

using namespace clonesafe;
using namespace clonesafe::proxy;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int report(const Error& error) {
  std::fprintf(stderr, "clonesafe-proxy: %s\n", error.message().c_str());
  return kExitFailed;
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): terminate() names what was thrown
int main(int argc, char** argv) {
  CLI::App app("A proxy whose upstream sessions are each clone's own.", "clonesafe-proxy");
  app.set_version_flag("--version", std::string("clonesafe-proxy ") + CLONESAFE_VERSION);
  std::string file;
  bool check = false;
  app.add_option("--config", file, "Configuration (TOML)")->required();
  app.add_flag("--check", check, "Read the configuration and what it names, and say what is wrong");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fprintf(stderr, "clonesafe-proxy: %s\n", error.what());
    return kExitUsage;
  }
  log_to_standard_error();
  const auto config = load_config(file);
  if (!config) return report(config.error());
  std::shared_ptr<const Commands> commands;
  if (!check) {
    // Before there are keys in memory.
    auto started = start_commands(*config);
    if (!started) return report(started.error());
    commands = std::move(*started);
  }
  auto program = Program::make(*config, file, std::move(commands));
  if (!program) return report(program.error());
  if (check) {
    for (const std::string& warning : config->warnings)
      std::fprintf(stderr, "clonesafe-proxy: warning: %s\n", warning.c_str());
    return 0;
  }
  if (auto run = (*program)->run(); !run) return report(run.error());
  return 0;
}
