#include "vmm_device/generation/registered_page.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdio>
#include <string>

#include "vmm_device/generation/shared_page.h"

namespace clonesafe {
namespace {

constexpr std::size_t kControl = offsetof(clonesafe_generation_page, control);

std::unexpected<Error> refuse(GuestAddress address, const char* why) {
  char text[64];
  std::snprintf(text, sizeof text,
                "generation page at 0x%llx: ", static_cast<unsigned long long>(address.value()));
  return fail(text + std::string(why));
}

Result<SharedPage> checked_page(const GuestMemory& memory, const PageRegistration& registration) {
  const GuestAddress address = registration.address;
  if (address.value() % SharedPage::kSize != 0) return refuse(address, "not aligned to 4 KiB");
  auto bytes = memory.at(address, SharedPage::kSize);
  if (!bytes) return refuse(address, "not in the guest's memory");
  const SharedPage page(bytes->data());
  if (page.load<std::uint64_t>(offsetof(clonesafe_generation_page, magic)) !=
      CLONESAFE_GENERATION_PAGE_MAGIC) {
    return refuse(address, "no generation page there (magic)");
  }
  if (page.load<std::uint32_t>(offsetof(clonesafe_generation_page, version)) !=
      CLONESAFE_GENERATION_PAGE_VERSION) {
    return refuse(address, "unknown version");
  }
  if (page.load<std::uint32_t>(offsetof(clonesafe_generation_page, size)) !=
      CLONESAFE_GENERATION_PAGE_SIZE) {
    return refuse(address, "wrong size");
  }
  PageNonce nonce;
  page.load_words(offsetof(clonesafe_generation_page, nonce), nonce);
  if (nonce != registration.nonce) return refuse(address, "not the registered nonce");
  return page;
}

constexpr std::size_t slot_offset(unsigned slot) {
  return offsetof(clonesafe_generation_page, slots) + slot * sizeof(clonesafe_generation_slot);
}

}  // namespace

Status check_registered_page(const GuestMemory& memory, const PageRegistration& registration) {
  if (auto page = checked_page(memory, registration); !page) return fail(std::move(page).error());
  return {};
}

Status write_registered_page(const GuestMemory& memory, const PageRegistration& registration,
                             const PageEvent& event) {
  auto page = checked_page(memory, registration);
  if (!page) return fail(std::move(page).error());

  // The kernel's generator is the agent's to reseed and to count: its epoch goes on as it was. A
  // control word that names no slot (nobody but a broken guest writes one) starts it at 0.
  const auto control = page->load<std::uint64_t>(kControl);
  const unsigned in_force = CLONESAFE_GENERATION_SLOT_OF(control);
  const std::uint64_t kernel_rng_epoch =
      in_force < CLONESAFE_GENERATION_SLOTS
          ? page->load<std::uint64_t>(slot_offset(in_force) +
                                      offsetof(clonesafe_generation_slot, kernel_rng_epoch))
          : 0;

  // Slot 2 may be the one in force, when the agent has published nothing since the last restore. A
  // reader that was caught in the middle of copying it finds the control word changed.
  const std::size_t slot = slot_offset(CLONESAFE_GENERATION_VMM_SLOT);
  page->zero(slot, sizeof(clonesafe_generation_slot));
  page->store(slot + offsetof(clonesafe_generation_slot, generation), event.generation);
  page->store(slot + offsetof(clonesafe_generation_slot, reseed_epoch), event.reseed_epoch);
  page->store(slot + offsetof(clonesafe_generation_slot, kernel_rng_epoch), kernel_rng_epoch);
  page->store_words(slot + offsetof(clonesafe_generation_slot, diversifier), event.diversifier);
  page->store_words(slot + offsetof(clonesafe_generation_slot, vm_generation_id),
                    event.vm_generation_id);
  page->store_words(slot + offsetof(clonesafe_generation_slot, restore_id), event.restore_id);
  page->store(slot + offsetof(clonesafe_generation_slot, host_realtime_ns), event.host_realtime_ns);
  page->store(slot + offsetof(clonesafe_generation_slot, state),
              std::uint32_t{CLONESAFE_STATE_REPAIRING});
  page->store(slot + offsetof(clonesafe_generation_slot, tier), std::uint32_t{CLONESAFE_TIER_WORD});
  std::uint64_t next = CLONESAFE_GENERATION_NEXT(control, CLONESAFE_GENERATION_VMM_SLOT);
  // Count 0 means "nothing published" to readers. Only a forged control word gets here.
  if (next == CLONESAFE_GENERATION_VMM_SLOT) {
    next = CLONESAFE_GENERATION_NEXT(0u, CLONESAFE_GENERATION_VMM_SLOT);
  }
  page->store(kControl, next, std::memory_order_release);
  // checked_page() has found these bytes.
  if (auto bytes = memory.at(registration.address, SharedPage::kSize)) memory.wrote(*bytes);
  return {};
}

Result<Diversifier> derive_diversifier(const Seed& seed) {
  constexpr std::string_view kLabel = CLONESAFE_DIVERSIFIER_LABEL;
  Diversifier diversifier{};
  unsigned size = 0;
  const unsigned char* result =
      HMAC(EVP_sha256(), seed.data(), static_cast<int>(seed.size()),
           reinterpret_cast<const unsigned char*>(kLabel.data()), kLabel.size(),
           reinterpret_cast<unsigned char*>(diversifier.data()), &size);
  if (result == nullptr || size != diversifier.size()) {
    return fail("diversifier: HMAC-SHA256 of libcrypto failed");
  }
  return diversifier;
}

}  // namespace clonesafe
