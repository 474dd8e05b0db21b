#ifndef CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_CONNECTION_H_
#define CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_CONNECTION_H_

#include <sys/uio.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vmm_device/virtio/queue.h"
#include "vmm_device/virtio/vsock_packet.h"

namespace clonesafe::virtio {

struct VsockKey {
  std::uint32_t guest_port = 0;
  std::uint32_t host_port = 0;
  auto operator<=>(const VsockKey&) const = default;
};

// One stream between the guest and a non-blocking stream socket of the host, with the credit
// accounts of both directions (virtio 1.2, 5.10.6.3). It waits for nothing itself: it says what it
// wants to wait for, and is told when that happened. The socket stays its owner's.
//
// Data for the guest is read from the socket straight into the guest's buffer, only when there is
// one and the guest gave credit. Data from the guest that the socket does not take is kept, at most
// `buffer_size` bytes of it, which is the credit that the guest has.
class VsockConnection {
 public:
  enum class Origin { kGuest, kHost };
  // For as much as Linux puts in one packet of its own: its buffers have almost 4 KiB.
  static constexpr std::size_t kMaxChains = 20;

  VsockConnection(VsockKey key, Origin origin, std::uint64_t guest_cid, int socket,
                  std::uint32_t buffer_size);

  const VsockKey& key() const { return key_; }
  Origin origin() const { return origin_; }
  std::uint64_t guest_cid() const { return guest_cid_; }

  // A packet from the guest. `payload` is the whole of its data.
  void receive(const VsockHeader& header, std::span<const std::byte> payload);
  // The credit that the guest stated in its packet.
  void take_credit(const VsockHeader& header);

  // Whether there may be something for the guest.
  bool has_packet() const;
  // Puts the next packet into the chain, which has room for a header; the number of bytes written,
  // 0 if it turned out that there is nothing.
  std::uint32_t fill(const Chain& chain);

  // Whether that packet is data, for which fill_data() takes several chains at once: this many are
  // worth it now.
  bool gives_data() const;
  std::size_t chains_wanted() const { return chains_wanted_; }
  // Puts data into the chains, a packet in each, from the first on; the bytes written in each of
  // those that have one now. None, if the socket had nothing: fill() says what there is instead.
  std::vector<std::uint32_t> fill_data(std::span<const Chain> chains);

  // What to wait for at the socket, and the news of it.
  bool wants_readable() const;
  bool wants_writable() const { return socket_ >= 0 && !buffer_empty(); }
  bool wants_hangup() const;
  void readable() { readable_ = true; }
  void writable();
  void hung_up();

  bool established() const { return state_ == State::kEstablished; }
  // The first packet, REQUEST or RESPONSE, hasn't gone to the guest yet.
  bool unanswered() const { return state_ == State::kNew; }
  // The host's end is closed, and only the guest's is left.
  bool host_gone() const { return host_gone_; }
  // The guest has seen its last packet: forget the connection, but first let what the guest sent
  // reach the socket (drain while wants_writable()).
  bool finished() const { return finished_; }
  void reset() { pending_ = kPendingReset; }
  // The guest no longer knows this connection.
  void abandon() { finished_ = true; }

 private:
  enum class State { kNew, kRequested, kEstablished };
  enum Pending : unsigned {
    kPendingReset = 1,
    kPendingShutdown = 2,
    kPendingCreditUpdate = 4,
    kPendingCreditRequest = 8,
  };

  VsockHeader header(VsockOperation operation) const;
  std::uint32_t put(const Chain& chain, VsockHeader header);
  std::size_t receive_from_host(std::span<iovec> parts);
  std::uint32_t guest_credit() const;
  void receive_data(std::span<const std::byte> payload);
  void receive_shutdown(std::uint32_t flags);
  std::size_t send(std::span<const std::byte> bytes);
  void forwarded(std::size_t count);
  void host_closed();
  void shut_host_writing();
  bool buffer_empty() const { return buffer_start_ == buffer_.size(); }
  bool reads_host() const;

  const VsockKey key_;
  const Origin origin_;
  const std::uint64_t guest_cid_;
  int socket_;
  const std::uint32_t buffer_size_;

  State state_ = State::kNew;
  unsigned pending_ = 0;
  std::uint32_t guest_shutdown_ = 0;
  std::uint32_t host_shutdown_ = 0;
  bool readable_ = false;
  bool host_gone_ = false;
  bool finished_ = false;
  bool credit_requested_ = false;

  // To the guest. All counters wrap at 2^32, as the packets' do.
  std::uint32_t guest_buffer_size_ = 0;
  std::uint32_t guest_forwarded_ = 0;
  std::uint32_t sent_ = 0;
  std::size_t chains_wanted_ = 1;

  // From the guest.
  std::uint32_t received_ = 0;
  std::uint32_t forwarded_ = 0;
  std::uint32_t forwarded_told_ = 0;
  std::vector<std::byte> buffer_;
  std::size_t buffer_start_ = 0;
};

}  // namespace clonesafe::virtio

#endif  // CLONESAFE_VMM_DEVICE_VIRTIO_VSOCK_CONNECTION_H_
