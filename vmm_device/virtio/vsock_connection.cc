#include "vmm_device/virtio/vsock_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace clonesafe::virtio {
namespace {

// As much as Linux puts in one packet of its own, and as many parts of a chain as are worth it.
constexpr std::size_t kMaxData = std::size_t{64} * 1024;
constexpr std::size_t kMaxParts = 64;

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

// Adds the bytes of a chain that data goes to, at most `size`; how many they are.
std::size_t add_data_parts(const Chain& chain, std::size_t size, std::vector<iovec>& parts) {
  std::size_t skip = sizeof(VsockHeader);
  std::size_t room = 0;
  for (auto part : chain.writable) {
    const std::size_t skipped = std::min(skip, part.size());
    skip -= skipped;
    part = part.subspan(skipped);
    part = part.first(std::min(size - room, part.size()));
    if (part.empty()) continue;
    if (parts.size() == kMaxParts) break;
    parts.push_back({.iov_base = part.data(), .iov_len = part.size()});
    room += part.size();
  }
  return room;
}

bool has_hung_up(int socket) {
  pollfd entry{.fd = socket, .events = 0, .revents = 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

VsockConnection::VsockConnection(VsockKey key, Origin origin, std::uint64_t guest_cid, int socket,
                                 std::uint32_t buffer_size)
    : key_(key),
      origin_(origin),
      guest_cid_(guest_cid),
      socket_(socket),
      buffer_size_(buffer_size) {}

void VsockConnection::take_credit(const VsockHeader& header) {
  guest_buffer_size_ = header.buffer_size;
  guest_forwarded_ = header.forwarded_count;
  if (guest_credit() > 0) credit_requested_ = false;
}

std::uint32_t VsockConnection::guest_credit() const {
  // A guest that acknowledges more than it got makes this difference huge: it gets nothing then.
  const std::uint32_t on_the_way = sent_ - guest_forwarded_;
  return on_the_way >= guest_buffer_size_ ? 0 : guest_buffer_size_ - on_the_way;
}

void VsockConnection::receive(const VsockHeader& header, std::span<const std::byte> payload) {
  if (finished_ || (pending_ & kPendingReset) != 0) {
    if (header.operation == VsockOperation::kReset) finished_ = true;
    return;
  }
  switch (header.operation) {
    case VsockOperation::kResponse: {
      if (origin_ != Origin::kHost || state_ != State::kRequested) return reset();
      state_ = State::kEstablished;
      // What Firecracker's users read before their stream starts.
      const std::string line = "OK " + std::to_string(key_.host_port) + "\n";
      if (send(std::as_bytes(std::span(line))) != line.size()) reset();
      return;
    }
    case VsockOperation::kReset:
      finished_ = true;
      return;
    case VsockOperation::kShutdown:
      return receive_shutdown(header.flags);
    case VsockOperation::kData:
      return receive_data(payload);
    case VsockOperation::kCreditUpdate:
      return;
    case VsockOperation::kCreditRequest:
      if (established()) pending_ |= kPendingCreditUpdate;
      return;
    default:
      return reset();
  }
}

void VsockConnection::receive_shutdown(std::uint32_t flags) {
  if (!established()) return reset();
  guest_shutdown_ |= flags & kVsockShutdownBoth;
  // 5.10.6.5: a peer that shut both directions waits for our RST. What it sent is still drained.
  if (guest_shutdown_ == kVsockShutdownBoth) return reset();
  if (socket_ < 0) return;
  if ((guest_shutdown_ & kVsockShutdownReceive) != 0) {
    readable_ = false;
    ::shutdown(socket_, SHUT_RD);
  }
  if ((guest_shutdown_ & kVsockShutdownSend) != 0 && buffer_empty()) shut_host_writing();
}

void VsockConnection::shut_host_writing() {
  // An error here is a host end that is gone, which reading or hang-up will tell.
  ::shutdown(socket_, SHUT_WR);
}

void VsockConnection::receive_data(std::span<const std::byte> payload) {
  if (!established() || (guest_shutdown_ & kVsockShutdownSend) != 0) return reset();
  // More than its credit: the guest's driver is broken or hostile.
  if (payload.size() > buffer_size_ - (received_ - forwarded_)) return reset();
  received_ += static_cast<std::uint32_t>(payload.size());
  std::size_t taken = 0;
  if (buffer_empty()) {
    taken = send(payload);
    forwarded(taken);
  }
  if ((host_shutdown_ & kVsockShutdownReceive) != 0) {
    // Nobody reads it any more; the guest is being told.
    forwarded(payload.size() - taken);
    return;
  }
  const auto rest = payload.subspan(taken);
  buffer_.insert(buffer_.end(), rest.begin(), rest.end());
}

// Sends what the socket takes. A host end that no longer reads may still have sent something that
// the guest is to get, so only this direction ends.
std::size_t VsockConnection::send(std::span<const std::byte> bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size() && socket_ >= 0 && (host_shutdown_ & kVsockShutdownReceive) == 0) {
    const ssize_t count =
        ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
    } else if (would_block(errno)) {
      break;
    } else if (errno != EINTR) {
      host_shutdown_ |= kVsockShutdownReceive;
      pending_ |= kPendingShutdown;
      if ((host_shutdown_ & kVsockShutdownSend) != 0) host_closed();
    }
  }
  return sent;
}

void VsockConnection::forwarded(std::size_t count) {
  forwarded_ += static_cast<std::uint32_t>(count);
  // The guest is told before it would have to stop: when half of its credit is used up by what it
  // doesn't know to be forwarded.
  if (forwarded_ != forwarded_told_ && received_ - forwarded_told_ > buffer_size_ / 2) {
    pending_ |= kPendingCreditUpdate;
  }
}

void VsockConnection::writable() {
  const std::size_t before = buffer_.size() - buffer_start_;
  const std::size_t sent = send(std::span(buffer_).subspan(buffer_start_));
  const bool unread = socket_ < 0 || (host_shutdown_ & kVsockShutdownReceive) != 0;
  forwarded(unread ? before : sent);
  buffer_start_ = unread ? buffer_.size() : buffer_start_ + sent;
  if (buffer_empty()) {
    buffer_.clear();
    buffer_start_ = 0;
    if (socket_ >= 0 && (guest_shutdown_ & kVsockShutdownSend) != 0) shut_host_writing();
  } else if (buffer_start_ >= buffer_size_) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(buffer_start_));
    buffer_start_ = 0;
  }
}

