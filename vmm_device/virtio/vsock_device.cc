#include "vmm_device/virtio/vsock_device.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "vmm_device/virtio/vsock_connection.h"
#include "vmm_device/virtio/vsock_host_end.h"

namespace clonesafe::virtio {
namespace {

namespace asio = boost::asio;
using SocketWaiter = asio::posix::stream_descriptor;

constexpr std::size_t kReceiveQueue = 0;  // towards the guest
constexpr std::size_t kTransmitQueue = 1;
constexpr std::size_t kEventQueue = 2;
constexpr std::array<std::uint16_t, 3> kQueueSizes = {256, 256, 64};

// Packets handled in one turn, in each direction.
constexpr int kTurn = 256;
// Resets that wait for the guest's buffers. When there are more, the guest's packets wait.
constexpr std::size_t kMaxResets = 256;
// Connections being opened that a snapshot tells of.
constexpr std::uint32_t kMaxSavedResets = 4096;
// Where Firecracker's host ports start, too.
constexpr std::uint32_t kFirstHostPort = 1u << 30;
// Linux, net/vmw_vsock: ports below this take CAP_NET_BIND_SERVICE to bind.
constexpr std::uint32_t kFirstUnprivilegedPort = 1024;

// Whether the guest may get packets (see the class comment of VsockDevice).
enum class Gate : std::uint8_t { kOpen = 0, kEventPending = 1, kEventDelivered = 2 };

struct Stream {
  Stream(asio::io_context& io, VsockKey key, VsockConnection::Origin origin,
         std::uint64_t guest_cid, int fd, std::uint32_t buffer_size)
      : socket(io, fd), connection(key, origin, guest_cid, fd, buffer_size) {}
  SocketWaiter socket;
  VsockConnection connection;
  bool waits_readable = false;
  bool waits_writable = false;
  bool waits_hangup = false;
  bool queued = false;  // in ready_
};
using StreamPointer = std::shared_ptr<Stream>;

VsockHeader reset_for(const VsockHeader& packet) {
  return {.source_cid = packet.destination_cid,
          .destination_cid = packet.source_cid,
          .source_port = packet.destination_port,
          .destination_port = packet.source_port,
          .type = packet.type,
          .operation = VsockOperation::kReset};
}

}  // namespace

// One lock for all of it: handlers run on the device thread, but a snapshot is saved from another.
// Order: this lock, then the transport's.
class VsockDevice::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& io, const VsockOptions& options)
      : io_(io), options_(options), guest_cid_(options.guest_cid), payload_(options.buffer_size) {}

  Status open() {
    if (options_.socket_path.empty()) return {};
    auto host_end =
        VsockHostEnd::open(io_, options_.socket_path, options_.max_connections,
                           [weak = weak_from_this()](UniqueFd stream, std::uint32_t port) {
                             if (const auto self = weak.lock())
                               self->host_connected(std::move(stream), port);
                           });
    if (!host_end) return fail(std::move(host_end).error());
    host_end_ = std::move(*host_end);
    return {};
  }

  void listen(std::uint32_t port, Acceptor acceptor, GuestPorts from) {
    const std::lock_guard lock(mutex_);
    acceptors_[port] = {std::move(acceptor), from};
  }
  std::uint64_t guest_cid() const {
    const std::lock_guard lock(mutex_);
    return guest_cid_;
  }
  std::size_t connection_count() const {
    const std::lock_guard lock(mutex_);
    return streams_.size() + draining_.size();
  }
  void attach(QueueHost& host) { host_ = &host; }

  void activated(Activation activation) {
    const std::lock_guard lock(mutex_);
    if (activation == Activation::kRestored && gate_ != Gate::kEventDelivered) {
      gate_ = Gate::kEventPending;
    }
  }

  void notified(std::size_t queue) {
    const std::lock_guard lock(mutex_);
    if (queue == kTransmitQueue) take_packets();
    give_packets();
  }

  // Streams that the guest hasn't heard of stay: the driver resets the device before it first uses
  // it, and a host program may have connected before that.
  void reset() {
    const std::lock_guard lock(mutex_);
    std::erase_if(streams_, [](const auto& entry) {
      const VsockConnection& connection = entry.second->connection;
      return connection.origin() == VsockConnection::Origin::kGuest || !connection.unanswered();
    });
    std::erase_if(ready_, [](const StreamPointer& stream) {
      return stream->connection.origin() == VsockConnection::Origin::kGuest ||
             !stream->connection.unanswered();
    });
    resets_.clear();
    saved_resets_.clear();
    transmit_stalled_ = false;
    gate_ = Gate::kOpen;
  }

  void save(StateEncoder& encoder) const {
    const std::lock_guard lock(mutex_);
    encoder.put(guest_cid_);
    encoder.put(next_host_port_);
    encoder.put(gate_);
    encoder.put(gate_index_);
    // What the guest still waits for: an answer to its request, or a reset that was on its way.
    std::vector<VsockHeader> waiting = saved_resets_;
    waiting.insert(waiting.end(), resets_.begin(), resets_.end());
    for (const auto& [key, stream] : streams_) {
      const VsockConnection& connection = stream->connection;
      if (connection.origin() == VsockConnection::Origin::kGuest && connection.unanswered()) {
        waiting.push_back({.source_cid = kVsockHostCid,
                           .destination_cid = connection.guest_cid(),
                           .source_port = key.host_port,
                           .destination_port = key.guest_port,
                           .type = kVsockTypeStream,
                           .operation = VsockOperation::kReset});
      }
    }
    waiting.resize(std::min<std::size_t>(waiting.size(), kMaxSavedResets));
    encoder.put(static_cast<std::uint32_t>(waiting.size()));
    for (const VsockHeader& header : waiting) encoder.put_struct(header);
  }

  Status restore(StateDecoder& decoder) {
    const std::lock_guard lock(mutex_);
    auto cid = decoder.get<std::uint64_t>();
    if (!cid) return fail(std::move(cid).error());
    auto port = decoder.get<std::uint32_t>();
    if (!port) return fail(std::move(port).error());
    auto gate = decoder.get<std::uint8_t>();
    if (!gate) return fail(std::move(gate).error());
    auto gate_index = decoder.get<std::uint16_t>();
    if (!gate_index) return fail(std::move(gate_index).error());
    auto count = decoder.get<std::uint32_t>();
    if (!count) return fail(std::move(count).error());
    if (*port < kFirstHostPort) return decoder.corrupt("vsock port " + std::to_string(*port));
    if (*gate > static_cast<std::uint8_t>(Gate::kEventDelivered)) {
      return decoder.corrupt("vsock gate " + std::to_string(*gate));
    }
    if (*count > kMaxSavedResets) return decoder.corrupt("too many vsock connections");
    for (std::uint32_t index = 0; index < *count; ++index) {
      auto header = decoder.get_struct<VsockHeader>();
      if (!header) return fail(std::move(header).error());
      // Nothing but what it is for goes to the guest, whatever the file says.
      header->length = 0;
      header->operation = VsockOperation::kReset;
      saved_resets_.push_back(*header);
    }
    saved_cid_ = *cid;
    if (guest_cid_ == 0) guest_cid_ = *cid;
    next_host_port_ = *port;
    gate_ = static_cast<Gate>(*gate);
    gate_index_ = *gate_index;
    return {};
  }

 private:
  // --- From the host. ---

  void host_connected(UniqueFd socket, std::uint32_t guest_port) {
    const std::lock_guard lock(mutex_);
    if (!make_room()) return;
    add_stream({.guest_port = guest_port, .host_port = new_host_port()},
               VsockConnection::Origin::kHost, guest_cid_, std::move(socket));
    give_packets();
  }

  std::uint32_t new_host_port() {
    while (true) {
      const std::uint32_t port = next_host_port_;
      next_host_port_ = port == ~std::uint32_t{0} ? kFirstHostPort : port + 1;
      const bool used = std::any_of(streams_.begin(), streams_.end(), [&](const auto& entry) {
        return entry.first.host_port == port;
      });
      if (!used) return port;
    }
  }

  void add_stream(VsockKey key, VsockConnection::Origin origin, std::uint64_t guest_cid,
                  UniqueFd socket, const VsockHeader* request = nullptr) {
    auto stream = std::make_shared<Stream>(io_, key, origin, guest_cid, socket.release(),
                                           options_.buffer_size);
    if (request != nullptr) stream->connection.take_credit(*request);
    streams_[key] = stream;
    settle(stream);
  }

  // Whether there is room for one stream more. One whose host end is closed, and whose guest's end
  // takes its time, gives way.
  bool make_room() {
    if (streams_.size() + draining_.size() < options_.max_connections) return true;
    const auto gone = std::find_if(streams_.begin(), streams_.end(), [](const auto& entry) {
      return entry.second->connection.host_gone() && entry.second->connection.established();
    });
    if (gone == streams_.end() || resets_.size() >= kMaxResets) return false;
    resets_.push_back({.source_cid = kVsockHostCid,
                       .destination_cid = gone->second->connection.guest_cid(),
                       .source_port = gone->first.host_port,
                       .destination_port = gone->first.guest_port,
                       .type = kVsockTypeStream,
                       .operation = VsockOperation::kReset});
    const StreamPointer stream = gone->second;
    stream->connection.abandon();
    settle(stream);
    return true;
  }

  // --- From the guest. ---

  void take_packets() {
    const QueueLease lease(host_);
    if (!lease) return;
    // First the gate, so that a packet is judged by what the driver knew when it sent it.
    pass_gate(lease);
    Queue& queue = lease.queue(kTransmitQueue);
    for (int packets = 0; packets < kTurn; ++packets) {
      // A guest that doesn't take its resets gets no more of them.
      if (resets_.size() >= kMaxResets) {
        transmit_stalled_ = true;
        return;
      }
      auto popped = queue.pop(chain_);
      if (!popped) return lease.fail(popped.error());
      if (!*popped) return;
      if (chain_.writable_size != 0) return lease.fail(Error("a packet to send is writable"));
      VsockHeader header;
      if (chain_.read(0, std::as_writable_bytes(std::span<VsockHeader, 1>(&header, 1)))) {
        take_packet(header);
      }
      queue.push(chain_, 0);
    }
    lease.again(kTransmitQueue);
  }

  void take_packet(const VsockHeader& header) {
    // In a clone with a new CID, what the guest sent before it learned of it bears the old one.
    const bool from_guest = header.source_cid == guest_cid_ ||
                            (gate_ != Gate::kOpen && header.source_cid == saved_cid_);
    const bool has_payload = header.operation == VsockOperation::kData;
    const bool whole = !has_payload || header.length <= chain_.readable_size - sizeof header;
    if (!from_guest || header.destination_cid != kVsockHostCid || header.type != kVsockTypeStream ||
        !whole) {
      return refuse(header);
    }
    const VsockKey key{.guest_port = header.source_port, .host_port = header.destination_port};
    const auto found = streams_.find(key);
    if (found == streams_.end()) {
      if (header.operation != VsockOperation::kRequest) return refuse(header);
      return guest_connects(key, header);
    }
    const StreamPointer stream = found->second;
    VsockConnection& connection = stream->connection;
    const std::size_t size = has_payload ? header.length : 0;
    if (size > payload_.size()) {
      connection.reset();
    } else {
      const auto payload = std::span(payload_).first(size);
      chain_.read(sizeof header, payload);
      connection.take_credit(header);
      connection.receive(header, payload);
    }
    settle(stream);
  }

  void refuse(const VsockHeader& packet) {
    // A reset is never answered by a reset.
    if (packet.operation == VsockOperation::kReset) return;
    if (gate_ == Gate::kOpen) {
      resets_.push_back(reset_for(packet));
    } else if (packet.operation == VsockOperation::kRequest &&
               saved_resets_.size() < kMaxSavedResets) {
      // Other packets need no answer behind the gate: the guest's driver resets all connections
      // that it knows. One that it only asks for isn't among them.
      saved_resets_.push_back(reset_for(packet));
    }
  }

  void guest_connects(VsockKey key, const VsockHeader& request) {
    if (!make_room()) return refuse(request);
    auto socket = host_stream(key);
    if (!socket) return refuse(request);
    add_stream(key, VsockConnection::Origin::kGuest, request.source_cid, std::move(*socket),
               &request);
  }

  // The device's socket to whoever serves this port.
  Result<UniqueFd> host_stream(const VsockKey& key) {
    const auto listener = acceptors_.find(key.host_port);
    if (listener == acceptors_.end()) {
      if (!host_end_) return fail("vsock: nobody listens on port " + std::to_string(key.host_port));
      return host_end_->connect(key.host_port);
    }
    const auto& [acceptor, from] = listener->second;
    if (from == GuestPorts::kPrivileged && key.guest_port >= kFirstUnprivilegedPort) {
      return fail("vsock: guest port " + std::to_string(key.guest_port) + " is not privileged");
    }
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      return fail_errno("vsock: socketpair");
    }
    UniqueFd ours(ends[0]);
    if (auto accepted = acceptor(UniqueFd(ends[1])); !accepted) {
      return fail(std::move(accepted).error());
    }
    return ours;
  }

  // --- To the guest. ---

  void give_packets() {
    const QueueLease lease(host_);
    if (!lease || !pass_gate(lease)) return;
    Queue& queue = lease.queue(kReceiveQueue);
    for (int packets = 0; !resets_.empty() || !ready_.empty(); ++packets) {
      if (packets == kTurn) return lease.again(kReceiveQueue);
      auto popped = queue.pop(chain_);
      if (!popped) return lease.fail(popped.error());
      if (!*popped) return;
      if (chain_.writable_size < sizeof(VsockHeader) || chain_.readable_size != 0) {
        return lease.fail(Error("a receive buffer without room for a packet's header"));
      }
      const std::uint32_t written = give_packet();
      if (written != 0) {
        queue.push(chain_, written);
      } else {
        queue.undo_pop();
      }
    }
    if (transmit_stalled_ && resets_.size() < kMaxResets / 2) {
      transmit_stalled_ = false;
      lease.again(kTransmitQueue);
    }
  }

  std::uint32_t give_packet() {
    if (!resets_.empty()) {
      const VsockHeader header = resets_.front();
      resets_.pop_front();
      chain_.write(std::as_bytes(std::span<const VsockHeader, 1>(&header, 1)));
      return sizeof header;
    }
    // In turn, one packet each.
    const StreamPointer stream = ready_.front();
    ready_.pop_front();
    stream->queued = false;
    const std::uint32_t written = stream->connection.fill(chain_);
    settle(stream);
    return written;
  }

  // Delivers the reset event of a restored device, and finds out when the driver has taken it: the
  // driver then gives the event's buffer back, and only then moves the index.
  bool pass_gate(const QueueLease& lease) {
    if (gate_ == Gate::kOpen) return true;
    Queue& events = lease.queue(kEventQueue);
    if (gate_ == Gate::kEventPending) {
      auto popped = events.pop(chain_);
      if (!popped) {
        lease.fail(popped.error());
        return false;
      }
      if (!*popped) return false;
      const std::uint32_t event = kVsockEventTransportReset;
      if (!chain_.write(std::as_bytes(std::span<const std::uint32_t, 1>(&event, 1)))) {
        lease.fail(Error("an event buffer without room for an event"));
        return false;
      }
      gate_index_ = events.available_index();
      events.push(chain_, sizeof event);
      gate_ = Gate::kEventDelivered;
      return false;
    }
    if (events.available_index() == gate_index_) return false;
    gate_ = Gate::kOpen;
    resets_.insert(resets_.end(), saved_resets_.begin(), saved_resets_.end());
    saved_resets_.clear();
    return true;
  }

  // --- Streams. ---

  // After anything happened to a stream: lets go of it, queues it, waits for what it wants.
  void settle(const StreamPointer& stream) {
    VsockConnection& connection = stream->connection;
    if (connection.finished()) {
      // Only if it is still this one: its ports may be in use again.
      const auto found = streams_.find(connection.key());
      if (found != streams_.end() && found->second == stream) streams_.erase(found);
      if (connection.wants_writable()) {
        draining_.insert(stream);
      } else {
        draining_.erase(stream);
        close(*stream);
        return;
      }
    }
    if (connection.host_gone()) close(*stream);
    if (connection.has_packet() && !stream->queued) {
      stream->queued = true;
      ready_.push_back(stream);
    }
    if (connection.wants_readable()) {
      wait(stream, SocketWaiter::wait_read, &Stream::waits_readable,
           [](VsockConnection& c) { c.readable(); });
    }
    if (connection.wants_writable()) {
      wait(stream, SocketWaiter::wait_write, &Stream::waits_writable,
           [](VsockConnection& c) { c.writable(); });
    }
    if (connection.wants_hangup()) {
      wait(stream, SocketWaiter::wait_error, &Stream::waits_hangup,
           [](VsockConnection& c) { c.hung_up(); });
    }
  }

  static void close(Stream& stream) {
    boost::system::error_code ignored;
    if (stream.socket.is_open()) stream.socket.close(ignored);
  }

  void wait(const StreamPointer& stream, SocketWaiter::wait_type what, bool Stream::* waits,
            void (*tell)(VsockConnection&)) {
    if ((*stream).*waits) return;
    (*stream).*waits = true;
    stream->socket.async_wait(
        what, [weak_self = weak_from_this(), weak_stream = std::weak_ptr(stream), waits,
               tell](const boost::system::error_code& error) {
          const auto self = weak_self.lock();
          const auto waited = weak_stream.lock();
          if (!self || !waited) return;
          const std::lock_guard lock(self->mutex_);
          (*waited).*waits = false;
          if (error) return;
          tell(waited->connection);
          self->settle(waited);
          self->give_packets();
        });
  }

  asio::io_context& io_;
  const VsockOptions options_;
  QueueHost* host_ = nullptr;

  mutable std::mutex mutex_;
  std::uint64_t guest_cid_;
  std::uint64_t saved_cid_ = 0;
  std::uint32_t next_host_port_ = kFirstHostPort;
  Gate gate_ = Gate::kOpen;
  std::uint16_t gate_index_ = 0;
  std::vector<VsockHeader> saved_resets_;  // for when the gate opens
  bool transmit_stalled_ = false;

  std::map<std::uint32_t, std::pair<Acceptor, GuestPorts>> acceptors_;
  std::map<VsockKey, StreamPointer> streams_;
  std::set<StreamPointer> draining_;  // unknown to the guest, with bytes for the host
  std::deque<StreamPointer> ready_;   // may have a packet for the guest
  std::deque<VsockHeader> resets_;    // for packets of no stream
  Chain chain_;
  std::vector<std::byte> payload_;
  // Last, so that it is gone before the rest.
  std::unique_ptr<VsockHostEnd> host_end_;
};

