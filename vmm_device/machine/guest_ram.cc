#include "vmm_device/machine/guest_ram.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

namespace clonesafe {

Result<GuestRam> GuestRam::create(std::uint64_t size, bool track_writes) {
  auto ram = Mapping::map("guest memory of " + std::to_string(size >> 20) + " MiB", size,
                          PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  if (!ram) return fail(ram.error());
  return finish(std::move(*ram), track_writes);
}

Result<GuestRam> GuestRam::map_snapshot(int memory_fd, std::uint64_t size, bool track_writes) {
  struct stat status{};
  if (::fstat(memory_fd, &status) != 0) return fail_errno("fstat of the snapshot's memory");
  if (static_cast<std::uint64_t>(status.st_size) != size)
    return fail("the snapshot's memory has " + std::to_string(status.st_size) +
                " bytes, the machine " + std::to_string(size));
  auto ram = Mapping::map("the snapshot's memory", size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_NORESERVE, memory_fd);
  if (!ram) return fail(ram.error());
  auto result = finish(std::move(*ram), track_writes);
  if (result) result->below_ = PageDiscard::Below::kFile;
  return result;
}

Result<GuestRam> GuestRam::finish(Mapping ram, bool track_writes) {
  auto pages = Mapping::map("generation pages", layout::kGenerationPagesSize,
                            PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (!pages) return fail(pages.error());
  for (const Mapping* mapping : {&ram, &*pages}) {
    if (::madvise(mapping->data(), mapping->size(), MADV_DONTDUMP) != 0)
      return fail_errno("madvise(MADV_DONTDUMP) of guest memory");
  }
  // A child of this process must not hold this machine's seed.
  if (::madvise(pages->data(), pages->size(), MADV_DONTFORK) != 0)
    return fail_errno("madvise(MADV_DONTFORK) of the generation pages");

  GuestRam result;
  const std::uint64_t low = std::min<std::uint64_t>(ram.size(), layout::kLowRamEnd);
  std::vector<GuestMemory::Region> regions;
  regions.push_back({GuestAddress(0), ram.bytes().first(low)});
  if (ram.size() > low)
    regions.push_back({GuestAddress(layout::kHighRamStart), ram.bytes().subspan(low)});
  if (track_writes) result.written_ = std::make_unique<PageSet>(ram.size() / PageSet::kPageSize);
  result.memory_ = GuestMemory(std::move(regions), result.written_.get());
  result.ram_ = std::move(ram);
  result.pages_ = std::move(*pages);
  return result;
}

}  // namespace clonesafe
