// A VMM under audit: what the audit asks of one, for clonevm and for QEMU.
#ifndef CLONESAFE_TESTS_AUDIT_RUN_VMM_H_
#define CLONESAFE_TESTS_AUDIT_RUN_VMM_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "tests/audit/core/collection.h"
#include "tests/audit/run/process.h"

namespace clonesafe::audit {

enum class Mode {
  without,      // no generation device, no agent
  unannounced,  // both; the snapshot comes at a random moment
  announced     // both; the agent prepares for the snapshot
};

// How clonevm makes the clones.
enum class Way {
  cold,         // restored from a snapshot
  incremental,  // from a snapshot that lies over another one
  fork,         // from the running machine, without a file
  descendant    // as cold, of a machine that is a clone of a clone itself
};

struct VmmOptions {
  std::string program;           // clonevm, or qemu
  std::filesystem::path kernel;  // bzImage
  std::filesystem::path guest;   // initramfs
  std::string command_line;      // added to the kernel's
  unsigned cpus = 2;
  unsigned memory_mib = 256;
  Mode mode = Mode::unannounced;
  Way way = Way::cold;                 // QEMU knows no other
  bool wait_safe = true;               // a restore waits for each agent's report, if there is one
  std::string accelerator = "tcg";     // QEMU's: tcg or kvm
  std::string cpu_mask;                // features to hide, `rdrand,rdseed`
  std::vector<std::string> arguments;  // added to the VMM's for a boot
  std::filesystem::path folder;        // where everything of this audit is kept
};

// One machine that runs.
struct Guest {
  Process process;
  CollectorAddress collector;
  std::filesystem::path console;
};

struct RestoreTimes {
  unsigned clone = 0;
  std::optional<std::uint64_t> restore_us;     // request to state loaded
  std::optional<std::uint64_t> first_exit_us;  // request to the guest's first exit
  std::optional<std::uint64_t> safe_us;        // first run to the agent's ack
};

// The machines of one restore; they end with this object.
struct Clones {
  std::vector<Process> processes;
  std::vector<CollectorAddress> collectors;
  std::vector<RestoreTimes> times;
};

class Vmm {
 public:
  virtual ~Vmm() = default;

  virtual Result<Guest> boot() = 0;
  // The machine to clone, of the one that was booted and is warm: that one, unless the way says
  // otherwise.
  virtual Result<Guest> make_parent(Guest booted) { return booted; }
  // Takes the snapshot that `clones` machines will be made of; the guest goes on afterwards.
  virtual Status snapshot(Guest& guest, unsigned clones) = 0;
  // Starts the clones, if snapshot() didn't; returns when all run (mode without) or when each agent
  // has said that it is safe.
  virtual Result<Clones> restore(unsigned clones) = 0;

  // The memory of the snapshot, to find the cut in.
  virtual std::filesystem::path memory_image() const = 0;
  // All files that hold a snapshot.
  virtual std::vector<std::filesystem::path> snapshot_files() const = 0;
};

Result<std::unique_ptr<Vmm>> make_clonevm(VmmOptions options);
Result<std::unique_ptr<Vmm>> make_qemu(VmmOptions options);

// What both put on the kernel's command line.
std::string kernel_command_line(const VmmOptions& options);

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_RUN_VMM_H_
