#include "guest_agent/page/pin.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace clonesafe::agent {

Result<PagePin> PagePin::pin(std::span<std::byte> page) {
  PagePin pin;
  io_uring_params parameters = {};
  UniqueFd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 4, &parameters)));
  if (ring) {
    const iovec buffer = {.iov_base = page.data(), .iov_len = page.size()};
    if (::syscall(SYS_io_uring_register, ring.get(), IORING_REGISTER_BUFFERS, &buffer, 1) == 0) {
      pin.ring_ = std::move(ring);
      return pin;
    }
    pin.weakness_ = Error::from_errno("io_uring_register").message();
  } else {
    pin.weakness_ = Error::from_errno("io_uring_setup").message();
  }
  if (::mlock(page.data(), page.size()) != 0) return fail_errno("mlock of the generation page");
  return pin;
}

Result<std::uint64_t> guest_physical_address(std::span<const std::byte> page) {
  // Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bits 0-54 page frame number.
  constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
  constexpr std::uint64_t kFrameMask = (std::uint64_t{1} << 55) - 1;
  constexpr std::uint64_t kPageSize = 4096;
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap) return fail_errno("open of /proc/self/pagemap");
  const auto virtual_page = reinterpret_cast<std::uintptr_t>(page.data()) / kPageSize;
  std::uint64_t entry = 0;
  const auto offset = static_cast<off_t>(virtual_page * sizeof(entry));
  if (::pread(pagemap.get(), &entry, sizeof(entry), offset) != sizeof(entry)) {
    return fail_errno("read of /proc/self/pagemap");
  }
  if ((entry & kPresent) == 0) return fail("the generation page is not in memory");
  if ((entry & kFrameMask) == 0) return fail("page frame numbers are hidden from this process");
  return (entry & kFrameMask) * kPageSize;
}

}  // namespace clonesafe::agent
