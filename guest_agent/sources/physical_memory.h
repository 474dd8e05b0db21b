#ifndef CLONESAFE_GUEST_AGENT_SOURCES_PHYSICAL_MEMORY_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_PHYSICAL_MEMORY_H_

#include <cstdint>
#include <string>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/mapping.h"

namespace clonesafe::agent {

enum class Access { kRead, kReadWrite };

// Maps guest-physical memory through `device` (/dev/mem). `address` may be anywhere in a page: the
// mapping starts at the page. The device is closed again before this returns: the mapping is all
// that the agent keeps.
//
// Never with O_SYNC: that asks for an uncached mapping, which the kernel refuses for a page that a
// driver holds write-back, and which would be the wrong memory type for the guest's RAM anyway.
Result<Mapping> map_physical(const std::string& device, std::uint64_t address, std::size_t size,
                             Access access);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_PHYSICAL_MEMORY_H_
