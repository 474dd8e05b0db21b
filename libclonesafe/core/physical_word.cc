#include "libclonesafe/core/physical_word.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <string_view>

#include "clonesafe/abi/restore_page.h"
#include "clonesafe/abi/vmgenid.h"
#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/physical/acpi_vmgenid.h"
#include "libclonesafe/physical/iomem.h"

namespace clonesafe::core {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kFileLimit = std::size_t{1} << 20;
// What the kernel calls the second table of one kind and those after it: SSDT2 and so on.
constexpr int kMostTables = 32;

// Memory for files that are read once, given back at the end.
class Buffer {
 public:
  Buffer() {
    void* const memory = ::mmap(nullptr, kFileLimit, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) memory_ = static_cast<std::byte*>(memory);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (memory_ != nullptr) (void)::munmap(memory_, kFileLimit);
  }
  explicit operator bool() const { return memory_ != nullptr; }

  // At most kFileLimit bytes of the file; errno if it can't be read.
  int read(const char* path, std::span<const std::byte>& bytes) {
    const UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!file) return errno;
    std::size_t size = 0;
    while (size < kFileLimit) {
      const ssize_t count = ::read(file.get(), memory_ + size, kFileLimit - size);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno;
      if (count == 0) break;
      size += static_cast<std::size_t>(count);
    }
    bytes = {memory_, size};
    return 0;
  }

 private:
  std::byte* memory_ = nullptr;
};

const char* text_of(int error) {
  const char* const text = ::strerrordesc_np(error);
  return text != nullptr ? text : "unknown error";
}

// The page that `address` lies in. Never with O_SYNC: an uncached mapping is refused where the
// kernel's own driver has a cached one.
const std::byte* map_page(const char* memory, std::uint64_t address, int& error) {
  const UniqueFd file(::open(memory, O_RDONLY | O_CLOEXEC));
  if (!file) {
    error = errno;
    return nullptr;
  }
  void* const page = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file.get(),
                            static_cast<off_t>(address & ~(kPage - 1)));
  if (page == MAP_FAILED) {
    error = errno;
    return nullptr;
  }
  return static_cast<const std::byte*>(page);
}

PhysicalWord absent(const char* problem) {
  return {.problem = problem};
}

PhysicalWord open_restore_page(const char* memory, const PhysicalRange& range) {
  if (range.start % kPage != 0 || range.size < kPage) {
    return absent("the restore page is not where a page can be");
  }
  int error = 0;
  const std::byte* const mapped = map_page(memory, range.start, error);
  if (mapped == nullptr) return absent(text_of(error));
  const auto* const page = reinterpret_cast<const clonesafe_restore_page*>(mapped);
  if (page->magic != CLONESAFE_RESTORE_PAGE_MAGIC ||
      page->version != CLONESAFE_RESTORE_PAGE_VERSION || page->generation == 0) {
    (void)::munmap(const_cast<std::byte*>(mapped), kPage);
    return absent("not a restore page of a known version");
  }
  return {.device = PhysicalWord::Device::kRestorePage,
          .word = &page->generation,
          .id = page->restore_id};
}

PhysicalWord open_vmgenid(const char* memory, std::uint64_t address) {
  const std::uint64_t offset = address % kPage;
  if (offset + CLONESAFE_VMGENID_SIZE > kPage) return absent("VMGENID lies across two pages");
  int error = 0;
  const std::byte* const mapped = map_page(memory, address, error);
  if (mapped == nullptr) return absent(text_of(error));
  return {.device = PhysicalWord::Device::kVmgenid,
          .word = reinterpret_cast<const std::uint64_t*>(mapped + offset),
          .id = reinterpret_cast<const std::uint8_t*>(mapped + offset)};
}

PhysicalWord find_vmgenid_in_tables(const PhysicalPaths& paths, Buffer& buffer) {
  int error = 0;
  for (int i = -1; i <= kMostTables; ++i) {
    char path[512];
    const bool numbered = i > 0;
    const int length = numbered
                           ? std::snprintf(path, sizeof(path), "%s/SSDT%d", paths.acpi_tables, i)
                           : std::snprintf(path, sizeof(path), "%s/%s", paths.acpi_tables,
                                           i < 0 ? "DSDT" : "SSDT");
    if (length < 0 || static_cast<std::size_t>(length) >= sizeof(path)) return absent("path");
    std::span<const std::byte> table;
    if (const int failed = buffer.read(path, table); failed != 0) {
      if (failed != ENOENT) error = failed;
      continue;
    }
    if (const auto found = find_vmgenid(table)) return open_vmgenid(paths.memory, found->address);
  }
  return absent(error != 0 ? text_of(error) : "no restore page and no VMGENID device");
}

}  // namespace

PhysicalWord find_physical_word(const PhysicalPaths& paths) {
  Buffer buffer;
  if (!buffer) return absent("no memory");
  std::span<const std::byte> bytes;
  if (const int error = buffer.read(paths.iomem, bytes); error != 0) return absent(text_of(error));
  const std::string_view iomem(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const IomemEntry entry = find_in_iomem(iomem, CLONESAFE_RESTORE_PAGE_HID);
  PhysicalWord page = {};
  if (entry.condition == IomemEntry::Condition::kFound) {
    page = open_restore_page(paths.memory, entry.range);
    if (page.problem == nullptr) return page;
  }
  const PhysicalWord vmgenid = find_vmgenid_in_tables(paths, buffer);
  return vmgenid.problem != nullptr && page.problem != nullptr ? page : vmgenid;
}

}  // namespace clonesafe::core
