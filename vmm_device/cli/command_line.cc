#include "vmm_device/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>

#include "vmm_device/cli/commit_command.h"
#include "vmm_device/cli/fork_command.h"
#include "vmm_device/cli/machines.h"
#include "vmm_device/cli/options.h"
#include "vmm_device/cli/run_clone.h"
#include "vmm_device/cli/run_command.h"
#include "vmm_device/cli/snapshot_command.h"
#include "vmm_device/kvm/cpu_template.h"
#include "vmm_device/supervisor/supervisor.h"

namespace clonesafe::cli {
namespace {

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

using ParseNet = Result<NetArgument> (*)(std::string_view);
void add_net(CLI::App& command, ParseNet parse, const char* help, std::vector<NetArgument>& nets) {
  command
      .add_option_function<std::vector<std::string>>(
          "--net",
          [&nets, parse](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) nets.push_back(*parse(text));
          },
          help)
      ->allow_extra_args(false)
      ->check(checked(parse, "NET"));
}

// A flag that may have a value behind "=", so that what follows it is not taken for one. `parse` is
// given "true" if there is none. Not CLI11's flag with a function: that wants a number, and throws
// if it gets another value.
template <typename Parse, typename Use>
CLI::Option* add_flag_with_value(CLI::App& command, const char* name, Parse parse, Use use,
                                 const std::string& help) {
  return command.add_flag(name, help)
      ->check(checked(parse, name))
      ->each([parse, use](const std::string& text) { use(*parse(text)); });
}

void add_hold(CLI::App& command, Hold& hold) {
  CLI::Option* network = add_flag_with_value(
      command, "--hold-network",
      [](std::string_view text) { return parse_hold_limit(text == "true" ? "forever" : text); },
      [&hold](const std::optional<std::chrono::milliseconds>& limit) {
        hold.network = true;
        if (limit) hold.limit = limit;
      },
      "No packet in or out until the agent reports that the guest is safe; =SECONDS: at most so "
      "long");
  command
      .add_option_function<std::string>(
          "--hold-vsock",
          [&hold](const std::string& text) { hold.vsock_ports = *parse_numbers(text); },
          "Nor streams by these vsock ports, of the host's or the guest's")
      ->check(checked(parse_numbers, "PORT,..."));
  command
      .add_option_function<std::string>(
          "--hold-disk",
          [&hold](const std::string& text) {
            const auto numbers = *parse_numbers(text);
            hold.disks = {numbers.begin(), numbers.end()};
          },
          "Nor flushes of these disks, by number from 0")
      ->check(checked(parse_numbers, "N,..."));
  command
      .add_option_function<std::string>(
          "--hold-limit",
          [&hold, network](const std::string& text) {
            if (!network->empty() && network->results().back() != "true")
              throw CLI::ValidationError("--hold-limit", "--hold-network has the limit already");
            hold.limit = *parse_hold_limit(text);
          },
          "How long a hold lasts without such a report (forever)")
      ->check(checked(parse_hold_limit, "SECONDS"));
}

void add_no_jail(CLI::App& command, bool& jail) {
  command.add_flag("!--no-jail", jail,
                   "Keep all system calls, privileges and files of this user within reach");
}

void add_cgroup(CLI::App& command, std::filesystem::path& cgroup) {
  command.add_option("--cgroup", cgroup, "cgroup v2 directory that the machine's process joins");
}

void add_run(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<RunOptions>();
  RunOptions& run = *options;
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
  command
      ->add_option_function<std::vector<std::string>>(
          "--disk",
          [&run](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) run.disks.push_back(*parse_disk(text));
          },
          "Raw image or block device: FILE[,ro][,layer=FILE|temporary][,serial=TEXT]; again for "
          "more")
      ->allow_extra_args(false)
      ->check(checked(parse_disk, "DISK"));
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
  add_net(*command, parse_net,
          "Network device on a tap: tap=NAME[,mac=ADDRESS][,netns=NAME]; again for more", run.nets);
  add_hold(*command, run.hold);
  add_flag_with_value(
      *command, "--balloon", parse_balloon,
      [&run](const BalloonConfig& balloon) { run.machine.balloon = balloon; },
      "Memory balloon, so that --prepare makes snapshots smaller; =reporting: free "
      "memory goes back to the host all the time");
  command->callback([&chosen, options] { chosen = [options] { return run_command(*options); }; });
}

void add_snapshot(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<SnapshotOptions>();
  SnapshotOptions& snapshot = *options;
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
  command->callback(
      [&chosen, options] { chosen = [options] { return snapshot_command(*options); }; });
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
void add_clones(CLI::App& command, supervisor::RestoreOptions& restore, CloneOptions& clones) {
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
  command.add_option(
      "--metadata", restore.metadata,
      "File for each clone, %d its number: in the restore page, or large ones by vsock");
  command.add_flag("--json", restore.json, "Print one JSON object a clone");
  command
      .add_option_function<std::vector<std::string>>(
          "--disk",
          [&clones](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              const auto given = *parse_image(text);
              clones.disks.images[given.disk] = given.image;
            }
          },
          "Where a disk's image is, if not where it was: N=FILE")
      ->allow_extra_args(false)
      ->check(checked(parse_image, "N=FILE"));
  command.add_flag("--keep-layers", clones.disks.keep_layers,
                   "Keep what each clone writes to its disks, in diskN.layer of its folder");
  add_net(command, parse_clones_net,
          "A network device's tap, %d the clone's number: "
          "tap=NAME[,mac=ADDRESS|keep][,netns=NAME]; again for each",
          clones.nets);
  add_hold(command, clones.hold);
  add_no_jail(command, clones.jail);
  add_cgroup(command, restore.cgroup);
}

