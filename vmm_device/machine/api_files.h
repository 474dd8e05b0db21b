// Private to the two ends of the control socket: file descriptors that go along (SCM_RIGHTS).
#ifndef CLONESAFE_VMM_DEVICE_MACHINE_API_FILES_H_
#define CLONESAFE_VMM_DEVICE_MACHINE_API_FILES_H_

#include <sys/types.h>

#include <span>
#include <string_view>

#include "vmm_device/machine/api_request.h"

namespace clonesafe {

// As much as one send(2) takes. `most` is kApiFilesMax for a request, kApiReplyFilesMax for a
// reply: more descriptors are an error. `flags` are those of sendmsg(2).
ssize_t send_with_files(int socket, std::string_view bytes, std::span<const int> files,
                        std::size_t most, int flags);

// One receive; descriptors that come with it are added to `files`. The kernel closes those of a
// message that are over `most`.
ssize_t receive_with_files(int socket, std::span<char> to, ApiFiles& files, std::size_t most,
                           int flags);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_MACHINE_API_FILES_H_
