// A queue over guest memory that holds anything: indexes, descriptors and addresses are the
// guest's.
#include <cstdlib>
#include <cstring>

#include "vmm_device/virtio/queue.h"

using namespace clonesafe;
using namespace clonesafe::virtio;

namespace {
constexpr std::size_t kMemory = 16384;
constexpr std::uint64_t kStart = 0x1000;
alignas(4096) std::byte memory_bytes[kMemory];
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // First the registers that a driver writes, then what its memory holds.
  struct Setup {
    std::uint16_t size, next_available, next_used;
    std::uint16_t descriptors, driver, device;
  } setup{};
  if (size < sizeof setup) return 0;
  std::memcpy(&setup, data, sizeof setup);
  data += sizeof setup;
  size -= sizeof setup;
  std::memset(memory_bytes, 0, kMemory);
  std::memcpy(memory_bytes, data, size < kMemory ? size : kMemory);
  const GuestMemory memory({{GuestAddress(kStart), std::span(memory_bytes)}});

  auto queue = Queue::create(memory,
                             {.size = setup.size,
                              .ready = true,
                              .descriptors = GuestAddress(setup.descriptors),
                              .driver = GuestAddress(setup.driver),
                              .device = GuestAddress(setup.device)},
                             setup.next_available, setup.next_used);
  if (!queue) return 0;
  Chain chain;
  for (int turn = 0; turn < 64; ++turn) {
    auto popped = queue->pop(chain);
    if (!popped || !*popped) break;
    // The whole chain must be usable, and as long as it says.
    std::size_t readable = 0;
    for (const auto part : chain.readable) readable += part.size();
    std::size_t writable = 0;
    for (const auto part : chain.writable) writable += part.size();
    if (readable != chain.readable_size || writable != chain.writable_size) std::abort();
    std::byte buffer[64]{};
    if (readable > 0 && !chain.read(chain.readable_size - 1, std::span(buffer).first(1))) {
      std::abort();
    }
    if (chain.read(chain.readable_size, std::span(buffer).first(1))) std::abort();
    if (chain.write(buffer) != (writable >= sizeof buffer)) std::abort();
    queue->push(chain, chain.writable_size);
    queue->take_interrupt();
  }
  return 0;
}
