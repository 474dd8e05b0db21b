#include "guest_agent/sources/vmgenid_source.h"

#include <atomic>
#include <cstring>

#include "clonesafe/abi/vmgenid.h"
#include "guest_agent/sources/physical_memory.h"

namespace clonesafe::agent {

Result<std::unique_ptr<Source>> VmgenidSource::open(const std::string& memory_device,
                                                    const VmgenidLocation& location) {
  auto mapping =
      map_physical(memory_device, location.address, CLONESAFE_VMGENID_SIZE, Access::kRead);
  if (!mapping) return fail(std::move(mapping.error()));
  auto source = std::make_unique<VmgenidSource>();
  source->mapping_ = std::move(*mapping);
  source->offset_ = static_cast<std::size_t>(location.address % 4096);
  return source;
}

Status VmgenidSource::read(Words& words) {
  constexpr int kTries = 8;
  const auto* const word = reinterpret_cast<const std::uint64_t*>(mapping_.data() + offset_);
  for (int i = 0; i < kTries; ++i) {
    std::uint64_t first[2];
    std::uint64_t again[2];
    for (std::uint64_t* copy : {first, again}) {
      copy[0] = __atomic_load_n(&word[0], __ATOMIC_ACQUIRE);
      copy[1] = __atomic_load_n(&word[1], __ATOMIC_ACQUIRE);
    }
    if (std::memcmp(first, again, sizeof(first)) != 0) continue;
    Id16 id;
    std::memcpy(id.data(), first, id.size());
    words.vm_generation_id = id;
    return {};
  }
  return fail("the VM generation id doesn't stand still");
}

}  // namespace clonesafe::agent
