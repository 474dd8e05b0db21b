// clonesafe-audit: runs the uniqueness suite on a machine and its clones, and reports what they
// repeat.

#include <CLI/CLI.hpp>
#include <cstdio>

#include "clonesafe/version.h"
#include "tests/audit/report/compare.h"
#include "tests/audit/run/audit_run.h"

namespace {

using namespace clonesafe;
using namespace clonesafe::audit;

struct RunArguments {
  AuditOptions options;
  std::string mode = "unannounced";
  std::string way = "cold";
  bool without = false;
  std::string vmm_program;
  unsigned wait_ms = 120000;
};

CLI::App* add_run(CLI::App& app, RunArguments& run) {
  CLI::App* verb = app.add_subcommand(
      "run", "Boot, snapshot under load, restore clones, compare what they drew");
  verb->add_option("--vmm", run.options.vmm, "VMM under audit")
      ->check(CLI::IsMember({"clonevm", "qemu"}));
  verb->add_option("--vmm-program", run.vmm_program, "Its program (default: its name)");
  verb->add_option("--kernel", run.options.machine.kernel, "Linux bzImage")->required();
  verb->add_option("--kernel-name", run.options.kernel_name, "Its name in reports");
  verb->add_option("--guest", run.options.machine.guest,
                   "Initial RAM file system of the audited guest")
      ->required();
  verb->add_option("--mode", run.mode, "without, unannounced or announced")
      ->check(CLI::IsMember({"without", "unannounced", "announced"}));
  verb->add_option("--way", run.way, "How clonevm makes the clones")
      ->check(CLI::IsMember({"cold", "incremental", "fork", "descendant"}));
  verb->add_flag("--without", run.without, "The same as --mode without");
  verb->add_option("--clones", run.options.clones, "Clones to restore")->check(CLI::Range(1, 64));
  verb->add_option("--cpus", run.options.machine.cpus, "Virtual CPUs")->check(CLI::Range(1, 4));
  verb->add_option("--memory", run.options.machine.memory_mib, "MiB of memory");
  verb->add_option("--cpu-mask", run.options.machine.cpu_mask,
                   "CPU features to hide: rdrand,rdseed");
  verb->add_option("--accel", run.options.machine.accelerator, "QEMU's accelerator")
      ->check(CLI::IsMember({"tcg", "kvm"}));
  verb->add_option("--cmdline", run.options.machine.command_line,
                   "Added to the kernel's command line");
  verb->add_option("--vmm-argument", run.options.machine.arguments,
                   "Added to the VMM's command line (may be repeated)")
      ->allow_extra_args(false);
  verb->add_flag("!--dont-wait-safe", run.options.machine.wait_safe,
                 "Don't wait until the clones' agents are done");
  verb->add_option("--label", run.options.label, "Name of this run in reports");
  verb->add_option("--wait-ms", run.wait_ms,
                   "Longest time for each probe to draw enough after the restore");
  verb->add_option("--out", run.options.machine.folder, "Folder for everything of this run")
      ->required();
  return verb;
}

int complain(const Error& error) {
  std::fprintf(stderr, "clonesafe-audit: %s\n", error.message().c_str());
  return 1;
}

int run_verb(RunArguments& run) {
  AuditOptions& options = run.options;
  auto mode = parse_mode(run.without ? "without" : run.mode);
  if (!mode) return complain(mode.error());
  options.machine.mode = *mode;
  auto way = parse_way(run.way);
  if (!way) return complain(way.error());
  options.machine.way = *way;
  if (*way != Way::cold && options.vmm != "clonevm")
    return complain(Error("--way " + run.way + " is clonevm's only"));
  // What a fork copies has no file to find the cut in: it is taken of a machine that stands still
  // for a snapshot, where no agent can prepare it.
  if (*way == Way::fork && *mode == Mode::announced)
    return complain(Error("--way fork can't be announced"));
  options.wait = std::chrono::milliseconds(run.wait_ms);
  options.machine.program = !run.vmm_program.empty() ? run.vmm_program
                            : options.vmm == "qemu"  ? "qemu-system-x86_64"
                                                     : "clonevm";
  if (options.label.empty()) options.label = mode_name(*mode);
  const auto result = run_audit(options);
  if (!result) return complain(result.error());
  print_run(*result);
  return 0;
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): terminate() names what was thrown
int main(int argc, char** argv) {
  CLI::App app("Finds what a machine's clones repeat.", "clonesafe-audit");
  app.set_version_flag("--version", std::string("clonesafe-audit ") + CLONESAFE_VERSION);
  app.require_subcommand(1);
  RunArguments run;
  CLI::App* run_command = add_run(app, run);
  CompareOptions compare;
  CLI::App* compare_command = app.add_subcommand(
      "compare", "Report runs side by side; exit code 0 only if clonesafe held what it promises");
  compare_command->add_option("runs", compare.folders, "Folders of runs")->required();
  compare_command->add_option("--out", compare.out, "Folder for report.json and report.html");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "clonesafe-audit: %s\n", error.what());
    return 2;
  }
  if (*run_command) return run_verb(run);
  const auto verdict = compare_runs(compare);
  if (!verdict) return complain(verdict.error());
  return *verdict ? 0 : 1;
}
