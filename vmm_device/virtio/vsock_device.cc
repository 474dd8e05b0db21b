#include "vmm_device/virtio/vsock_device.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <deque>
#include <iterator>
#include <map>
#include <mutex>
#include <vector>

#include "vmm_device/core/line_limit.h"
#include "vmm_device/virtio/vsock_connection.h"
#include "vmm_device/virtio/vsock_gate.h"
#include "vmm_device/virtio/vsock_held.h"
#include "vmm_device/virtio/vsock_host_end.h"
#include "vmm_device/virtio/vsock_streams.h"

namespace clonesafe::virtio {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kReceiveQueue = 0;  // towards the guest
constexpr std::size_t kTransmitQueue = 1;
constexpr std::size_t kEventQueue = 2;
constexpr std::array<std::uint16_t, 3> kQueueSizes = {256, 256, 64};

// Packets handled in one turn, in each direction.
constexpr std::size_t kTurn = 256;
// Resets that wait for the guest's buffers. When there are more, the guest's packets wait.
constexpr std::size_t kMaxResets = 256;
// Linux, net/vmw_vsock: ports below this take CAP_NET_BIND_SERVICE to bind.
constexpr std::uint32_t kFirstUnprivilegedPort = 1024;

VsockHeader reset_for(const VsockHeader& packet) {
  return {.source_cid = packet.destination_cid,
          .destination_cid = packet.source_cid,
          .source_port = packet.destination_port,
          .destination_port = packet.source_port,
          .type = packet.type,
          .operation = VsockOperation::kReset};
}

VsockHeader reset_for(const VsockConnection& connection) {
  return {.source_cid = kVsockHostCid,
          .destination_cid = connection.guest_cid(),
          .source_port = connection.key().host_port,
          .destination_port = connection.key().guest_port,
          .type = kVsockTypeStream,
          .operation = VsockOperation::kReset};
}

}  // namespace

