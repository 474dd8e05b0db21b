// Private to the two ends of the control socket: file descriptors that go along (SCM_RIGHTS).
#ifndef CLONESAFE_VMM_DEVICE_MACHINE_API_FILES_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_API_FILES_H_

#include <sys/types.h>

#include <span>
#include <string_view>

#include "vmm_device/machine/api_request.h"

namespace clonesafe {

// As much as one send(2) takes, with at most kApiFilesMax descriptors. `flags` are those of
// sendmsg(2).
ssize_t send_with_files(int socket, std::string_view bytes, std::span<const int> files, int flags);

// One receive; descriptors that come with it are added to `files`. The kernel closes those of a
// message that are over kApiFilesMax.
ssize_t receive_with_files(int socket, std::span<char> to, ApiFiles& files, int flags);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_API_FILES_H_
