#include "vmm_device/virtio/net_control.h"

#include <array>

#include "vmm_device/virtio/net_abi.h"

namespace clonesafe::virtio::net {

Result<bool> answer_control(const Chain& chain) {
  if (chain.writable_size == 0) return fail("a control command without a place for its answer");
  std::array<std::uint8_t, 2> command{};  // class, command
  const bool announced = chain.readable_size == command.size() &&
                         chain.read(0, std::as_writable_bytes(std::span(command))) &&
                         command[0] == kControlAnnounce && command[1] == kControlAnnounceAck;
  const std::uint8_t answer = announced ? kControlOk : kControlError;
  chain.write(std::as_bytes(std::span(&answer, 1)));
  return announced;
}

}  // namespace clonesafe::virtio::net
