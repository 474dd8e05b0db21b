#ifndef CLONESAFE_VMM_DEVICE_JAIL_ALLOWED_CALLS_H_
#define CLONESAFE_VMM_DEVICE_JAIL_ALLOWED_CALLS_H_

#include <cstdint>
#include <span>

#include "vmm_device/jail/jail.h"

namespace clonesafe::jail {

// One way in which a system call is allowed; a call that none of a table's entries allows is
// forbidden.
struct AllowedCall {
  static constexpr int kAnyArguments = -1;
  // Stands for the id of the process that installs the filter; no process has it.
  static constexpr std::uint32_t kOwnProcess = 0x7fff'fffe;

  int number;
  // Which argument is looked at, and what it must be under the mask.
  int argument = kAnyArguments;
  std::uint32_t mask = 0;
  std::uint32_t value = 0;
};

// The tables of a thread are those of every thread and its own.
std::span<const AllowedCall> allowed_to_all();
std::span<const AllowedCall> allowed_to(Thread thread);

}  // namespace clonesafe::jail

#endif  // CLONESAFE_VMM_DEVICE_JAIL_ALLOWED_CALLS_H_
