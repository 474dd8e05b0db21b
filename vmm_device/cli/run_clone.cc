#include "vmm_device/cli/run_clone.h"

#include "vmm_device/machine/session.h"

namespace clonesafe::cli {

Result<std::string> run_clone(const supervisor::CloneRequest& request,
                              supervisor::CloneEvents& events) {
  auto serial = open_serial(request.serial_log);
  if (!serial) return fail(serial.error());
  SessionEvents told;
  told.running = [&events](std::uint64_t at) { events.running(at); };
  told.first_exit = [&events](std::uint64_t at) { events.first_exit(at); };
  told.safe = [&events](const agent_channel::SafeReport& report, std::uint64_t at) {
    std::vector<supervisor::Repair> repairs;
    for (const agent_channel::RepairResult& repair : report.repairs)
      repairs.push_back(
          {.name = repair.name, .result = repair.result, .us = repair.us, .detail = repair.detail});
    events.safe(report.state, repairs, at);
  };
  Session session({.serial = std::move(*serial),
                   .vsock_path = request.vsock_socket,
                   .api = request.api_socket,
                   .stop_fd = request.stop_fd,
                   .track_dirty = request.track_dirty,
                   .events = std::move(told)});
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
