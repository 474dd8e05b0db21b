// clonevm: runs Linux guests on KVM, snapshots them, and restores each snapshot to any number of
// clones that know that they are clones.

#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "clonesafe/version.h"
#include "vmm_device/cli/options.h"
#include "vmm_device/cli/run_command.h"

namespace {

using namespace clonesafe;
using namespace clonesafe::cli;

// Turns a parser of ours into CLI11's form of one: the text of what is wrong, or nothing.
template <typename Parse>
CLI::Validator checked(Parse parse, std::string name) {
  return CLI::Validator(
      [parse](std::string& text) {
        const auto parsed = parse(text);
        return parsed ? std::string() : parsed.error().message();
      },
      std::move(name));
}

// Options that the design names and that this version doesn't have: refused by name, not unknown.
void refuse(CLI::App& command, const std::string& option) {
  command
      .add_option_function<std::string>(
          option,
          [option](const std::string&) {
            throw CLI::ValidationError(option, "not in this version");
          },
          "(not in this version)")
      ->expected(0, 1)
      ->group("");
}

CLI::App* add_run(CLI::App& app, RunOptions& run) {
  CLI::App* command = app.add_subcommand("run", "Boot a Linux kernel and run it until it ends");
  command->add_option("--kernel", run.kernel, "Linux bzImage")->required();
  command->add_option("--initrd", run.initrd, "Initial RAM file system");
  command->add_option("--cmdline", run.command_line, "Kernel command line");
  command
      ->add_option_function<std::string>(
          "--mem", [&run](const std::string& text) { run.machine.memory = *parse_size(text); },
          "Memory (256M)")
      ->check(checked(parse_size, "SIZE"));
  command->add_option("--cpus", run.machine.cpus, "Virtual CPUs (1)")
      ->check(CLI::Range(1u, kMaxCpus));
  command->add_option("--serial", run.serial, "Serial line: stdio, none, or a file (stdio)");
  command
      ->add_option_function<std::string>(
          "--vsock",
          [&run](const std::string& text) {
            const auto vsock = *parse_vsock(text);
            run.machine.vsock_cid = vsock.cid;
            run.vsock = vsock.path;
          },
          "Guest's socket address and the host end's Unix socket: cid=N,path=SOCKET")
      ->check(checked(parse_vsock, "VSOCK"));
  GenerationOptions& generation = run.machine.generation;
  command->add_flag("!--no-vmgenid", generation.vmgenid, "No VMGENID device");
  command->add_flag("!--no-vmclock", generation.vmclock, "No VMCLOCK device");
  command->add_flag("!--no-restore-page", generation.restore_page, "No restore page, so no seed");
  command->add_flag("!--no-seed", generation.seed, "No seed beside the restore page");
  command->add_option("--api", run.api, "Control socket to make");
  command->add_option_function<std::string>(
      "--cpu-mask",
      [&run](const std::string& text) { run.machine.masked_features = split_list(text); },
      "CPU features to hide from the guest: rdrand,rdseed");
  for (const char* option : {"--disk", "--net", "--hold-network"}) refuse(*command, option);
  return command;
}

}  // namespace

int main(int argc, char** argv) {
  // A file size limit, and a reader of our output that left, are errors like any other.
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);

  CLI::App app("Runs, snapshots and clones virtual machines.", "clonevm");
  app.set_version_flag("--version", std::string("clonevm ") + CLONESAFE_VERSION);
  app.require_subcommand(1);

  RunOptions run;
  CLI::App* run_verb = add_run(app, run);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fprintf(stderr, "clonevm: %s\n", error.what());
    return kExitUsage;
  }
  if (*run_verb) return run_command(run);
  return kExitUsage;
}
