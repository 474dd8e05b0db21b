#include "vmm_device/virtio/net_receive.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "vmm_device/virtio/net_abi.h"

namespace clonesafe::virtio::net {
namespace {

// Takes the next chain; looks again after it asked to be notified, so that none is missed.
Result<bool> pop(Queue& queue, Chain& chain) {
  auto popped = queue.pop(chain);
  if (!popped || *popped) return popped;
  queue.set_notifications(true);
  popped = queue.pop(chain);
  if (popped && *popped) queue.set_notifications(false);
  return popped;
}

}  // namespace

Result<Delivery> deliver(Queue& queue, std::span<std::byte> frame, bool mergeable,
                         std::vector<Chain>& chains) {
  std::size_t room = 0;
  std::size_t count = 0;
  const auto give_back = [&](Delivery why) {
    for (; count != 0; --count) queue.undo_pop();
    return why;
  };
  while (room < frame.size()) {
    if (count == queue.size() || (count == 1 && !mergeable)) return give_back(Delivery::kNoRoom);
    if (count == chains.size()) chains.emplace_back();
    Chain& chain = chains[count];
    const auto popped = pop(queue, chain);
    if (!popped) return fail(popped.error());
    if (!*popped) return give_back(Delivery::kNoBuffers);
    // 5.1.6.3.1: a buffer has room for a header at least.
    if (chain.readable_size != 0 || chain.writable_size < sizeof(Header))
      return fail("a receive buffer without room for a frame's header");
    room += chain.writable_size;
    ++count;
  }
  const auto buffers = static_cast<std::uint16_t>(count);
  std::memcpy(frame.data() + offsetof(Header, num_buffers), &buffers, sizeof buffers);
  for (std::size_t index = 0; index < count; ++index) {
    const auto part = frame.first(std::min<std::size_t>(frame.size(), chains[index].writable_size));
    chains[index].write(part);
    queue.put(chains[index], static_cast<std::uint32_t>(part.size()));
    frame = frame.subspan(part.size());
  }
  // 5.1.6.4: a driver that sees the first of `num_buffers` takes the others at once. Linux drops a
  // frame whose rest is not there yet, and takes the rest for frames.
  queue.publish();
  return Delivery::kDone;
}

}  // namespace clonesafe::virtio::net
