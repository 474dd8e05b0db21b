// Private to jail.cc and violation.cc.
#ifndef CLONESAFE_VMM_DEVICE_JAIL_THREAD_NAME_H_
#define CLONESAFE_VMM_DEVICE_JAIL_THREAD_NAME_H_

#include <string>

namespace clonesafe::jail {

// What this thread is called in the record of a forbidden call: at most 15 bytes of it.
void set_thread_name(const std::string& name);

}  // namespace clonesafe::jail

#endif  // CLONESAFE_VMM_DEVICE_JAIL_THREAD_NAME_H_
