#ifndef CLONESAFE_VMM_DEVICE_MACHINE_METRICS_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_METRICS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace clonesafe {

// How often the guest came back to us, by why.
struct ExitCounts {
  std::uint64_t port = 0;
  std::uint64_t mmio = 0;
  std::uint64_t interrupted = 0;  // by a signal: a pause, or KVM's own wish
  std::uint64_t other = 0;
};

// What a disk did.
struct DiskFigures {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t discards = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t errors = 0;
};

// What a network device did.
struct NetFigures {
  std::uint64_t received_frames = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t received_lost = 0;
  std::uint64_t sent_frames = 0;
  std::uint64_t sent_bytes = 0;
  std::uint64_t sent_lost = 0;
  std::uint64_t parents = 0;
  std::uint64_t parked = 0;
  std::uint64_t held_lost = 0;
  std::uint64_t held_stale = 0;
};

// What a vsock device did, and has now.
struct VsockFigures {
  std::uint64_t streams = 0;
  std::uint64_t refused = 0;
  std::uint64_t held = 0;
};

// What the memory balloon did. Of the guest's own figures those that it told last.
struct BalloonFigures {
  std::uint64_t pages = 0;  // that are in it
  std::uint64_t inflated = 0;
  std::uint64_t reported = 0;
  std::uint64_t discarded = 0;
  std::uint64_t refused = 0;
  std::optional<std::uint64_t> free;  // bytes
  std::optional<std::uint64_t> available;
  std::optional<std::uint64_t> total;
  std::optional<std::uint64_t> caches;
};

// A machine's figures, since its process started.
struct Metrics {
  std::string version;
  std::string kind;  // boot, resume, clone, move
  bool running = false;
  std::uint32_t cpus = 0;
  std::uint64_t memory_bytes = 0;
  bool restored = false;
  ExitCounts exits;
  std::uint64_t snapshots = 0;
  std::uint64_t snapshots_failed = 0;
  std::uint64_t snapshot_bytes = 0;        // written, of all
  std::uint64_t forks = 0;                 // clones that images of the running machine were for
  std::optional<std::uint64_t> pause_us;   // of the last one, until the guest ran again
  std::optional<VsockFigures> vsock = {};  // nothing without the device
  std::vector<DiskFigures> disks = {};
  std::vector<NetFigures> nets = {};
  bool network_held = false;
  std::optional<BalloonFigures> balloon = {};
  bool agent_connected = false;
  std::string agent_state = "none";      // none, safe, degraded
  std::optional<std::uint64_t> safe_us;  // from the first run to the agent's report
  std::uint64_t minor_faults = 0;
  std::uint64_t major_faults = 0;
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
};

// Faults and CPU time of this process.
void add_resource_use(Metrics& metrics);

// In Prometheus' text format, version 0.0.4.
std::string to_prometheus(const Metrics& metrics);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_METRICS_H_
