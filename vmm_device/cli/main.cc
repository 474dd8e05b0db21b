// clonevm: runs Linux guests on KVM, snapshots them, and restores each snapshot to any number of
// clones that know that they are clones.
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "clonesafe/version.h"
#include "vmm_device/cli/command_line.h"
#include "vmm_device/cli/options.h"

namespace {

using namespace clonesafe;
using namespace clonesafe::cli;

// Guest memory is in this process, or in a file that it has open, and in those of the clones that
// it forks: no core dump of them, and no debugger of the same user.
Status keep_from_dumps() {
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return fail_errno("setrlimit for core dumps");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail_errno("prctl(PR_SET_DUMPABLE)");
  return {};
}

// Standard output may be the guest's console.
void log_to_standard_error() {
  auto logger = spdlog::stderr_logger_mt("clonevm");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%f %n %l: %v");
  spdlog::set_default_logger(std::move(logger));
}

int complain(const CLI::App& app, const CLI::ParseError& error, const char* first_word) {
  // A word that is no command is "a subcommand is required" to CLI11.
  if (app.get_subcommands().empty() && first_word != nullptr && first_word[0] != '-')
    std::fprintf(stderr, "clonevm: '%s' is no command; try --help\n", first_word);
  else
    std::fprintf(stderr, "clonevm: %s\n", error.what());
  return kExitUsage;
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): terminate() names what was thrown
int main(int argc, char** argv) {
  if (const auto kept = keep_from_dumps(); !kept) return report(kept.error());
  // A file size limit, and a reader of our output that left, are errors like any other.
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);

  log_to_standard_error();

  CLI::App app("Runs, snapshots and clones virtual machines.", "clonevm");
  app.set_version_flag("--version", std::string("clonevm ") + CLONESAFE_VERSION);
  app.require_subcommand(1);
  Command chosen;
  add_commands(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return complain(app, error, argc > 1 ? argv[1] : nullptr);
  }
  return chosen();
}
