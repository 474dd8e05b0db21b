#ifndef CLONESAFE_VMM_DEVICE_GENERATION_VM_GENERATION_ID_H_
#define CLONESAFE_VMM_DEVICE_GENERATION_VM_GENERATION_ID_H_

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "clonesafe/abi/vmgenid.h"
#include "libclonesafe/base/error.h"

namespace clonesafe {

// The VMGENID as the guest sees it in memory.
using VmGenerationId = std::array<std::byte, CLONESAFE_VMGENID_SIZE>;

// As text it is a GUID whose first three fields are little-endian in memory (UAPI.14), the form
// that QEMU's `guid=` and `query-vm-generation-id` use: "00112233-4455-6677-8899-aabbccddeeff".
std::string to_guid(const VmGenerationId& id);
Result<VmGenerationId> parse_guid(std::string_view text);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_GENERATION_VM_GENERATION_ID_H_