// One lock for all of it: handlers run on the device thread, but a snapshot is saved from another.
// Order: this lock, then the transport's.
class VsockDevice::Impl : public VsockStreams::Observer, public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& io, const VsockOptions& options)
      : io_(io),
        options_(options),
        guest_cid_(options.guest_cid),
        held_(options.held_ports),
        streams_(io, options.buffer_size),
        payload_(options.buffer_size) {}

  Status open() {
    streams_.observe(weak_from_this());
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
  VsockCounts counts() const {
    const std::lock_guard lock(mutex_);
    return {.streams = streams_.count(), .refused = refused_, .held = held_.count()};
  }
  void attach(QueueHost& host) { host_ = &host; }

  void release() {
    const std::lock_guard lock(mutex_);
    for (HeldStream& stream : held_.release()) {
      if (stream.socket) {
        add_host_stream(std::move(stream.socket), stream.key.guest_port);
      } else {
        guest_connects(stream.key, stream.request);
      }
    }
    give_packets();
  }

  void activated(Activation activation) {
    const std::lock_guard lock(mutex_);
    if (activation == Activation::kRestored) gate_.close();
  }

  void notified(std::size_t queue) {
    const std::lock_guard lock(mutex_);
    // One lease for both directions, so that the guest is interrupted once.
    const QueueLease lease(host_);
    if (!lease) return;
    if (queue == kTransmitQueue && !take_packets(lease)) return;
    give_packets(lease);
  }

  // Streams that the guest hasn't heard of stay: the driver resets the device before it first uses
  // it, and a host program may have connected before that.
  void reset() {
    const std::lock_guard lock(mutex_);
    streams_.reset();
    held_.reset();
    resets_.clear();
    transmit_stalled_ = false;
    gate_.reset();
  }

  void save(StateEncoder& encoder) const {
    const std::lock_guard lock(mutex_);
    encoder.put(guest_cid_);
    encoder.put(streams_.next_host_port());
    // What the guest still waits for: an answer to its request, or a reset that was on its way.
    std::vector<VsockHeader> waiting(resets_.begin(), resets_.end());
    for (const auto& stream : streams_.asked_by_guest()) {
      waiting.push_back(reset_for(stream->connection));
    }
    for (const VsockHeader& request : held_.requests()) waiting.push_back(reset_for(request));
    gate_.save(encoder, waiting);
  }

  Status restore(StateDecoder& decoder) {
    const std::lock_guard lock(mutex_);
    auto cid = decoder.get<std::uint64_t>();
    if (!cid) return fail(std::move(cid).error());
    auto port = decoder.get<std::uint32_t>();
    if (!port) return fail(std::move(port).error());
    if (!streams_.set_next_host_port(*port)) {
      return decoder.corrupt("vsock port " + std::to_string(*port));
    }
    if (auto restored = gate_.restore(decoder); !restored) return restored;
    saved_cid_ = *cid;
    if (guest_cid_ == 0) guest_cid_ = *cid;
    return {};
  }

  void wait_over(const VsockStreamPointer& stream, VsockStreams::Wait wait, bool ready) override {
    const std::lock_guard lock(mutex_);
    streams_.end_wait(stream, wait, ready);
    if (ready) give_packets();
  }

 private:
  // --- From the host. ---

  void host_connected(UniqueFd socket, std::uint32_t guest_port) {
    const std::lock_guard lock(mutex_);
    if (held_.holds(guest_port)) {
      // Without room it is refused, as ever.
      if (make_room()) held_.add({.key = {.guest_port = guest_port}, .socket = std::move(socket)});
      return;
    }
    add_host_stream(std::move(socket), guest_port);
    give_packets();
  }

  void add_host_stream(UniqueFd socket, std::uint32_t guest_port) {
    if (!make_room()) return;
    streams_.add({.guest_port = guest_port, .host_port = streams_.new_host_port()},
                 VsockConnection::Origin::kHost, guest_cid_, std::move(socket));
  }

  // Whether there is room for one stream more. One whose host end is closed, and whose guest's end
  // takes its time, gives way.
  bool make_room() {
    if (streams_.count() + held_.waiting() < options_.max_connections) return true;
    const VsockStreamPointer stream = streams_.find_gone();
    return stream && give_up(stream);
  }

  // Closes the host's end now, whenever the guest takes its reset. False if it takes none.
  bool give_up(const VsockStreamPointer& stream) {
    if (resets_.size() >= kMaxResets) return false;
    resets_.push_back(reset_for(stream->connection));
    stream->connection.abandon();
    streams_.settle(stream);
    return true;
  }

  // The guest has been asked, and has so long to answer.
  void limit_request(const VsockStreamPointer& stream) {
    auto timer = std::make_shared<asio::steady_timer>(io_, options_.request_timeout);
    timer->async_wait([weak = weak_from_this(), asked = std::weak_ptr(stream),
                       timer](const boost::system::error_code& error) {
      const auto self = weak.lock();
      const auto late = asked.lock();
      if (!self || !late || error) return;
      const std::lock_guard lock(self->mutex_);
      if (late->connection.established() || late->connection.finished()) return;
      self->give_up(late);
      self->give_packets();
    });
  }

  // --- From the guest. ---

  // False: the device failed.
  bool take_packets(const QueueLease& lease) {
    const auto failed = [&](const Error& error) {
      lease.fail(error);
      return false;
    };
    // First the gate, so that a packet is judged by what the driver knew when it sent it.
    const auto passed = pass_gate(lease);
    if (!passed) return failed(passed.error());
    Queue& queue = lease.queue(kTransmitQueue);
    queue.set_notifications(false);
    for (std::size_t packets = 0; packets < kTurn; ++packets) {
      // A guest that doesn't take its resets gets no more of them.
      if (resets_.size() >= kMaxResets) {
        transmit_stalled_ = true;
        return true;
      }
      auto popped = pop_or_ask(queue, chain_);
      if (!popped) return failed(popped.error());
      if (!*popped) return true;
      if (chain_.writable_size != 0) return failed(Error("a packet to send is writable"));
      VsockHeader header;
      if (chain_.read(0, std::as_writable_bytes(std::span<VsockHeader, 1>(&header, 1)))) {
        take_packet(header);
      }
      queue.push(chain_, 0);
    }
    lease.again(kTransmitQueue);
    return true;
  }

  // The next chain; before there is none the driver is asked to tell of more, and looked at again.
  static Result<bool> pop_or_ask(Queue& queue, Chain& chain) {
    auto popped = queue.pop(chain);
    if (!popped || *popped) return popped;
    queue.set_notifications(true);
    popped = queue.pop(chain);
    if (popped && *popped) queue.set_notifications(false);
    return popped;
  }

  void take_packet(const VsockHeader& header) {
    // In a clone with a new CID, what the guest sent before it learned of it bears the old one.
    const bool from_guest =
        header.source_cid == guest_cid_ || (!gate_.is_open() && header.source_cid == saved_cid_);
    const bool has_payload = header.operation == VsockOperation::kData;
    const bool whole = !has_payload || header.length <= chain_.readable_size - sizeof header;
    if (!from_guest || header.destination_cid != kVsockHostCid || header.type != kVsockTypeStream ||
        !whole) {
      return refuse(header);
    }
    const VsockKey key{.guest_port = header.source_port, .host_port = header.destination_port};
    const VsockStreamPointer stream = streams_.find(key);
    if (!stream) {
      // It gave up waiting, or asks anew.
      held_.forget(key);
      if (header.operation != VsockOperation::kRequest) return refuse(header);
      return guest_connects(key, header);
    }
    VsockConnection& connection = stream->connection;
    const std::size_t size = has_payload ? header.length : 0;
    if (size > payload_.size()) {
      connection.reset();
    } else {
      connection.take_credit(header);
      connection.receive(header, payload_of(static_cast<std::uint32_t>(size)));
    }
    streams_.settle(stream);
  }

  // What follows the header. Linux has it in one piece, which is not copied.
  std::span<const std::byte> payload_of(std::uint32_t size) {
    const auto piece = chain_.piece(sizeof(VsockHeader), size);
    if (piece.size() == size) return piece;
    const auto copy = std::span(payload_).first(size);
    chain_.read(sizeof(VsockHeader), copy);
    return copy;
  }

  void refuse(const VsockHeader& packet) {
    // A reset is never answered by a reset.
    if (packet.operation == VsockOperation::kReset) return;
    if (gate_.is_open()) {
      resets_.push_back(reset_for(packet));
    } else if (packet.operation == VsockOperation::kRequest) {
      // Other packets need no answer behind the gate: the guest's driver resets all connections
      // that it knows. One that it only asks for isn't among them.
      gate_.hold(reset_for(packet));
    }
  }

  // The guest sees a reset, which doesn't say why.
  void refuse_stream(const VsockHeader& request, const Error& why) {
    ++refused_;
    if (const auto more = lines_.pass())
      spdlog::warn("vsock: the guest's port {} was refused port {}: {}{}", request.source_port,
                   request.destination_port, why.message(), *more);
    refuse(request);
  }

  void guest_connects(VsockKey key, const VsockHeader& request) {
    if (!make_room()) return refuse_stream(request, Error("too many streams"));
    if (held_.holds(key.host_port) && !acceptors_.contains(key.host_port)) {
      held_.add({.key = key, .request = request});
      return;
    }
    auto socket = host_stream(key);
    if (!socket) return refuse_stream(request, socket.error());
    streams_.add(key, VsockConnection::Origin::kGuest, request.source_cid, std::move(*socket),
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
    if (lease) give_packets(lease);
  }

  void give_packets(const QueueLease& lease) {
    const auto passed = pass_gate(lease);
    if (!passed) return lease.fail(passed.error());
    if (!*passed) return;
    Queue& queue = lease.queue(kReceiveQueue);
    // Buffers are wanted only when there are none.
    queue.set_notifications(false);
    for (std::size_t packets = 0; !resets_.empty() || streams_.any_queued();) {
      if (packets >= kTurn) return lease.again(kReceiveQueue);
      const auto popped = pop_buffers(queue);
      if (!popped) return lease.fail(popped.error());
      if (popped->empty()) return;
      const auto written = give_packets(*popped);
      for (std::size_t unused = written.size(); unused < popped->size(); ++unused) queue.undo_pop();
      for (std::size_t index = 0; index < written.size(); ++index)
        queue.push((*popped)[index], written[index]);
      packets += std::max<std::size_t>(written.size(), 1);
    }
    if (transmit_stalled_ && resets_.size() < kMaxResets / 2) {
      transmit_stalled_ = false;
      lease.again(kTransmitQueue);
    }
  }

  // What the next packets may need: one chain, or for data several, as far as there are.
  Result<std::span<const Chain>> pop_buffers(Queue& queue) {
    const bool data = resets_.empty() && streams_.next_queued().gives_data();
    const std::size_t wanted = data ? streams_.next_queued().chains_wanted() : 1;
    std::size_t count = 0;
    for (; count < wanted; ++count) {
      Chain& chain = buffers_[count];
      const auto popped = count == 0 ? pop_or_ask(queue, chain) : queue.pop(chain);
      if (!popped) return fail(popped.error());
      if (!*popped) break;
      if (chain.writable_size < sizeof(VsockHeader) || chain.readable_size != 0)
        return fail("a receive buffer without room for a packet's header");
    }
    return std::span<const Chain>(buffers_).first(count);
  }

  // The bytes of each packet, in the first of the chains.
  std::vector<std::uint32_t> give_packets(std::span<const Chain> chains) {
    if (!resets_.empty()) {
      const VsockHeader header = resets_.front();
      resets_.pop_front();
      chains.front().write(std::as_bytes(std::span<const VsockHeader, 1>(&header, 1)));
      return {sizeof header};
    }
    // In turn, one packet each, or what one read of the host's end gives.
    const VsockStreamPointer stream = streams_.take_queued();
    VsockConnection& connection = stream->connection;
    const bool asks =
        connection.unanswered() && connection.origin() == VsockConnection::Origin::kHost;
    std::vector<std::uint32_t> written;
    if (connection.gives_data()) written = connection.fill_data(chains);
    if (written.empty()) {
      if (const std::uint32_t size = connection.fill(chains.front()); size != 0)
        written.push_back(size);
    }
    if (asks && !connection.unanswered()) limit_request(stream);
    streams_.settle(stream);
    return written;
  }

  Result<bool> pass_gate(const QueueLease& lease) {
    if (gate_.is_open()) return true;
    auto passed = gate_.pass(lease.queue(kEventQueue), chain_);
    if (passed && *passed) std::ranges::copy(gate_.take_held(), std::back_inserter(resets_));
    return passed;
  }

  asio::io_context& io_;
  const VsockOptions options_;
  QueueHost* host_ = nullptr;

  mutable std::mutex mutex_;
  std::uint64_t guest_cid_;
  std::uint64_t saved_cid_ = 0;
  VsockGate gate_;
  bool transmit_stalled_ = false;
  std::uint64_t refused_ = 0;
  LineLimit lines_;

  std::map<std::uint32_t, std::pair<Acceptor, GuestPorts>> acceptors_;
  HeldStreams held_;
  VsockStreams streams_;
  std::deque<VsockHeader> resets_;  // for packets of no stream
  Chain chain_;
  std::vector<Chain> buffers_{VsockConnection::kMaxChains};
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
void VsockDevice::release() {
  impl_->release();
}
std::uint64_t VsockDevice::guest_cid() const {
  return impl_->guest_cid();
}
VsockCounts VsockDevice::counts() const {
  return impl_->counts();
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
