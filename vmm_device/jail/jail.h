// jail: what a process that runs a guest gives up before the guest's first instruction: system
// calls, privileges, the file system. A guest that takes over its VMM finds itself in here.
//
// The order is a contract: Jail::compile() in the parent, before any fork; confine_process() while
// the process has one thread and after all its files are open; confine_thread() on each thread,
// before it does anything for a guest. None of it can be undone.
#ifndef CLONESAFE_VMM_DEVICE_JAIL_JAIL_H_
#define CLONESAFE_VMM_DEVICE_JAIL_JAIL_H_

#include <linux/filter.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::jail {

// A vCPU's thread; the thread of a machine's devices, control socket and snapshots; the thread that
// reads and writes a disk; the one thread of the process that watches clones.
enum class Thread { vcpu, devices, disk, supervisor };
inline constexpr std::size_t kThreads = 4;

// A forbidden system call. Lies in memory that the process shares with its parent, so that the
// parent knows it when the process is gone; the process that wrote it is not to be trusted.
struct Violation {
  std::atomic<std::uint32_t> present{0};
  std::uint32_t number = 0;
  std::uint64_t request = 0;  // the second argument: of ioctl the request
  std::array<char, 16> thread{};
};
// "forbidden system call openat (257) on thread 'vcpu 0'"; nothing if there was none.
std::optional<std::string> describe(const Violation& violation);

// The system call filters of all threads, as the kernel takes them.
class Jail {
 public:
  static Result<Jail> compile();

  // From here on a system call of this thread that its table lacks ends the process with SIGSYS,
  // and is recorded. `name` is the thread's in that record. Sets no_new_privs.
  Status confine_thread(Thread thread, const std::string& name) const;

  const std::vector<sock_filter>& program(Thread thread) const {
    return programs_[static_cast<std::size_t>(thread)];
  }

 private:
  std::array<std::vector<sock_filter>, kThreads> programs_;
};

struct ProcessLimits {
  std::uint64_t open_files = 2048;
  std::uint64_t file_size = 0;  // of the largest file that it may write
  // True: the current directory becomes the root directory. False: the process opens files that
  // are not known yet, as the supervisor does.
  bool change_root = true;
};

// Resource limits, no core dumps, another root directory, no capabilities and none to be had. What
// this user or kernel can't do is left out and comes back, one line each; an error is something
// that must never fail. `violation`, if not null, outlives the process's threads.
Result<std::vector<std::string>> confine_process(const ProcessLimits& limits, Violation* violation);

// Makes an empty directory that is nowhere the current directory: a root with nothing in it.
Status enter_empty_directory();

// Puts this process, with all its threads, into a cgroup v2 directory. What it touches afterwards
// is charged there, so before it maps a guest's memory.
Status join_cgroup(const std::filesystem::path& group);

// While a thread is here, a forbidden call of it is recorded and then fatal; part of
// confine_process().
Status record_violations(Violation* violation);

}  // namespace clonesafe::jail

#endif  // CLONESAFE_VMM_DEVICE_JAIL_JAIL_H_
