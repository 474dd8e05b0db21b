#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_DEVICE_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_DEVICE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/virtio/device.h"

namespace boost::asio {
class io_context;
}

namespace clonesafe::virtio {

struct VsockOptions {
  // 3 or more. 0 for a device that is to be restored: the CID of the snapshot.
  std::uint64_t guest_cid = 0;
  // The Unix socket of the host end; empty for none.
  std::string socket_path;
  // Streams at one time, those included that are being drained; and the bytes that the device keeps
  // for each when its host end does not read. Together they bound the device's memory.
  std::size_t max_connections = 512;
  std::uint32_t buffer_size = 256 * 1024;
  // How long a guest has to answer a host program that connects. It may never: Linux drops what
  // comes before its driver is all there.
  std::chrono::milliseconds request_timeout{10'000};
  // Nobody is connected by these until release(): the host's ports that the guest asks for, the
  // guest's that host programs ask for. Not those that the VMM serves itself.
  std::set<std::uint32_t> held_ports = {};
};

// What a vsock device did since it was made, and has now.
struct VsockCounts {
  std::uint64_t streams = 0;  // now, those included that are being drained
  std::uint64_t refused = 0;  // streams that the guest asked for: nobody listens, or no room
  std::uint64_t held = 0;     // that waited for held ports
};

// The socket device (virtio 1.2, 5.10), streams only; docs/protocols/vsock.md is what users see.
//
// A snapshot keeps no connection: those of the source stay with the source. A restored device gives
// the guest a TRANSPORT_RESET event as soon as it runs, and nothing else until the guest's driver
// has taken it; what the guest sends meanwhile is handled as ever, and connections that it asks for
// are answered then. Connections that were being opened at the snapshot are reset then too, so that
// no program waits for an answer that went to another clone. Ports of the host end are never given
// out twice in a line of snapshots until they wrap.
class VsockDevice final : public VirtioDevice {
 public:
  // Serves one stream: a non-blocking stream socket, whose other end is the guest's. An error
  // refuses the connection. Called on the device thread; must not call the device.
  using Acceptor = std::function<Status(UniqueFd stream)>;

  static Result<std::unique_ptr<VsockDevice>> create(boost::asio::io_context& device_thread,
                                                     const VsockOptions& options);
  ~VsockDevice() override;

  // Which of the guest's own ports may connect. Linux lets only CAP_NET_BIND_SERVICE bind those
  // below 1024, so kPrivileged keeps the guest's ordinary programs out.
  enum class GuestPorts { kAny, kPrivileged };

  // Serves the host's port inside the VMM; it then takes precedence over `<path>_<port>`. On any
  // thread, before the guest uses it.
  void listen(std::uint32_t port, Acceptor acceptor, GuestPorts from = GuestPorts::kAny);

  // Those who wait for held ports are connected now, in their order. On the device thread.
  void release();
  std::uint64_t guest_cid() const;
  VsockCounts counts() const;

  std::uint32_t id() const override { return kDeviceIdVsock; }
  std::span<const std::uint16_t> queue_sizes() const override;
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;
  void attach(QueueHost& host) override;
  void activated(Activation activation) override;
  void notified(std::size_t queue) override;
  void reset() override;
  void save(StateEncoder& encoder) const override;
  Status restore(StateDecoder& decoder) override;

 private:
  class Impl;
  explicit VsockDevice(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_DEVICE_H_
