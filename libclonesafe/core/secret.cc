// Secret memory: pages that the agent has registered with the VMM, mapped here and nowhere else.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "clonesafe/abi/secret_page.h"
#include "clonesafe/clonesafe.h"
#include "libclonesafe/core/secret_agent.h"
#include "libclonesafe/core/stream.h"

namespace {

using namespace clonesafe::core;

// Of a page that nothing but this process knows of: "CLSPLN01".
constexpr std::uint64_t kPlainMagic = 0x31304e4c50534c43;
constexpr std::size_t kSize = CLONESAFE_SECRET_PAGE_SIZE;

static_assert(CS_SECRET_MAX == CLONESAFE_SECRET_DATA_SIZE);

// Not in children of a fork, not in core dumps. The lock is for what the agent can't pin any more;
// a limit on locked memory must not stand in the way.
bool keep_to_this_process(void* memory) {
  (void)::madvise(memory, kSize, MADV_DONTDUMP);
  (void)::mlock(memory, kSize);
  return ::madvise(memory, kSize, MADV_DONTFORK) == 0;
}

clonesafe_secret_page* mapped(int flags, int file) {
  void* memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, flags, file, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (keep_to_this_process(memory)) return static_cast<clonesafe_secret_page*>(memory);
  (void)::munmap(memory, kSize);
  return nullptr;
}

int map_covered(int file, clonesafe_secret_page*& page) {
  struct stat status = {};
  // A shorter file's page would be a trap.
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_size != static_cast<off_t>(kSize)) {
    return CS_E_NOT_COVERED;
  }
  page = mapped(MAP_SHARED | MAP_POPULATE, file);
  if (page == nullptr) return CS_E_MEMORY;
  if (page->magic == CLONESAFE_SECRET_PAGE_MAGIC) return 0;
  (void)::munmap(page, kSize);
  return CS_E_NOT_COVERED;
}

int map_plain(clonesafe_secret_page*& page) {
  page = mapped(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (page == nullptr) return CS_E_MEMORY;
  page->magic = kPlainMagic;
  return 0;
}

int allocate(unsigned flags, clonesafe_secret_page*& page) {
  int file = -1;
  int result = ask_agent_for_secret(file);
  if (result == 0) {
    result = map_covered(file, page);
    // The mapping holds the page from here on.
    (void)::close(file);
  }
  const bool not_covered = result == CS_E_NOT_COVERED || result == CS_E_LIMIT;
  if (not_covered && (flags & CS_SECRET_ALLOW_UNCOVERED) != 0) return map_plain(page);
  return result;
}

// nullptr if no call of cs_secret_alloc can have returned `memory`.
clonesafe_secret_page* page_of(const void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  if (address % kSize != CLONESAFE_SECRET_HEADER_SIZE) return nullptr;
  auto* page = reinterpret_cast<clonesafe_secret_page*>(address - CLONESAFE_SECRET_HEADER_SIZE);
  const std::uint64_t magic = page->magic;
  return magic == CLONESAFE_SECRET_PAGE_MAGIC || magic == kPlainMagic ? page : nullptr;
}

}  // namespace

int cs_secret_alloc(size_t size, unsigned flags, void** memory) {
  if (memory == nullptr) return CS_E_INVALID;
  *memory = nullptr;
  if (size == 0 || size > CS_SECRET_MAX || (flags & ~CS_SECRET_ALLOW_UNCOVERED) != 0)
    return CS_E_INVALID;
  const int kept = errno;
  clonesafe_secret_page* page = nullptr;
  const int result = allocate(flags, page);
  errno = kept;
  if (result == 0) *memory = page->data;
  return result;
}

int cs_secret_covered(const void* memory) {
  const clonesafe_secret_page* page = page_of(memory);
  if (page == nullptr) return CS_E_INVALID;
  return page->magic == CLONESAFE_SECRET_PAGE_MAGIC ? 1 : 0;
}

void cs_secret_free(void* memory) {
  if (memory == nullptr) return;
  clonesafe_secret_page* page = page_of(memory);
  if (page == nullptr) return;
  const int kept = errno;
  wipe(page->data, sizeof(page->data));
  (void)::munmap(page, kSize);
  errno = kept;
}
