#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_HOST_END_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_HOST_END_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::virtio {

// The Unix sockets by which host programs reach the guest and are reached by it, as Firecracker's
// users know them (docs/protocols/vsock.md). All work is done on the device thread.
class VsockHostEnd {
 public:
  // A host program connected to the socket and asked for this port of the guest. The stream is
  // non-blocking; nothing but the request was read from it.
  using OnConnect = std::function<void(UniqueFd stream, std::uint32_t guest_port)>;

  // Makes the socket `path` (mode 0600), which must not exist. At most `max_waiting` host programs
  // may have connected and not asked yet.
  static Result<std::unique_ptr<VsockHostEnd>> open(boost::asio::io_context& device_thread,
                                                    const std::string& path,
                                                    std::size_t max_waiting, OnConnect on_connect);
  VsockHostEnd(const VsockHostEnd&) = delete;
  VsockHostEnd& operator=(const VsockHostEnd&) = delete;
  // Removes the socket.
  ~VsockHostEnd();

  // Connects to the host program that listens on `<path>_<port>`.
  Result<UniqueFd> connect(std::uint32_t port) const;

 private:
  class Listener;
  VsockHostEnd(std::string path, std::shared_ptr<Listener> listener);

  std::string path_;
  std::shared_ptr<Listener> listener_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_HOST_END_H_
