// The generation devices' section of a snapshot, and the guest page that it registers: both are
// written by others. Input: one byte, the section's size; the section; what lies in guest memory at
// 1 MiB.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "vmm_device/generation/generation_devices.h"

namespace {

using namespace clonesafe;

void require(bool condition) {
  if (!condition) std::abort();
}

std::vector<std::byte> saved(const GenerationDevices& devices) {
  StateEncoder encoder;
  devices.save(encoder);
  return encoder.take();
}

class CountingEntropy final : public EntropySource {
 public:
  Status fill(std::span<std::byte> bytes) override {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(next_ = next_ * 5 + 1);
    return {};
  }

 private:
  unsigned next_ = 1;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  alignas(4096) static std::array<std::byte, layout::kGenerationPagesSize> pages;
  alignas(4096) static std::array<std::byte, 0x2000> ram;
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data, size));
  const std::size_t section_size = std::min<std::size_t>(data[0], size - 1);
  const auto section = input.subspan(1, section_size);
  const auto guest = input.subspan(1 + section_size);
  pages.fill(std::byte{0});
  ram.fill(std::byte{0});
  std::memcpy(ram.data(), guest.data(), std::min(guest.size(), ram.size()));

  const GuestMemory memory({{GuestAddress(0x100000), std::span(ram)}});
  GenerationDevices devices(pages, {}, memory);
  StateDecoder decoder("generation", section);
  if (!devices.restore(decoder)) return 0;
  // What was accepted is what is saved again.
  require(std::ranges::equal(saved(devices), section));

  CountingEntropy entropy;
  const std::uint64_t before = devices.generation();
  const auto ram_before = ram;
  if (!devices.write_restore(entropy, RestoreKind::kClone, {})) return 0;
  require(devices.generation() != before);
  // A guest page is written if and only if the registration still holds.
  if (!devices.registration()) require(ram == ram_before);
  require(saved(devices).size() <= section.size());
  return 0;
}
