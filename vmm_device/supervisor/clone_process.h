#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_CLONE_PROCESS_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_CLONE_PROCESS_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "vmm_device/jail/jail.h"
#include "vmm_device/snapshot/snapshot.h"

// What stands between the restore supervisor and the code that runs one clone. The supervisor forks
// one process a clone and calls a RunClone in it; the clone tells it how far it is by CloneEvents.
namespace clonesafe::supervisor {

// CLOCK_MONOTONIC, the time base of all that is measured here; it goes on across fork.
std::uint64_t monotonic_us();

// What one clone is made from. The paths are in the clone's own folder, which exists and is empty.
struct CloneRequest {
  std::uint32_t index = 0;  // from 1
  std::filesystem::path folder;
  std::filesystem::path vsock_socket;  // vsock.sock
  std::filesystem::path api_socket;    // api.sock
  std::filesystem::path serial_log;    // serial.log
  std::filesystem::path cgroup;        // to join before anything is mapped; empty: none

  const snapshot::Snapshot* snapshot = nullptr;  // checked whole
  int memory_fd = -1;                    // sealed memfd of the guest's memory: map it MAP_PRIVATE
  bool move = false;                     // single use, the source is gone: identity is kept
  bool track_dirty = false;              // so that incremental snapshots of the clone can be taken
  std::span<const std::byte> metadata;   // the operator's document, see read_metadata
  jail::Violation* violation = nullptr;  // where a call that the clone's jail forbids is recorded

  // When this clone was asked for (monotonic_us), just before the fork.
  std::uint64_t requested_us = 0;
  // Readable once the clone must end by itself (it is a signalfd of SIGTERM, which all threads have
  // blocked). Poll it; SIGKILL comes a few seconds later. SIGINT is ignored in a clone.
  int stop_fd = -1;
};

struct Repair {
  std::string name;
  std::string result;  // ok, failed, skipped
  std::uint64_t us = 0;
  std::string detail;
};

// What was held until the report: packets that were sent after it, those that are lost and those of
// TCP connections of before, and streams and flushes that waited.
struct HeldByClone {
  std::uint64_t packets = 0;
  std::uint64_t dropped_packets = 0;
  std::uint64_t stale_packets = 0;
  std::uint64_t streams = 0;
  std::uint64_t flushes = 0;

  // By their names in lines and reports.
  std::array<std::pair<const char*, std::uint64_t*>, 5> named() {
    return {{{"held_packets", &packets},
             {"dropped_packets", &dropped_packets},
             {"stale_packets", &stale_packets},
             {"held_streams", &streams},
             {"held_flushes", &flushes}}};
  }
};

// The clone's side of the pipe to the supervisor. Thread-safe. Each call sends one line at once;
// a supervisor that is gone is no error here (the kernel ends the clone then). Times are
// monotonic_us(): take them where the thing happens, the call itself may come later.
class CloneEvents {
 public:
  explicit CloneEvents(int fd) : fd_(fd) {}

  // The machine's state is loaded and its generation pages are written. Before the first KVM_RUN.
  void loaded(std::span<const std::byte, 16> vm_generation_id, std::uint64_t generation,
              std::uint64_t at_us = monotonic_us());
  // The first KVM_RUN of the first vCPU starts.
  void running(std::uint64_t at_us = monotonic_us());
  // The guest's first exit to the VMM.
  void first_exit(std::uint64_t at_us = monotonic_us());
  // The agent's report for this restore came. `state` is its word: safe or degraded.
  void safe(const std::string& state, const std::vector<Repair>& repairs,
            std::uint64_t at_us = monotonic_us(), std::optional<HeldByClone> held = {});
  // How the clone ended; sent by the supervisor's own code after RunClone.
  void ended(bool ok, const std::string& reason);

 private:
  void send(const std::string& line);
  std::mutex mutex_;
  const int fd_;
};

// Runs one clone until it ends. In a process of its own, forked by the supervisor, with one thread
// and no KVM fd; whatever is random must be drawn here. stdin is /dev/null, stdout and stderr go to
// clone.log in the clone's folder, SIGPIPE and SIGXFSZ are ignored. Returns how it ended ("powered
// off", "reset", "stopped"), or the error that ended it, which goes to the operator as it is.
using RunClone = std::function<Result<std::string>(const CloneRequest&, CloneEvents&)>;

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_CLONE_PROCESS_H_
