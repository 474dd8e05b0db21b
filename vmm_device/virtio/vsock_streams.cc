#include "vmm_device/virtio/vsock_streams.h"

#include <algorithm>

namespace clonesafe::virtio {
namespace {

void close(VsockStream& stream) {
  boost::system::error_code ignored;
  if (stream.socket.is_open()) (void)stream.socket.close(ignored);
}

bool known_to_guest(const VsockStream& stream) {
  const VsockConnection& connection = stream.connection;
  return connection.origin() == VsockConnection::Origin::kGuest || !connection.unanswered();
}

}  // namespace

VsockStreamPointer VsockStreams::find(VsockKey key) const {
  const auto found = streams_.find(key);
  return found == streams_.end() ? nullptr : found->second;
}

VsockStreamPointer VsockStreams::find_gone() const {
  const auto gone = std::find_if(streams_.begin(), streams_.end(), [](const auto& entry) {
    return entry.second->connection.host_gone() && entry.second->connection.established();
  });
  return gone == streams_.end() ? nullptr : gone->second;
}

std::vector<VsockStreamPointer> VsockStreams::asked_by_guest() const {
  std::vector<VsockStreamPointer> asked;
  for (const auto& [key, stream] : streams_) {
    const VsockConnection& connection = stream->connection;
    if (connection.origin() == VsockConnection::Origin::kGuest && connection.unanswered()) {
      asked.push_back(stream);
    }
  }
  return asked;
}

std::uint32_t VsockStreams::new_host_port() {
  while (true) {
    const std::uint32_t port = next_host_port_;
    next_host_port_ = port == ~std::uint32_t{0} ? kFirstHostPort : port + 1;
    const bool used = std::any_of(streams_.begin(), streams_.end(),
                                  [&](const auto& entry) { return entry.first.host_port == port; });
    if (!used) return port;
  }
}

bool VsockStreams::set_next_host_port(std::uint32_t port) {
  if (port < kFirstHostPort) return false;
  next_host_port_ = port;
  return true;
}

void VsockStreams::add(VsockKey key, VsockConnection::Origin origin, std::uint64_t guest_cid,
                       UniqueFd socket, const VsockHeader* request) {
  auto stream =
      std::make_shared<VsockStream>(io_, key, origin, guest_cid, socket.release(), buffer_size_);
  if (request != nullptr) stream->connection.take_credit(*request);
  streams_[key] = stream;
  settle(stream);
}

void VsockStreams::settle(const VsockStreamPointer& stream) {
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
    queue_.push_back(stream);
  }
  if (connection.wants_readable()) {
    start_wait(stream, Socket::wait_read,
               {&VsockStream::waits_readable, [](VsockConnection& c) { c.readable(); }});
  }
  if (connection.wants_writable()) {
    start_wait(stream, Socket::wait_write,
               {&VsockStream::waits_writable, [](VsockConnection& c) { c.writable(); }});
  }
  if (connection.wants_hangup()) {
    start_wait(stream, Socket::wait_error,
               {&VsockStream::waits_hangup, [](VsockConnection& c) { c.hung_up(); }});
  }
}

void VsockStreams::start_wait(const VsockStreamPointer& stream, Socket::wait_type what, Wait wait) {
  if ((*stream).*wait.waits) return;
  (*stream).*wait.waits = true;
  stream->socket.async_wait(what, [weak_observer = observer_, weak_stream = std::weak_ptr(stream),
                                   wait](const boost::system::error_code& error) {
    const auto observer = weak_observer.lock();
    const auto waited = weak_stream.lock();
    if (observer && waited) observer->wait_over(waited, wait, !error);
  });
}

void VsockStreams::end_wait(const VsockStreamPointer& stream, Wait wait, bool ready) {
  (*stream).*wait.waits = false;
  if (!ready) return;
  wait.tell(stream->connection);
  settle(stream);
}

VsockStreamPointer VsockStreams::take_queued() {
  VsockStreamPointer stream = queue_.front();
  queue_.pop_front();
  stream->queued = false;
  return stream;
}

void VsockStreams::reset() {
  std::erase_if(streams_, [](const auto& entry) { return known_to_guest(*entry.second); });
  std::erase_if(queue_, [](const VsockStreamPointer& stream) { return known_to_guest(*stream); });
}

}  // namespace clonesafe::virtio