void VsockConnection::hung_up() {
  if (socket_ >= 0 && !reads_host()) host_closed();
}

void VsockConnection::host_closed() {
  socket_ = -1;
  host_gone_ = true;
  readable_ = false;
  buffer_.clear();
  buffer_start_ = 0;
  if (state_ == State::kNew && origin_ == Origin::kHost) {
    // The guest never heard of it.
    finished_ = true;
    return;
  }
  if (!established()) return reset();
  host_shutdown_ = kVsockShutdownBoth;
  pending_ |= kPendingShutdown;
}

bool VsockConnection::reads_host() const {
  return established() && socket_ >= 0 && (guest_shutdown_ & kVsockShutdownReceive) == 0 &&
         (host_shutdown_ & kVsockShutdownSend) == 0 && (pending_ & kPendingReset) == 0;
}

bool VsockConnection::wants_readable() const {
  return reads_host() && !readable_;
}

bool VsockConnection::wants_hangup() const {
  // A host program that answered the guest and closed is still to be heard; one that asked for the
  // guest and closed is not.
  return (established() || origin_ == Origin::kHost) && socket_ >= 0 && !reads_host() &&
         (pending_ & kPendingReset) == 0;
}

bool VsockConnection::has_packet() const {
  if (finished_) return false;
  if (pending_ != 0 || state_ == State::kNew) return true;
  return reads_host() && readable_ && (guest_credit() > 0 || !credit_requested_);
}

bool VsockConnection::gives_data() const {
  return !finished_ && reads_host() && readable_ && guest_credit() > 0;
}

