#ifndef CLONESAFE_VMM_DEVICE_JAIL_ALLOWED_CALLS_H_
#define CLONESAFE_VMM_DEVICE_JAIL_ALLOWED_CALLS_H_

#include <span>

#include "vmm_device/jail/filter.h"
#include "vmm_device/jail/jail.h"

namespace clonesafe::jail {

// The tables of a thread are those of every thread and its own.
std::span<const AllowedCall> allowed_to_all();
std::span<const AllowedCall> allowed_to(Thread thread);

}  // namespace clonesafe::jail

#endif  // CLONESAFE_VMM_DEVICE_JAIL_ALLOWED_CALLS_H_
