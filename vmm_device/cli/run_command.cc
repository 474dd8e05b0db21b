#include "vmm_device/cli/run_command.h"

#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>

#include "vmm_device/cli/disks.h"
#include "vmm_device/cli/jail.h"
#include "vmm_device/cli/nets.h"
#include "vmm_device/cli/options.h"
#include "vmm_device/cli/raw_terminal.h"
#include "vmm_device/machine/bzimage.h"
#include "vmm_device/machine/session.h"

namespace clonesafe::cli {
namespace {

constexpr std::uint64_t kMaxKernel = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxInitrd = std::uint64_t{3} << 30;

// SIGINT, SIGTERM and SIGHUP as a readable descriptor; blocked in every thread that starts after
// this.
Result<UniqueFd> stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);
  if (const int error = pthread_sigmask(SIG_BLOCK, &signals, nullptr); error != 0)
    return fail_errno("pthread_sigmask", error);
  UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail_errno("signalfd");
  return fd;
}

Result<SessionEnd> run(RunOptions options) {
  const HoldableMachine holdable{.has_network = !options.nets.empty(),
                                 .has_vsock = !options.vsock.empty(),
                                 .disks = options.disks.size()};
  if (auto valid = check_hold(options.hold, holdable); !valid) return fail(valid.error());
  auto jail = make_jail(options.jail);
  if (!jail) return fail(jail.error());
  if (!options.cgroup.empty()) {
    if (auto joined = jail::join_cgroup(options.cgroup); !joined) return fail(joined.error());
  }
  auto kernel = read_file(options.kernel, kMaxKernel);
  if (!kernel) return fail(kernel.error());
  // Known by name, and before a machine is made; loading it parses it again.
  if (auto image = parse_bzimage(*kernel); !image)
    return fail(image.error(), options.kernel.string());
  std::vector<std::byte> initrd;
  if (!options.initrd.empty()) {
    auto read = read_file(options.initrd, kMaxInitrd);
    if (!read) return fail(read.error());
    if (read->empty()) return fail(options.initrd.string() + ": empty");
    initrd = std::move(*read);
  }
  auto disks = open_disks(options.disks, options.machine.disks);
  if (!disks) return fail(disks.error());
  auto taps = open_nets(options.nets, options.machine.nets);
  if (!taps) return fail(taps.error());
  auto serial = open_serial(options.serial);
  if (!serial) return fail(serial.error());
  auto stop = stop_signals();
  if (!stop) return fail(stop.error());

  if (*jail != nullptr) {
    // All other files are open by now.
    if (auto entered = enter_root({&options.vsock, &options.api}); !entered)
      return fail(entered.error());
  }
  Session session({.serial = std::move(*serial),
                   .disks = std::move(*disks),
                   .taps = std::move(*taps),
                   .hold = options.hold,
                   .vsock_path = options.vsock,
                   .api = options.api,
                   .stop_fd = stop->get(),
                   .track_dirty = options.track_dirty,
                   .events = {},
                   .jail = jail->get()});
  if (auto booted = session.boot(options.machine, *kernel, initrd, options.command_line); !booted)
    return fail(booted.error());
  // The guest has its own copy.
  *kernel = {};
  initrd = {};
  // Last, so that whatever fails before is said on a terminal as it was.
  auto terminal = RawTerminal::make(options.serial == "stdio" ? STDIN_FILENO : -1);
  if (!terminal) return fail(terminal.error());
  return session.run();
}

}  // namespace

int run_command(const RunOptions& options) {
  const auto end = run(options);
  if (!end) return report(end.error());
  if (end->kind != SessionEnd::Kind::kReset) return kExitDone;
  std::fprintf(stderr, "clonevm: the guest was %s\n", to_string(*end).c_str());
  return kExitReset;
}

}  // namespace clonesafe::cli
