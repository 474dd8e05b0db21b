#include "vmm_device/virtio/rng_device.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace clonesafe::virtio {
namespace {

constexpr std::array<std::uint16_t, 1> kRequestQueueSize = {64};
// A request is answered with at most this much (5.4.6: one byte or more), however long its buffer,
// and so many are answered in one go: the guest can't keep the device thread to itself.
constexpr std::size_t kMaxBytes = 4096;
constexpr int kMaxRequests = 64;

// Fills `bytes`; the kernel copies straight into guest memory and leaves no copy with us.
Status fill_random(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::getrandom(bytes.data(), bytes.size(), 0);
    if (count < 0) {
      if (errno == EINTR) continue;
      return fail_errno("getrandom");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

}  // namespace

std::span<const std::uint16_t> RngDevice::queue_sizes() const {
  return kRequestQueueSize;
}

void RngDevice::notified(std::size_t index) {
  const QueueLease lease(host_);
  if (!lease) return;
  Queue& queue = lease.queue(index);
  for (int requests = 0; requests < kMaxRequests; ++requests) {
    auto popped = queue.pop(chain_);
    if (!popped) return lease.fail(popped.error());
    if (!*popped) return;
    if (chain_.writable_size == 0 || chain_.readable_size != 0) {
      return lease.fail(Error("an entropy request that is not one writable buffer"));
    }
    std::size_t left = kMaxBytes;
    for (auto part : chain_.writable) {
      part = part.first(std::min(left, part.size()));
      if (auto filled = fill_random(part); !filled) return lease.fail(filled.error());
      left -= part.size();
    }
    queue.push(chain_, static_cast<std::uint32_t>(kMaxBytes - left));
  }
  lease.again(index);
}

}  // namespace clonesafe::virtio
