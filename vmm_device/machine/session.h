#ifndef CLONESAFE_VMM_DEVICE_MACHINE_SESSION_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_SESSION_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/agent_channel/messages.h"
#include "vmm_device/jail/jail.h"
#include "vmm_device/machine/hold.h"
#include "vmm_device/machine/machine.h"

namespace clonesafe {

// Where the guest's serial line goes: "stdio", "none", or a file, which is made or emptied.
struct SerialEnd {
  UniqueFd owned;
  int output = -1;  // -1: nowhere
  int input = -1;   // -1: none
};
Result<SerialEnd> open_serial(const std::string& where);

// What a session tells of itself, with the time (CLOCK_MONOTONIC, microseconds) at which it
// happened. Called on the session's thread. Each may be empty.
struct SessionEvents {
  std::function<void(std::uint64_t at_us)> running;     // the first KVM_RUN
  std::function<void(std::uint64_t at_us)> first_exit;  // the guest's first exit
  // The first report of the guest's agent; `held` if the network was held until now.
  std::function<void(const agent_channel::SafeReport& report, const std::optional<Held>& held,
                     std::uint64_t at_us)>
      safe;
};

struct SessionOptions {
  SerialEnd serial;
  std::vector<block::Disk> disks = {};
  std::vector<network::Tap> taps = {};
  // Of a machine that is restored: MachineHooks::macs.
  std::vector<std::optional<network::MacAddress>> macs = {};
  Hold hold = {};
  std::string vsock_path;     // the host end of the machine's vsock device
  std::filesystem::path api;  // control socket; empty: none
  // Readable once the process must end: a signalfd of SIGTERM or SIGINT. Not owned.
  int stop_fd = -1;
  bool track_dirty = false;  // so that incremental snapshots can be taken
  SessionEvents events;
  // Confines the process and its threads before the guest's first instruction; null: it runs free.
  // The current directory is the root then: the paths above must be relative to it. Not owned.
  const jail::Jail* jail = nullptr;
  jail::Violation* violation = nullptr;  // where a forbidden call is recorded; may be null
};

// How a session ended.
struct SessionEnd {
  enum class Kind { kPowerOff, kReset, kStopped };
  Kind kind = Kind::kStopped;
  std::string detail;
};
// "powered off", "reset", "stopped".
std::string to_string(const SessionEnd& end);

// Runs one machine until it ends: vCPU threads, and on the calling thread the devices' event loop,
// the control socket and the agent's channel. `clonevm run` and each clone of `clonevm restore` are
// one Session.
class Session {
 public:
  explicit Session(SessionOptions options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Makes the machine: one of the two, then run().
  Status boot(const MachineConfig& config, std::span<const std::byte> kernel,
              std::span<const std::byte> initrd, const std::string& command_line);
  Status restore(const RestoreSource& source);

  Machine& machine();
  // Runs it until it ends; an error is what broke it.
  Result<SessionEnd> run();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_SESSION_H_