VsockDevice::VsockDevice(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
VsockDevice::~VsockDevice() = default;

Result<std::unique_ptr<VsockDevice>> VsockDevice::create(asio::io_context& device_thread,
                                                         const VsockOptions& options) {
  if (options.guest_cid != 0 &&
      (options.guest_cid <= kVsockHostCid || options.guest_cid >= std::uint64_t{0xffffffff})) {
    return fail("vsock: CID " + std::to_string(options.guest_cid) + " is not from 3 to 4294967294");
  }
  auto impl = std::make_shared<Impl>(device_thread, options);
  if (auto opened = impl->open(); !opened) return fail(std::move(opened).error());
  return std::unique_ptr<VsockDevice>(new VsockDevice(std::move(impl)));
}

void VsockDevice::listen(std::uint32_t port, Acceptor acceptor, GuestPorts from) {
  impl_->listen(port, std::move(acceptor), from);
}
std::uint64_t VsockDevice::guest_cid() const {
  return impl_->guest_cid();
}
std::size_t VsockDevice::connection_count() const {
  return impl_->connection_count();
}
std::span<const std::uint16_t> VsockDevice::queue_sizes() const {
  return kQueueSizes;
}

void VsockDevice::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  const std::uint64_t cid = impl_->guest_cid();
  if (offset >= sizeof cid || data.size() > sizeof cid - offset) return;
  std::memcpy(data.data(), reinterpret_cast<const std::byte*>(&cid) + offset, data.size());
}

void VsockDevice::attach(QueueHost& host) {
  impl_->attach(host);
}
void VsockDevice::activated(Activation activation) {
  impl_->activated(activation);
}
void VsockDevice::notified(std::size_t queue) {
  impl_->notified(queue);
}
void VsockDevice::reset() {
  impl_->reset();
}
void VsockDevice::save(StateEncoder& encoder) const {
  impl_->save(encoder);
}
Status VsockDevice::restore(StateDecoder& decoder) {
  return impl_->restore(decoder);
}

}  // namespace clonesafe::virtio