void add_restore(CLI::App& app, Command& chosen) {
  struct Options {
    supervisor::RestoreOptions restore;
    CloneOptions clones;
  };
  const auto options = std::make_shared<Options>();
  supervisor::RestoreOptions& restore = options->restore;
  CLI::App* command = app.add_subcommand("restore", "Restore a snapshot to clones and run them");
  command->add_option("snapshot", restore.snapshot, "Directory of the snapshot")->required();
  add_parents(*command, restore.parents);
  add_key(*command, restore.key);
  command->add_flag("--move", restore.move, "The source is gone: keep its identity, use it up");
  add_clones(*command, restore, options->clones);
  command->callback([&chosen, options] {
    chosen = [options] {
      options->clones.disks.move = options->restore.move;
      return restore_command(options->restore, options->clones);
    };
  });
}

void add_fork(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<ForkOptions>();
  ForkOptions& fork = *options;
  CLI::App* command = app.add_subcommand("fork", "Run clones of a running machine, which goes on");
  command->add_option("--api", fork.api, "The machine's control socket")->required();
  command
      ->add_option("--prepare", fork.prepare,
                   "agent: the guest's agent prepares it first; none (none)")
      ->check(CLI::IsMember({"agent", "none"}));
  add_clones(*command, fork.restore, fork.clones);
  command->callback([&chosen, options] { chosen = [options] { return fork_command(*options); }; });
}

void add_inspect(CLI::App& app, Command& chosen) {
  struct Options {
    std::filesystem::path snapshot;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "Print what a snapshot holds");
  command->add_option("snapshot", options->snapshot, "Directory of the snapshot")->required();
  command->add_flag("--json", options->json, "Print it as JSON");
  command->callback([&chosen, options] {
    chosen = [options] { return supervisor::inspect_command(options->snapshot, options->json); };
  });
}

void add_verify(CLI::App& app, Command& chosen) {
  struct Options {
    std::filesystem::path snapshot;
    std::vector<std::filesystem::path> parents;
    std::optional<std::filesystem::path> key;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("verify", "Check every byte of a snapshot");
  command->add_option("snapshot", options->snapshot, "Directory of the snapshot")->required();
  command->add_flag("--json", options->json, "Print it as JSON");
  add_parents(*command, options->parents);
  add_key(*command, options->key);
  command->callback([&chosen, options] {
    chosen = [options] {
      return supervisor::verify_command(options->snapshot, options->json, stdout, stderr,
                                        options->parents, options->key);
    };
  });
}

void add_merge(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<supervisor::MergeOptions>();
  supervisor::MergeOptions& merge = *options;
  CLI::App* command =
      app.add_subcommand("merge", "Make a whole snapshot of an incremental one and its parents");
  command->add_option("snapshot", merge.snapshot, "Directory of the incremental one")->required();
  command->add_option("parents", merge.parents, "Directories of parents that are not beside it");
  add_key(*command, merge.key);
  command->add_option("--out", merge.out, "Directory to make")->required();
  command->add_flag("--json", merge.json, "Print the result as JSON");
  command->callback(
      [&chosen, options] { chosen = [options] { return supervisor::merge_command(*options); }; });
}

void add_commit(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<block::CommitRequest>();
  CLI::App* command = app.add_subcommand("commit", "Write a disk's layer into its image");
  command->add_option("layer", options->layer, "File of the layer")->required();
  command->add_option("--image", options->image, "The image that it lies over")->required();
  command->add_option("--out", options->out, "New image with both, instead");
  command->callback(
      [&chosen, options] { chosen = [options] { return commit_command(*options); }; });
}

void add_stop(CLI::App& app, Command& chosen) {
  struct Options {
    std::filesystem::path api;
    std::chrono::milliseconds patience{10'000};
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("stop", "End a machine");
  command->add_option("--api", options->api, "The machine's control socket")->required();
  add_seconds(*command, "--timeout", "Seconds until its process is killed (10)", options->patience);
  command->callback([&chosen, options] {
    chosen = [options] { return stop_command(options->api, options->patience); };
  });
}

void add_ps(CLI::App& app, Command& chosen) {
  struct Options {
    std::filesystem::path folder;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("ps", "List the machines of this user");
  command->add_option("directory", options->folder,
                      "A run directory, or one that holds some ($XDG_RUNTIME_DIR, or /tmp)");
  command->add_flag("--json", options->json, "Print one JSON object a machine");
  command->callback([&chosen, options] {
    chosen = [options] { return ps_command(options->folder, options->json); };
  });
}

// A verb that is one call of the machine's API.
void add_call(CLI::App& app, Command& chosen, const std::string& name, const char* help) {
  const auto api = std::make_shared<std::filesystem::path>();
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("--api", *api, "The machine's control socket")->required();
  command->callback(
      [&chosen, api, name] { chosen = [api, name] { return simple_call_command(*api, name); }; });
}

}  // namespace

void add_commands(CLI::App& app, Command& chosen) {
  add_run(app, chosen);
  add_snapshot(app, chosen);
  add_restore(app, chosen);
  add_fork(app, chosen);
  add_inspect(app, chosen);
  add_verify(app, chosen);
  add_merge(app, chosen);
  add_commit(app, chosen);
  add_stop(app, chosen);
  add_ps(app, chosen);
  add_call(app, chosen, "status", "Print the state of a machine as JSON");
  add_call(app, chosen, "pause", "Stop a machine's processors");
  add_call(app, chosen, "resume", "Let a paused machine go on");
  add_call(app, chosen, "metrics", "Print the figures of a machine for Prometheus");
}

}  // namespace clonesafe::cli
