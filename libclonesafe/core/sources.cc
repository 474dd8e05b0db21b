#include "libclonesafe/core/sources.h"

#include <cpuid.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/core/seams.h"

namespace clonesafe::core {
namespace {

constexpr const char* kVmclockPath = "/dev/vmclock0";
constexpr std::int64_t kMissingPageRescanNs = 100'000'000;
constexpr std::int64_t kRescanNs = 1'000'000'000;

struct Opened {
  void* memory = nullptr;
  const char* problem = nullptr;
  struct stat status = {};
};

// Maps the first page of `path` read-only. O_NONBLOCK: a FIFO must not hang the caller.
Opened map_read_only(const char* path, off_t needed) {
  Opened opened;
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd || ::fstat(fd.get(), &opened.status) != 0) {
    opened.problem = ::strerrordesc_np(errno);
    return opened;
  }
  const mode_t mode = opened.status.st_mode;
  if (!S_ISREG(mode) && !S_ISCHR(mode)) {
    opened.problem = "neither a regular file nor a device";
    return opened;
  }
  // Beyond the end of a file a mapping can't be read.
  if (S_ISREG(mode) && opened.status.st_size < needed) {
    opened.problem = describe(PageCondition::kTooSmall);
    return opened;
  }
  void* memory =
      ::mmap(nullptr, CLONESAFE_GENERATION_PAGE_SIZE, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) {
    opened.problem = ::strerrordesc_np(errno);
    return opened;
  }
  opened.memory = memory;
  return opened;
}

const char* problem_of(const clonesafe_vmclock& vmclock) {
  if (vmclock.magic != CLONESAFE_VMCLOCK_MAGIC) return "not a VMCLOCK page (bad magic)";
  if (vmclock.version != CLONESAFE_VMCLOCK_VERSION) return "a VMCLOCK page of an unknown version";
  if (vmclock.size < sizeof(clonesafe_vmclock)) {
    return "a VMCLOCK page too old to have a generation counter";
  }
  if ((vmclock.flags & CLONESAFE_VMCLOCK_FLAG_VM_GEN_COUNTER_PRESENT) == 0) {
    return "a VMCLOCK page without a generation counter";
  }
  return nullptr;
}

const char* vmclock_path() {
#ifdef CLONESAFE_TESTING
  if (seams_for_testing.vmclock_path != nullptr) return seams_for_testing.vmclock_path;
#endif
  return kVmclockPath;
}

#ifdef CLONESAFE_TESTING

PhysicalPaths physical_paths() {
  return seams_for_testing.physical_paths;
}
bool may_look_into_memory() {
  return physical_paths().iomem != nullptr;
}

#else

PhysicalPaths physical_paths() {
  return {};
}
// A real machine (CPUID leaf 1, ECX bit 31) has nothing to look for.
bool may_look_into_memory() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return ::geteuid() == 0 && __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 31) != 0;
}

#endif

}  // namespace

constexpr clonesafe_generation_page kNoPage = {};
constexpr std::uint64_t kNoCounter = 0;

