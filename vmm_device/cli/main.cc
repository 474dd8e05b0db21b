// clonevm: runs Linux guests on KVM, snapshots them, and restores each snapshot to any number of
// clones that know that they are clones.

#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "clonesafe/version.h"
#include "vmm_device/cli/fork_command.h"
#include "vmm_device/cli/machines.h"
#include "vmm_device/cli/options.h"
#include "vmm_device/cli/run_clone.h"
#include "vmm_device/cli/run_command.h"
#include "vmm_device/cli/snapshot_command.h"
#include "vmm_device/kvm/cpu_template.h"
#include "vmm_device/supervisor/supervisor.h"

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

void add_seconds(CLI::App& command, const char* option, const char* help,
                 std::chrono::milliseconds& time) {
  command
      .add_option_function<double>(
          option,
          [&time](double seconds) {
            time = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
          },
          help)
      ->check(CLI::Range(0.001, 1e6));
}

void add_no_jail(CLI::App& command, bool& jail) {
  command.add_flag("!--no-jail", jail,
                   "Keep all system calls, privileges and files of this user within reach");
}

void add_cgroup(CLI::App& command, std::filesystem::path& cgroup) {
  command.add_option("--cgroup", cgroup, "cgroup v2 directory that the machine's process joins");
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
  command->add_flag("!--no-registered-page", generation.registered_page,
                    "Don't write the agent's page before a clone's first instruction");
  command->add_option("--api", run.api, "Control socket to make");
  command->add_option_function<std::string>(
      "--cpu-mask",
      [&run](const std::string& text) { run.machine.masked_features = split_list(text); },
      "CPU features to hide from the guest: rdrand,rdseed");
  command
      ->add_option("--cpu-template", run.machine.cpu_template,
                   "CPU that the guest sees, so that its snapshots move: host, x86-64-v2, "
                   "x86-64-v3 (host)")
      ->check(CLI::IsMember(kvm::cpu_templates()));
  command->add_flag("--track-dirty", run.track_dirty, "Allow incremental snapshots");
  add_no_jail(*command, run.jail);
  add_cgroup(*command, run.cgroup);
  for (const char* option : {"--disk", "--net", "--hold-network"}) refuse(*command, option);
  return command;
}

CLI::App* add_snapshot(CLI::App& app, SnapshotOptions& snapshot) {
  CLI::App* command = app.add_subcommand("snapshot", "Write a running machine to a directory");
  command->add_option("--api", snapshot.api, "The machine's control socket")->required();
  command->add_option("--out", snapshot.out, "Directory to make")->required();
  command
      ->add_option("--prepare", snapshot.prepare,
                   "agent: the guest's agent prepares it first; none (none)")
      ->check(CLI::IsMember({"agent", "none"}));
  CLI::Option* stop = command->add_flag("--stop", snapshot.stop, "End the machine after it");
  command->add_flag("--resume", snapshot.resume, "Let the machine go on after it (default)")
      ->excludes(stop);
  command->add_flag("--json", snapshot.json, "Print the result as JSON");
  command->add_option("--diff", snapshot.diff,
                      "Write only what changed since this, the machine's last snapshot");
  command->add_option("--key", snapshot.key, "File of the secret that authenticates it");
  return command;
}

void add_key(CLI::App& command, std::optional<std::filesystem::path>& key) {
  command.add_option("--key", key, "File of the secret whose MAC the snapshot must have");
}

void add_parents(CLI::App& command, std::vector<std::filesystem::path>& parents) {
  command
      .add_option("--base", parents,
                  "Where a snapshot is that an incremental one lies over, if not beside it")
      ->allow_extra_args(false);
}

// What restore and fork have in common: how the clones are run.
void add_clones(CLI::App& command, supervisor::RestoreOptions& restore, bool& jail) {
  command.add_option("--count", restore.count, "Number of clones (1)");
  command.add_option("--run-dir", restore.run_dir,
                     "Where each clone has a folder with its sockets and logs");
  command
      .add_option_function<std::string>(
          "--wait",
          [&restore](const std::string& text) {
            restore.wait = text == "safe" ? supervisor::Wait::safe : supervisor::Wait::running;
          },
          "What every clone must reach: safe or running")
      ->check(CLI::IsMember({"safe", "running"}));
  add_seconds(command, "--timeout", "Seconds that they have for it (60)", restore.timeout);
  command.add_flag("--track-dirty", restore.track_dirty,
                   "Allow incremental snapshots of the clones");
  command.add_option("--metadata", restore.metadata, "File for the restore page");
  command.add_flag("--json", restore.json, "Print one JSON object a clone");
  add_no_jail(command, jail);
  add_cgroup(command, restore.cgroup);
  refuse(command, "--hold-network");
}

struct Restored {
  supervisor::RestoreOptions options;
  bool jail = true;
};
CLI::App* add_restore(CLI::App& app, Restored& restored) {
  supervisor::RestoreOptions& restore = restored.options;
  CLI::App* command = app.add_subcommand("restore", "Restore a snapshot to clones and run them");
  command->add_option("snapshot", restore.snapshot, "Directory of the snapshot")->required();
  add_parents(*command, restore.parents);
  add_key(*command, restore.key);
  command->add_flag("--move", restore.move, "The source is gone: keep its identity, use it up");
  add_clones(*command, restore, restored.jail);
  return command;
}

