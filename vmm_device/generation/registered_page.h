#ifndef CLONESAFE_VMM_DEVICE_GENERATION_REGISTERED_PAGE_H_
#define CLONESAFE_VMM_DEVICE_GENERATION_REGISTERED_PAGE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "clonesafe/abi/generation_page.h"
#include "clonesafe/abi/restore_page.h"
#include "libclonesafe/base/error.h"
#include "vmm_device/core/guest_memory.h"
#include "vmm_device/generation/vm_generation_id.h"

namespace clonesafe {

using PageNonce = std::array<std::byte, CLONESAFE_GENERATION_NONCE_SIZE>;
using RestoreId = std::array<std::byte, 16>;
using Seed = std::array<std::byte, CLONESAFE_SEED_SIZE>;
using Diversifier = std::array<std::byte, CLONESAFE_DIVERSIFIER_SIZE>;

// The generation page that the guest's agent told us of.
struct PageRegistration {
  GuestAddress address;
  PageNonce nonce{};
};

// What the VMM tells of a restore in that page.
struct PageEvent {
  std::uint64_t generation = 0;
  std::uint64_t reseed_epoch = 0;
  Diversifier diversifier{};
  VmGenerationId vm_generation_id{};
  RestoreId restore_id{};
  std::uint64_t host_realtime_ns = 0;
};

// Whether the registered page is (still) where the guest said, with the registered nonce. The bytes
// are the guest's: nothing of them is believed but what this checks.
Status check_registered_page(const GuestMemory& memory, const PageRegistration& registration);

// Fills slot 2 and commits it with the state `repairing`, tier `word`
// (docs/formats/generation-page.md). Checks the page first and writes nothing when the check fails.
// No vCPU may run.
Status write_registered_page(const GuestMemory& memory, const PageRegistration& registration,
                             const PageEvent& event);

// HMAC-SHA256(seed, CLONESAFE_DIVERSIFIER_LABEL): the agent derives the same. libcrypto fetches its
// algorithms on first use; a zygote calls this once so that its children don't pay for that.
Result<Diversifier> derive_diversifier(const Seed& seed);

}  // namespace clonesafe

#endif  // CLONESAFE_VMM_DEVICE_GENERATION_REGISTERED_PAGE_H_