std::int64_t coarse_now_ns() {
  timespec now = {};
  (void)::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

bool Sources::initialize() {
  if (!fork_word_.initialize()) return false;
  __atomic_store_n(&live_.fork, fork_word_.address(), __ATOMIC_RELEASE);
  // secure_getenv: whoever starts a set-user-id program doesn't choose its page.
  const char* path = ::secure_getenv("CLONESAFE_GENERATION_PAGE");
#ifdef CLONESAFE_TESTING
  if (seams_for_testing.page_path != nullptr) path = seams_for_testing.page_path;
#endif
  if (path != nullptr && *path != '\0') {
    // A path that doesn't fit names no page; the default page must not stand in for it.
    if (const std::size_t length = std::strlen(path); length < sizeof(page_path_)) {
      std::memcpy(page_path_, path, length + 1);
    } else {
      page_path_[0] = '\0';
    }
  }
  open_page();
  open_vmclock();
  open_physical();
  next_rescan_ns_.store(coarse_now_ns() + (has_page() ? kRescanNs : kMissingPageRescanNs),
                        std::memory_order_release);
  return true;
}

void Sources::open_page() {
  Opened opened = map_read_only(page_path_, CLONESAFE_GENERATION_PAGE_SIZE);
  if (opened.memory != nullptr) {
    const auto* page = static_cast<const clonesafe_generation_page*>(opened.memory);
    const PageCondition condition = check_generation_page(*page);
    if (condition == PageCondition::kUsable) {
      page_device_.store(opened.status.st_dev, std::memory_order_relaxed);
      page_inode_.store(opened.status.st_ino, std::memory_order_relaxed);
      page_problem_.store(nullptr, std::memory_order_relaxed);
      page_.store(page, std::memory_order_release);
      __atomic_store_n(&live_.control, &page->control, __ATOMIC_RELEASE);
      return;
    }
    (void)::munmap(opened.memory, CLONESAFE_GENERATION_PAGE_SIZE);
    opened.problem = describe(condition);
  }
  // A page that is mapped stays in use when its name goes away: the VMM writes it all the same.
  if (!has_page()) page_problem_.store(opened.problem, std::memory_order_relaxed);
}

void Sources::open_vmclock() {
  Opened opened = map_read_only(vmclock_path(), sizeof(clonesafe_vmclock));
  if (opened.memory != nullptr) {
    const auto* vmclock = static_cast<const clonesafe_vmclock*>(opened.memory);
    opened.problem = problem_of(*vmclock);
    if (opened.problem == nullptr) {
      vmclock_problem_.store(nullptr, std::memory_order_relaxed);
      return take_counter(&vmclock->vm_generation_counter, CS_SOURCE_VMCLOCK, nullptr);
    }
    (void)::munmap(opened.memory, CLONESAFE_GENERATION_PAGE_SIZE);
  }
  vmclock_problem_.store(opened.problem, std::memory_order_relaxed);
}

// Only at the start: such devices don't come later, and a program drops its rights.
void Sources::open_physical() {
  const clonesafe_generation_page* const page = page_.load(std::memory_order_acquire);
  GenerationSnapshot snapshot;
  const bool told_by_page = page != &kNoPage &&
                            read_generation_page(*page, snapshot) == PageCondition::kUsable &&
                            snapshot.slot.tier == CLONESAFE_TIER_WORD;
  if (has_counter() || told_by_page) return;
  if (!may_look_into_memory()) {
    return memory_problem_.store("not looked for: only root does, in a virtual machine",
                                 std::memory_order_relaxed);
  }
  const PhysicalWord found = find_physical_word(physical_paths());
  memory_problem_.store(found.problem, std::memory_order_relaxed);
  if (found.problem != nullptr) return;
  take_counter(found.word,
               found.device == PhysicalWord::Device::kRestorePage ? CS_SOURCE_RESTORE_PAGE
                                                                  : CS_SOURCE_VMGENID,
               found.id);
}

void Sources::take_counter(const std::uint64_t* word, std::uint32_t source,
                           const std::uint8_t* id) {
  counter_source_ = source;
  counter_id_ = id;
  counter_.store(word, std::memory_order_release);
  __atomic_store_n(&live_.counter, word, __ATOMIC_RELEASE);
}

void Sources::rescan() {
  const std::int64_t now = coarse_now_ns();
  std::int64_t due = next_rescan_ns_.load(std::memory_order_acquire);
  bool always = false;
#ifdef CLONESAFE_TESTING
  always = seams_for_testing.rescan_always;
#endif
  // A clone's clock may stand before the snapshot's; then the time is up as well.
  if (!always && now < due && due - now <= kRescanNs) return;
  // One thread goes; a fork can't leave anything locked behind.
  if (!next_rescan_ns_.compare_exchange_strong(
          due, now + (has_page() ? kRescanNs : kMissingPageRescanNs), std::memory_order_acq_rel)) {
    return;
  }
  if (has_page()) {
    struct stat status = {};
    if (::stat(page_path_, &status) == 0 &&
        (status.st_dev != page_device_.load(std::memory_order_relaxed) ||
         status.st_ino != page_inode_.load(std::memory_order_relaxed))) {
      open_page();
    }
  } else {
    open_page();
  }
  if (!has_counter()) open_vmclock();
}

}  // namespace clonesafe::core