VsockHeader VsockConnection::header(VsockOperation operation) const {
  return {.source_cid = kVsockHostCid,
          .destination_cid = guest_cid_,
          .source_port = key_.host_port,
          .destination_port = key_.guest_port,
          .type = kVsockTypeStream,
          .operation = operation,
          .buffer_size = buffer_size_,
          .forwarded_count = forwarded_};
}

std::uint32_t VsockConnection::put(const Chain& chain, VsockHeader header) {
  // Every packet states our credit.
  forwarded_told_ = forwarded_;
  pending_ &= ~static_cast<unsigned>(kPendingCreditUpdate);
  chain.write(std::as_bytes(std::span<const VsockHeader, 1>(&header, 1)));
  return static_cast<std::uint32_t>(sizeof header) + header.length;
}

std::uint32_t VsockConnection::fill(const Chain& chain) {
  if (finished_) return 0;
  if ((pending_ & kPendingReset) != 0) {
    finished_ = true;
    return put(chain, header(VsockOperation::kReset));
  }
  if (state_ == State::kNew) {
    const bool from_host = origin_ == Origin::kHost;
    state_ = from_host ? State::kRequested : State::kEstablished;
    return put(chain, header(from_host ? VsockOperation::kRequest : VsockOperation::kResponse));
  }
  if (gives_data()) {
    if (const auto written = fill_data({&chain, 1}); !written.empty()) return written.front();
  } else if (reads_host() && readable_ && !credit_requested_) {
    pending_ |= kPendingCreditRequest;
  }
  if ((pending_ & kPendingShutdown) != 0) {
    pending_ &= ~static_cast<unsigned>(kPendingShutdown);
    VsockHeader shutdown = header(VsockOperation::kShutdown);
    shutdown.flags = host_shutdown_;
    return put(chain, shutdown);
  }
  if ((pending_ & kPendingCreditRequest) != 0) {
    pending_ &= ~static_cast<unsigned>(kPendingCreditRequest);
    credit_requested_ = true;
    return put(chain, header(VsockOperation::kCreditRequest));
  }
  if ((pending_ & kPendingCreditUpdate) != 0) {
    return put(chain, header(VsockOperation::kCreditUpdate));
  }
  return 0;
}

std::vector<std::uint32_t> VsockConnection::fill_data(std::span<const Chain> chains) {
  // The chains' writable bytes after the header, at most the guest's credit of them.
  std::vector<iovec> parts;
  std::vector<std::size_t> rooms;
  std::size_t left = std::min<std::size_t>(kMaxData, guest_credit());
  for (const Chain& chain : chains) {
    const std::size_t room = add_data_parts(chain, left, parts);
    if (room == 0) break;
    rooms.push_back(room);
    left -= room;
  }
  if (rooms.empty()) {
    // A buffer with room for nothing but a header can't carry data; no driver gives one.
    reset();
    return {};
  }
  std::size_t received = receive_from_host(parts);
  std::vector<std::uint32_t> written;
  for (std::size_t index = 0; received != 0; ++index) {
    VsockHeader data = header(VsockOperation::kData);
    data.length = static_cast<std::uint32_t>(std::min(rooms[index], received));
    received -= data.length;
    sent_ += data.length;
    written.push_back(put(chains[index], data));
  }
  // As many as were of use, and more if that was all of them.
  chains_wanted_ = std::clamp<std::size_t>(
      written.size() == chains.size() ? 2 * chains.size() : written.size(), 1, kMaxChains);
  return written;
}

// 0 if there is nothing to read, now or any more.
std::size_t VsockConnection::receive_from_host(std::span<iovec> parts) {
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  ssize_t received = 0;
  do {
    received = ::recvmsg(socket_, &message, MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received > 0) return static_cast<std::size_t>(received);
  readable_ = false;
  if (received < 0 && would_block(errno)) return 0;
  // The host end sends no more. If it is closed, nobody will read from it either.
  host_shutdown_ |= kVsockShutdownSend;
  pending_ |= kPendingShutdown;
  if (received < 0 || host_shutdown_ == kVsockShutdownBoth || has_hung_up(socket_)) host_closed();
  return 0;
}

}  // namespace clonesafe::virtio
