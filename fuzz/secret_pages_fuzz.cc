// The section "secret pages" of a snapshot, and the guest memory that it tells of: both are written
// by others. Input: one byte, the section's size; the section; what lies in guest memory at 1 MiB.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "vmm_device/generation/secret_pages.h"

namespace {

using namespace clonesafe;

constexpr std::size_t kPages = 4;

void require(bool condition) {
  if (!condition) std::abort();
}

std::vector<std::byte> saved(const SecretPages& secrets) {
  StateEncoder encoder;
  secrets.save(encoder);
  return encoder.take();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  alignas(4096) static std::array<std::byte, kPages * 4096> ram;
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data, size));
  const std::size_t section_size = std::min<std::size_t>(data[0], size - 1);
  const auto section = input.subspan(1, section_size);
  const auto guest = input.subspan(1 + section_size);
  ram.fill(std::byte{0xee});
  std::memcpy(ram.data(), guest.data(), std::min(guest.size(), ram.size()));

  const GuestMemory memory({{GuestAddress(0x100000), std::span(ram)}});
  SecretPages secrets(memory);
  StateDecoder decoder("secret pages", section);
  if (!secrets.restore(decoder)) return 0;
  require(secrets.count() > 0 && secrets.count() <= kPages);
  // What was accepted is what is saved again.
  require(std::ranges::equal(saved(secrets), section));

  const auto before = ram;
  const auto ranges = secrets.ranges();
  require(ram == before);
  if (!ranges) return 0;
  // Every page is as registered: then its data is inside memory, and nothing else is.
  require(ranges->size() == secrets.count());
  for (const SecretPages::Range& range : *ranges) {
    const auto bytes = memory.at(range.start, range.size);
    require(bytes.has_value() && range.size == CLONESAFE_SECRET_DATA_SIZE);
    std::uint64_t magic = 0;
    std::memcpy(&magic, bytes->data() - CLONESAFE_SECRET_HEADER_SIZE, sizeof magic);
    require(magic == CLONESAFE_SECRET_PAGE_MAGIC);
  }
  return 0;
}
