// vCPU, serial, machine configuration, network devices and balloon sections of a snapshot are
// another party's bytes.
#include <algorithm>
#include <cstdlib>
#include <span>

#include "vmm_device/kvm/vcpu_state.h"
#include "vmm_device/machine/machine_config.h"
#include "vmm_device/machine/serial.h"

using namespace clonesafe;

namespace {
struct NoLine : InterruptLine {
  void raise() override {}
};
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  switch (data[0] % 3) {
    case 0: {
      StateDecoder decoder("vcpu 0", bytes);
      const auto state = kvm::decode_vcpu(decoder);
      if (!state) return 0;
      StateEncoder encoder;
      kvm::encode(encoder, *state);
      // What was taken is written as it was read.
      if (!std::ranges::equal(encoder.bytes(), bytes)) std::abort();
      break;
    }
    case 1: {
      NoLine line;
      Serial serial(line, [](std::span<const std::byte>) {});
      if (serial.restore(bytes) && !serial.restore(serial.save())) std::abort();
      break;
    }
    default: {
      const auto config = decode_machine_config(bytes);
      if (config && !decode_machine_config(encode(*config))) std::abort();
      const auto nets = decode_nets(bytes);
      if (nets && !std::ranges::equal(encode(std::span(*nets)), bytes)) std::abort();
      const auto balloon = decode_balloon(bytes);
      if (balloon && !std::ranges::equal(encode(*balloon), bytes)) std::abort();
      break;
    }
  }
  return 0;
}
