#include "guest_agent/sources/vmclock_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clonesafe/abi/vmclock.h"
#include "guest_agent/base/log.h"
#include "guest_agent/sources/physical_memory.h"

namespace clonesafe::agent {

Result<VmclockWords> read_vmclock(std::span<const std::byte> page) {
  constexpr int kTries = 64;
  if (page.size() < sizeof(clonesafe_vmclock)) return fail("the VMCLOCK page is cut short");
  const auto& live = *reinterpret_cast<const clonesafe_vmclock*>(page.data());
  if (live.magic != CLONESAFE_VMCLOCK_MAGIC) return fail("the VMCLOCK page has no magic");
  if (live.version != CLONESAFE_VMCLOCK_VERSION) {
    return fail("the VMCLOCK page has the unknown version " + std::to_string(live.version));
  }
  for (int i = 0; i < kTries; ++i) {
    const std::uint32_t before = __atomic_load_n(&live.seq_count, __ATOMIC_ACQUIRE);
    const std::uint64_t flags = __atomic_load_n(&live.flags, __ATOMIC_RELAXED);
    const std::uint64_t marker = __atomic_load_n(&live.disruption_marker, __ATOMIC_RELAXED);
    const std::uint64_t counter = __atomic_load_n(&live.vm_generation_counter, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const std::uint32_t after = __atomic_load_n(&live.seq_count, __ATOMIC_RELAXED);
    if (before != after || before % 2 != 0) continue;
    VmclockWords words = {.disruption_marker = marker};
    if ((flags & CLONESAFE_VMCLOCK_FLAG_VM_GEN_COUNTER_PRESENT) != 0) {
      words.generation_counter = counter;
    }
    return words;
  }
  return fail("the VMCLOCK page's sequence doesn't settle");
}

namespace {

Status read_into(std::span<const std::byte> page, Words& words) {
  auto read = read_vmclock(page);
  if (!read) return fail(std::move(read.error()));
  words.vmclock = *read;
  return {};
}

}  // namespace

Result<std::unique_ptr<Source>> VmclockSource::open(const std::string& memory_device,
                                                    const PhysicalRange& range) {
  if (range.size < sizeof(clonesafe_vmclock)) return fail("the VMCLOCK resource is too small");
  auto mapping = map_physical(memory_device, range.start, sizeof(clonesafe_vmclock), Access::kRead);
  if (!mapping) return fail(std::move(mapping.error()));
  if (auto words = read_vmclock(mapping->bytes()); !words) return fail(std::move(words.error()));
  return std::make_unique<VmclockSource>(std::move(*mapping));
}

Status VmclockSource::read(Words& words) {
  return read_into(mapping_.bytes(), words);
}

Result<std::unique_ptr<Source>> VmclockDeviceSource::open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail_errno("open of " + path);
  if (::fchmod(fd.get(), 0444) != 0) {
    log_warning("unprivileged programs can't read " + path + ": " +
                Error::from_errno("chmod").message());
  }
  auto mapping = Mapping::map(path, CLONESAFE_VMCLOCK_SIZE, PROT_READ, MAP_SHARED, fd.get());
  if (!mapping) return fail(std::move(mapping.error()));
  if (auto words = read_vmclock(mapping->bytes()); !words) return fail(std::move(words.error()));
  const auto flags = reinterpret_cast<const clonesafe_vmclock*>(mapping->data())->flags;
  return std::make_unique<VmclockDeviceSource>(
      std::move(*mapping), std::move(fd),
      (flags & CLONESAFE_VMCLOCK_FLAG_NOTIFICATION_PRESENT) != 0);
}

Status VmclockDeviceSource::read(Words& words) {
  return read_into(mapping_.bytes(), words);
}

Status VmclockDeviceSource::drain() {
  char page[CLONESAFE_VMCLOCK_SIZE];
  if (::pread(fd_.get(), page, sizeof(page), 0) < 0) return fail_errno("read of /dev/vmclock");
  return {};
}

}  // namespace clonesafe::agent
