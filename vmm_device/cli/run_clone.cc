#include "vmm_device/cli/run_clone.h"

#include <unistd.h>

#include <limits>

#include "vmm_device/cli/jail.h"
#include "vmm_device/cli/nets.h"
#include "vmm_device/cli/options.h"
#include "vmm_device/machine/session.h"

namespace clonesafe::cli {
namespace {

// The process that watches the clones reads what they say, and they may be the guest's. It has many
// files open, and writes each clone's status where that clone's folder is.
Status confine_supervisor(const jail::Jail& jail) {
  const auto lacks = jail::confine_process(
      {.open_files = std::numeric_limits<std::uint64_t>::max(), .change_root = false}, nullptr);
  if (!lacks) return fail(lacks.error());
  return jail.confine_thread(jail::Thread::supervisor, "supervisor");
}

using RunClones =
    std::function<int(const supervisor::RestoreOptions&, const supervisor::RunClone&)>;

int run_with(supervisor::RestoreOptions options, const CloneOptions& clones,
             const RunClones& run_clones) {
  if (auto valid = check_clones_nets(clones.nets, options.count); !valid)
    return report(valid.error());
  // Once, before any fork: the clones have its filters ready.
  const auto jail = make_jail(clones.jail);
  if (!jail) return report(jail.error());
  const jail::Jail* used = jail->get();
  if (used != nullptr) options.confine = [used] { return confine_supervisor(*used); };
  std::vector<block::Disk> disks;
  options.prepare = [&](const snapshot::Snapshot& snapshot) -> Status {
    auto opened = open_restored_disks(snapshot, clones.disks);
    if (!opened) return fail(opened.error());
    disks = std::move(*opened);
    return {};
  };
  return run_clones(options, [&](const supervisor::CloneRequest& request,
                                 supervisor::CloneEvents& events) {
    // This process's own copy of the list.
    return run_clone({.jail = used, .disks = std::move(disks), .options = clones}, request, events);
  });
}

}  // namespace

int restore_command(supervisor::RestoreOptions options, const CloneOptions& clones) {
  return run_with(std::move(options), clones, [](const auto& jailed, const auto& run) {
    return supervisor::restore_command(jailed, run);
  });
}

int fork_command(supervisor::RestoreOptions options, const CloneOptions& clones,
                 const std::function<Result<supervisor::Taken>()>& take) {
  return run_with(std::move(options), clones, [&take](const auto& jailed, const auto& run) {
    return supervisor::fork_command(jailed, take, run);
  });
}

Result<std::string> run_clone(CloneParts parts, const supervisor::CloneRequest& request,
                              supervisor::CloneEvents& events) {
  if (!request.cgroup.empty()) {
    if (auto joined = jail::join_cgroup(request.cgroup); !joined) return fail(joined.error());
  }
  // Its folder is where all is that it makes, and its root in the jail.
  if (::chdir(request.folder.c_str()) != 0) return fail_errno(request.folder.string());
  const CloneOptions& clones = parts.options;
  if (auto layered = add_own_layers(parts.disks, clones.disks); !layered)
    return fail(layered.error());
  auto serial = open_serial(request.serial_log.filename());
  if (!serial) return fail(serial.error());
  const auto config = saved_config(*request.snapshot);
  if (!config) return fail(config.error());
  const HoldableMachine holdable{.has_network = !config->nets.empty(),
                                 .has_vsock = config->vsock_cid != 0,
                                 .disks = parts.disks.size()};
  if (auto valid = check_hold(clones.hold, holdable); !valid) return fail(valid.error());
  auto nets = open_clone_nets(config->nets, clones.nets, request.index, request.move);
  if (!nets) return fail(nets.error());
  SessionEvents told;
  told.running = [&events](std::uint64_t at) { events.running(at); };
  told.first_exit = [&events](std::uint64_t at) { events.first_exit(at); };
  told.safe = [&events](const agent_channel::SafeReport& report, const std::optional<Held>& held,
                        std::uint64_t at) {
    std::vector<supervisor::Repair> repairs;
    for (const agent_channel::RepairResult& repair : report.repairs)
      repairs.push_back(
          {.name = repair.name, .result = repair.result, .us = repair.us, .detail = repair.detail});
    std::optional<supervisor::HeldByClone> by_clone;
    if (held)
      by_clone = {.packets = held->frames_parked,
                  .dropped_packets = held->frames_lost,
                  .stale_packets = held->frames_stale,
                  .streams = held->streams,
                  .flushes = held->flushes};
    events.safe(report.state, repairs, at, by_clone);
  };
  Session session({.serial = std::move(*serial),
                   .disks = std::move(parts.disks),
                   .taps = std::move(nets->taps),
                   .macs = std::move(nets->macs),
                   .hold = clones.hold,
                   .vsock_path = request.vsock_socket.filename(),
                   .api = request.api_socket.filename(),
                   .stop_fd = request.stop_fd,
                   .track_dirty = request.track_dirty,
                   .events = std::move(told),
                   .jail = parts.jail,
                   .violation = request.violation});
  const auto restored =
      session.restore({.snapshot = *request.snapshot,
                       .memory_fd = request.memory_fd,
                       .kind = request.move ? RestoreKind::kMove : RestoreKind::kClone,
                       .metadata = request.metadata});
  if (!restored) return fail(restored.error());
  const GenerationDevices& generation = session.machine().generation();
  events.loaded(generation.vm_generation_id(), generation.generation());
  auto end = session.run();
  if (!end) return fail(end.error());
  return to_string(*end);
}

}  // namespace clonesafe::cli