CLI::App* add_fork(CLI::App& app, ForkOptions& fork) {
  CLI::App* command = app.add_subcommand("fork", "Run clones of a running machine, which goes on");
  command->add_option("--api", fork.api, "The machine's control socket")->required();
  command
      ->add_option("--prepare", fork.prepare,
                   "agent: the guest's agent prepares it first; none (none)")
      ->check(CLI::IsMember({"agent", "none"}));
  add_clones(*command, fork.restore, fork.jail);
  return command;
}

struct Inspected {
  std::filesystem::path snapshot;
  std::vector<std::filesystem::path> parents;
  std::optional<std::filesystem::path> key;
  bool json = false;
};
CLI::App* add_inspect(CLI::App& app, const char* name, const char* help, Inspected& options) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("snapshot", options.snapshot, "Directory of the snapshot")->required();
  command->add_flag("--json", options.json, "Print it as JSON");
  return command;
}

CLI::App* add_merge(CLI::App& app, supervisor::MergeOptions& merge) {
  CLI::App* command =
      app.add_subcommand("merge", "Make a whole snapshot of an incremental one and its parents");
  command->add_option("snapshot", merge.snapshot, "Directory of the incremental one")->required();
  command->add_option("parents", merge.parents, "Directories of parents that are not beside it");
  add_key(*command, merge.key);
  command->add_option("--out", merge.out, "Directory to make")->required();
  command->add_flag("--json", merge.json, "Print the result as JSON");
  return command;
}

struct Stopped {
  std::filesystem::path api;
  std::chrono::milliseconds patience{10'000};
};
CLI::App* add_stop(CLI::App& app, Stopped& options) {
  CLI::App* command = app.add_subcommand("stop", "End a machine");
  command->add_option("--api", options.api, "The machine's control socket")->required();
  add_seconds(*command, "--timeout", "Seconds until its process is killed (10)", options.patience);
  return command;
}

struct Listed {
  std::filesystem::path folder;
  bool json = false;
};
CLI::App* add_ps(CLI::App& app, Listed& options) {
  CLI::App* command = app.add_subcommand("ps", "List the machines of this user");
  command->add_option("directory", options.folder,
                      "A run directory, or one that holds some ($XDG_RUNTIME_DIR, or /tmp)");
  command->add_flag("--json", options.json, "Print one JSON object a machine");
  return command;
}

CLI::App* add_call(CLI::App& app, const char* name, const char* help, std::filesystem::path& api) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("--api", api, "The machine's control socket")->required();
  return command;
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): terminate() names what was thrown
int main(int argc, char** argv) {
  // A file size limit, and a reader of our output that left, are errors like any other.
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);

  CLI::App app("Runs, snapshots and clones virtual machines.", "clonevm");
  app.set_version_flag("--version", std::string("clonevm ") + CLONESAFE_VERSION);
  app.require_subcommand(1);

  RunOptions run;
  SnapshotOptions snapshot;
  Restored restore;
  ForkOptions fork;
  Inspected inspected;
  std::filesystem::path api;
  const CLI::App* run_verb = add_run(app, run);
  const CLI::App* snapshot_verb = add_snapshot(app, snapshot);
  const CLI::App* restore_verb = add_restore(app, restore);
  const CLI::App* fork_verb = add_fork(app, fork);
  const CLI::App* inspect_verb =
      add_inspect(app, "inspect", "Print what a snapshot holds", inspected);
  const CLI::App* verify_verb =
      add_inspect(app, "verify", "Check every byte of a snapshot", inspected);
  add_parents(*app.get_subcommand("verify"), inspected.parents);
  add_key(*app.get_subcommand("verify"), inspected.key);
  supervisor::MergeOptions merge;
  const CLI::App* merge_verb = add_merge(app, merge);
  Stopped stopped;
  const CLI::App* stop_verb = add_stop(app, stopped);
  Listed listed;
  const CLI::App* ps_verb = add_ps(app, listed);
  const CLI::App* calls[] = {
      add_call(app, "status", "Print the state of a machine as JSON", api),
      add_call(app, "pause", "Stop a machine's processors", api),
      add_call(app, "resume", "Let a paused machine go on", api),
      add_call(app, "metrics", "Print the figures of a machine for Prometheus", api),
  };

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    // A word that is no command is "a subcommand is required" to CLI11.
    const bool unknown = app.get_subcommands().empty() && argc > 1 && argv[1][0] != '-';
    if (unknown)
      std::fprintf(stderr, "clonevm: '%s' is no command; try --help\n", argv[1]);
    else
      std::fprintf(stderr, "clonevm: %s\n", error.what());
    return kExitUsage;
  }
  if (*run_verb) return run_command(run);
  if (*snapshot_verb) return snapshot_command(snapshot);
  if (*restore_verb) return restore_command(restore.options, restore.jail);
  if (*fork_verb) return fork_command(fork);
  if (*inspect_verb) return supervisor::inspect_command(inspected.snapshot, inspected.json);
  if (*verify_verb)
    return supervisor::verify_command(inspected.snapshot, inspected.json, stdout, stderr,
                                      inspected.parents, inspected.key);
  if (*merge_verb) return supervisor::merge_command(merge);
  if (*stop_verb) return stop_command(stopped.api, stopped.patience);
  if (*ps_verb) return ps_command(listed.folder, listed.json);
  for (const CLI::App* call : calls) {
    if (*call) return simple_call_command(api, call->get_name());
  }
  return kExitUsage;
}
