#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_STREAMS_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_STREAMS_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/virtio/vsock_connection.h"

namespace clonesafe::virtio {

// One connection with its socket, and what it waits for there.
struct VsockStream {
  VsockStream(boost::asio::io_context& io, VsockKey key, VsockConnection::Origin origin,
              std::uint64_t guest_cid, int fd, std::uint32_t buffer_size)
      : socket(io, fd), connection(key, origin, guest_cid, fd, buffer_size) {}

  boost::asio::posix::stream_descriptor socket;
  VsockConnection connection;
  bool waits_readable = false;
  bool waits_writable = false;
  bool waits_hangup = false;
  bool queued = false;  // for the guest
};
using VsockStreamPointer = std::shared_ptr<VsockStream>;

// The streams of a vsock device: which there are, which may have a packet for the guest, and that
// each waits for its socket. Not thread-safe: the device locks.
class VsockStreams {
 public:
  // What a stream waits for, and what its connection is told then.
  struct Wait {
    bool VsockStream::* waits;
    void (*tell)(VsockConnection&);
  };
  class Observer {
   public:
    virtual ~Observer() = default;
    // A stream's wait is over, on the device thread, without the device's lock. The device takes it
    // and calls end_wait().
    virtual void wait_over(const VsockStreamPointer& stream, Wait wait, bool ready) = 0;
  };

  VsockStreams(boost::asio::io_context& io, std::uint32_t buffer_size)
      : io_(io), buffer_size_(buffer_size) {}
  void observe(std::weak_ptr<Observer> observer) { observer_ = std::move(observer); }

  // With those that are being drained.
  std::size_t count() const { return streams_.size() + draining_.size(); }
  // Null if there is none.
  VsockStreamPointer find(VsockKey key) const;
  // One whose host end is closed, and whose guest takes its time; null if there is none.
  VsockStreamPointer find_gone() const;
  // Those that the guest asked for, and has no answer to.
  std::vector<VsockStreamPointer> asked_by_guest() const;

  // A port of the host's that no stream has. Given out in turn, also over snapshots.
  std::uint32_t new_host_port();
  std::uint32_t next_host_port() const { return next_host_port_; }
  // False if it can't be one.
  bool set_next_host_port(std::uint32_t port);

  // `request` is the guest's, if it was the guest that asked.
  void add(VsockKey key, VsockConnection::Origin origin, std::uint64_t guest_cid, UniqueFd socket,
           const VsockHeader* request = nullptr);
  // After anything happened to a stream: lets go of it, queues it, waits for what it wants.
  void settle(const VsockStreamPointer& stream);
  void end_wait(const VsockStreamPointer& stream, Wait wait, bool ready);

  bool any_queued() const { return !queue_.empty(); }
  // The stream whose turn it is.
  const VsockConnection& next_queued() const { return queue_.front()->connection; }
  VsockStreamPointer take_queued();

  // Forgets all that the guest has heard of.
  void reset();

 private:
  // Where Firecracker's host ports start, too.
  static constexpr std::uint32_t kFirstHostPort = 1u << 30;

  using Socket = boost::asio::posix::stream_descriptor;
  void start_wait(const VsockStreamPointer& stream, Socket::wait_type what, Wait wait);

  boost::asio::io_context& io_;
  const std::uint32_t buffer_size_;
  std::weak_ptr<Observer> observer_;
  std::uint32_t next_host_port_ = kFirstHostPort;
  std::map<VsockKey, VsockStreamPointer> streams_;
  std::set<VsockStreamPointer> draining_;  // unknown to the guest, with bytes for the host
  std::deque<VsockStreamPointer> queue_;   // may have a packet for the guest
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_STREAMS_H_
