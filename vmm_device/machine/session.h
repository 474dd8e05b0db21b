#ifndef CLONESAFE_VMM_DEVICE_MACHINE_SESSION_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_SESSION_H_

#include <functional>
#include <memory>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/machine/machine.h"

namespace clonesafe {

// Where the guest's serial line goes: "stdio", "none", or a file, which is made or emptied.
struct SerialEnd {
  UniqueFd owned;
  int output = -1;  // -1: nowhere
  int input = -1;   // -1: none
};
Result<SerialEnd> open_serial(const std::string& where);

struct SessionOptions {
  SerialEnd serial;
  std::string vsock_path;  // the host end of the machine's vsock device
  // Readable once the process must end: a signalfd of SIGTERM or SIGINT. Not owned.
  int stop_fd = -1;
};

// How a session ended: "powered off", "reset", "stopped".
struct SessionEnd {
  enum class Kind { kPowerOff, kReset, kStopped };
  Kind kind = Kind::kStopped;
  std::string detail;
};
std::string to_string(const SessionEnd& end);

// Runs one machine until it ends: vCPU threads, and on the calling thread the devices' event loop.
// Both `clonevm run` and each clone of `clonevm restore` are one Session.
class Session {
 public:
  explicit Session(SessionOptions options);
  ~Session();

  // Makes the machine. Then it is the caller's turn: boot() or restore it, then run().
  Status create(const MachineConfig& config);
  Machine& machine();
  // Runs it until it ends; an error is what broke it.
  Result<SessionEnd> run();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_SESSION_H_
