// What a network device does with frames.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "vmm_device/net/tcp_segment.h"
#include "vmm_device/virtio/net_control.h"
#include "vmm_device/virtio/net_device_impl.h"
#include "vmm_device/virtio/net_receive.h"

namespace clonesafe::virtio {
namespace {

// So much is done in one turn, in each direction.
constexpr int kNetTurn = 256;
constexpr std::size_t kNetTurnBytes = std::size_t{1} << 20;

}  // namespace

// --- To the guest. ---

void NetDevice::Impl::receive() {
  if (!link_up_) return;
  if (held_) return drop_received();
  const QueueLease lease(host_);
  if (!lease) return;  // after it there is a notification
  announce(lease);
  Queue& queue = lease.queue(net::kReceiveQueue);
  queue.set_notifications(false);
  const bool mergeable = (features_ & net::kFeatureMergeableBuffers) != 0;
  std::size_t bytes = 0;
  for (int frames = 0; frames < kNetTurn && bytes < kNetTurnBytes; ++frames) {
    if (received_ == 0 && !read_frame(lease)) return;
    const auto frame = std::span(incoming_).first(received_);
    const auto delivered = net::deliver(queue, frame, mergeable, chains_);
    if (!delivered) return lease.fail(delivered.error());
    if (*delivered == net::Delivery::kNoBuffers) return;
    if (*delivered == net::Delivery::kDone) {
      ++counts_.received_frames;
      counts_.received_bytes += received_ - sizeof(net::Header);
    } else {
      ++counts_.received_lost;
    }
    bytes += std::exchange(received_, 0);
  }
  lease.again(net::kReceiveQueue);
}

bool NetDevice::Impl::read_frame(const QueueLease& lease) {
  while (true) {
    const ssize_t size = ::read(descriptor_.native_handle(), incoming_.data(), incoming_.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) {
      wait(Descriptor::wait_read);
      return false;
    }
    if (size <= 0) {
      link_down(lease, size == 0 ? Error("tap " + tap_.name + ": closed") : tap_error());
      return false;
    }
    const auto length = static_cast<std::size_t>(size);
    if (length >= net::kMinFrame && length <= net::kMaxFrame) {
      received_ = length;
      return true;
    }
    if (++counts_.received_lost % kNetTurn == 0) {
      wait(Descriptor::wait_read);
      return false;
    }
  }
}

void NetDevice::Impl::drop_received() {
  for (int frames = 0; frames < kNetTurn; ++frames) {
    const ssize_t size = ::read(descriptor_.native_handle(), incoming_.data(), incoming_.size());
    if (size < 0 && errno != EINTR && errno != EAGAIN) return;  // receive() will say so
    if (size < 0) break;
    if (size == 0) return;
    ++counts_.held_lost;
  }
  wait(Descriptor::wait_read);
}

// --- From the guest. ---

void NetDevice::Impl::transmit() {
  if (writing_) return;  // the tap is full
  const QueueLease lease(host_);
  if (!lease) return;
  Queue& queue = lease.queue(net::kTransmitQueue);
  if (auto dropped = drop_parents(queue); !dropped) return lease.fail(dropped.error());
  if (!held_ && !send_parked(lease)) return;
  queue.set_notifications(false);
  std::size_t bytes = 0;
  for (int frames = 0; frames < kNetTurn && bytes < kNetTurnBytes; ++frames) {
    auto popped = queue.pop(chain_);
    if (popped && !*popped) {
      // Before it sleeps it asks to be told, and then looks again.
      queue.set_notifications(true);
      popped = queue.pop(chain_);
      if (popped && !*popped) return;
      queue.set_notifications(false);
    }
    if (!popped) return lease.fail(popped.error());
    if (chain_.writable_size != 0) return lease.fail(Error("a frame to send is writable"));
    bytes += chain_.readable_size;
    if (!take_frame(lease)) return queue.undo_pop();
    queue.push(chain_, 0);
  }
  lease.again(net::kTransmitQueue);
}

bool NetDevice::Impl::take_frame(const QueueLease& lease) {
  if (!net::take_frame(chain_, features_, frame_)) {
    ++counts_.sent_lost;
    return true;
  }
  if (!held_) return send(lease, frame_.parts, frame_.size);
  hold_frame();
  return true;
}

void NetDevice::Impl::hold_frame() {
  std::array<std::byte, network::kSegmentHead> head{};
  const auto looked_at =
      std::span(head).first(std::min(head.size(), frame_.size - sizeof(net::Header)));
  if (chain_.read(sizeof(net::Header), looked_at) && network::continues_connection(looked_at)) {
    ++counts_.held_stale;
  } else if (parked_.park(frame_.parts, frame_.size)) {
    ++counts_.parked;
  } else {
    ++counts_.held_lost;
  }
}

Status NetDevice::Impl::drop_parents(Queue& queue) {
  const auto end = std::exchange(parents_end_, std::nullopt);
  for (int left = queue.size(); end && left > 0 && queue.next_available() != *end; --left) {
    const auto popped = queue.pop(chain_);
    if (!popped) return fail(popped.error());
    if (!*popped) break;
    queue.push(chain_, 0);
    ++counts_.parents;
  }
  return {};
}

bool NetDevice::Impl::send_parked(const QueueLease& lease) {
  while (!parked_.empty()) {
    const auto frame = parked_.front();
    const iovec part{.iov_base = const_cast<std::byte*>(frame.data()), .iov_len = frame.size()};
    if (!send(lease, {&part, 1}, frame.size())) return false;
    parked_.pop();
  }
  return true;
}

bool NetDevice::Impl::send(const QueueLease& lease, std::span<const iovec> parts,
                           std::size_t size) {
  ssize_t sent = -1;
  do {
    errno = ENETDOWN;
    if (link_up_)
      sent = ::writev(descriptor_.native_handle(), parts.data(), static_cast<int>(parts.size()));
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) {
    ++counts_.sent_frames;
    counts_.sent_bytes += size - sizeof(net::Header);
    return true;
  }
  if (errno == EAGAIN) {
    wait(Descriptor::wait_write);
    return false;
  }
  // A tap that was deleted; one whose link is down says EIO, and may come back.
  if (errno == EBADFD || errno == EPIPE || errno == ECONNRESET || errno == ECONNREFUSED)
    link_down(lease, tap_error());
  ++counts_.sent_lost;
  return true;
}

// --- Beside. ---

void NetDevice::Impl::control() {
  const QueueLease lease(host_);
  if (!lease || (lease.driver_features() & net::kFeatureControlQueue) == 0) return;
  Queue& queue = lease.queue(net::kControlQueue);
  for (int commands = 0; commands < kNetTurn; ++commands) {
    const auto popped = queue.pop(chain_);
    if (!popped) return lease.fail(popped.error());
    if (!*popped) return;
    const auto announced = net::answer_control(chain_);
    if (!announced) return lease.fail(announced.error());
    if (*announced) announce_ = false;
    queue.push(chain_, 1);
  }
  lease.again(net::kControlQueue);
}

void NetDevice::Impl::announce(const QueueLease& lease) {
  if (!std::exchange(announce_due_, false)) return;
  announce_ = true;
  lease.config_changed();
}

Error NetDevice::Impl::tap_error() const {
  const std::string tap = "tap " + tap_.name;
  return errno == EBADFD ? Error(tap + " was deleted") : Error::from_errno(tap);
}

void NetDevice::Impl::link_down(const QueueLease& lease, const Error& error) {
  if (!std::exchange(link_up_, false)) return;
  spdlog::error("{}: the guest's link is down: {}", name_, error.message());
  received_ = 0;
  lease.config_changed();
}

void NetDevice::Impl::wait(Descriptor::wait_type what) {
  bool& waits = what == Descriptor::wait_read ? reading_ : writing_;
  if (std::exchange(waits, true)) return;
  descriptor_.async_wait(what,
                         [weak = weak_from_this(), what](const boost::system::error_code& error) {
                           const auto self = weak.lock();
                           if (!self || error) return;
                           const std::lock_guard lock(self->mutex_);
                           if (what == Descriptor::wait_read) {
                             self->reading_ = false;
                             self->receive();
                           } else {
                             self->writing_ = false;
                             self->transmit();
                           }
                         });
}

}  // namespace clonesafe::virtio
