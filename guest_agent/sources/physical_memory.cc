#include "guest_agent/sources/physical_memory.h"

#include <fcntl.h>

#include "guest_agent/base/bytes.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {

Result<Mapping> map_physical(const std::string& device, std::uint64_t address, std::size_t size,
                             Access access) {
  constexpr std::uint64_t kPage = 4096;
  constexpr std::uint64_t kHighest = std::uint64_t{1} << 52;  // the architecture's limit
  const std::string what = device + " at 0x" + hex(address);
  if (address >= kHighest || size > kHighest - address) {
    return fail(what + ": no such physical address");
  }
  const UniqueFd fd(
      ::open(device.c_str(), (access == Access::kRead ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!fd) return fail_errno("open of " + device);
  const std::uint64_t start = address & ~(kPage - 1);
  const std::size_t length =
      static_cast<std::size_t>(((address + size + kPage - 1) & ~(kPage - 1)) - start);
  return Mapping::map(what, length, access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE,
                      MAP_SHARED, fd.get(), static_cast<off_t>(start));
}

}  // namespace clonesafe::agent
