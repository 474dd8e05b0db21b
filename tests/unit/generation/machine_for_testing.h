#ifndef CLONESAFE_TESTS_UNIT_GENERATION_MACHINE_FOR_TESTING_H_
#define CLONESAFE_TESTS_UNIT_GENERATION_MACHINE_FOR_TESTING_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "clonesafe/abi/generation_page.h"
#include "vmm_device/generation/generation_devices.h"

namespace clonesafe {

// Bytes that can be foretold: 1, 2, 3 ... from `first`, or an error once `fail` is set.
class EntropyForTesting final : public EntropySource {
 public:
  explicit EntropyForTesting(std::uint8_t first = 1) : next_(first) {}
  Status fill(std::span<std::byte> bytes) override {
    ++calls;
    if (fail) return clonesafe::fail("no entropy today");
    for (std::byte& byte : bytes) byte = std::byte{next_++};
    return {};
  }
  bool fail = false;
  int calls = 0;

 private:
  std::uint8_t next_;
};

// Guest RAM of two pages at 1 MiB, the generation pages, and the devices over both.
struct MachineForTesting {
  static constexpr std::uint64_t kRamStart = 0x100000;
  static constexpr GuestAddress kPage{kRamStart + 0x1000};

  explicit MachineForTesting(GenerationOptions options = {})
      : memory({{GuestAddress(kRamStart), std::span(ram)}}), devices(pages, options, memory) {}

  template <typename T>
  T at(std::uint64_t address) const {
    T value{};
    std::memcpy(&value, pages.data() + (address - layout::kGenerationPages), sizeof value);
    return value;
  }
  template <typename T>
  void set(std::uint64_t address, T value) {
    std::memcpy(pages.data() + (address - layout::kGenerationPages), &value, sizeof value);
  }
  std::vector<std::byte> bytes_at(std::uint64_t address, std::size_t size) const {
    const auto first = pages.begin() + static_cast<long>(address - layout::kGenerationPages);
    return {first, first + static_cast<long>(size)};
  }
  bool is_zero(std::uint64_t address) const {
    return std::ranges::all_of(bytes_at(address, 0x1000),
                               [](std::byte byte) { return byte == std::byte{0}; });
  }

  clonesafe_generation_page guest_page() const {
    clonesafe_generation_page page;
    std::memcpy(&page, ram.data() + 0x1000, sizeof page);
    return page;
  }
  clonesafe_generation_page& live_guest_page() {
    return *reinterpret_cast<clonesafe_generation_page*>(ram.data() + 0x1000);
  }
  void put_guest_page(const clonesafe_generation_page& page) {
    std::memcpy(ram.data() + 0x1000, &page, sizeof page);
  }

  std::vector<std::byte> save() const {
    StateEncoder encoder;
    devices.save(encoder);
    return encoder.take();
  }
  Status restore(std::span<const std::byte> bytes) {
    StateDecoder decoder("generation", bytes);
    return devices.restore(decoder);
  }

  alignas(4096) std::array<std::byte, 0x2000> ram{};
  alignas(4096) std::array<std::byte, layout::kGenerationPagesSize> pages{};
  GuestMemory memory;
  GenerationDevices devices;
};

inline constexpr PageNonce kNonceForTesting{std::byte{9}, std::byte{8}, std::byte{7}};

// What an agent has published before it registers: slot 0 in force, state safe.
inline clonesafe_generation_page agent_page_for_testing() {
  clonesafe_generation_page page{};
  page.magic = CLONESAFE_GENERATION_PAGE_MAGIC;
  page.version = CLONESAFE_GENERATION_PAGE_VERSION;
  page.size = CLONESAFE_GENERATION_PAGE_SIZE;
  page.control = 5u << 2;
  std::memcpy(page.nonce, kNonceForTesting.data(), sizeof page.nonce);
  page.slots[0].generation = 77;
  page.slots[0].kernel_rng_epoch = 42;
  page.slots[0].state = CLONESAFE_STATE_SAFE;
  return page;
}

}  // namespace clonesafe

#endif  // CLONESAFE_TESTS_UNIT_GENERATION_MACHINE_FOR_TESTING_H_
