#include "guest_agent/page/published_page.h"

#include <sys/random.h>
#include <time.h>

#include <algorithm>
#include <cstring>

namespace clonesafe::agent {
namespace {

std::uint64_t boottime_ns() {
  timespec now = {};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

clonesafe_generation_slot make_slot(const Restore& restore, const Bytes32& diversifier,
                                    std::uint64_t kernel_rng_epoch,
                                    clonesafe_generation_state state, clonesafe_tier tier) {
  clonesafe_generation_slot slot = {};
  slot.generation = restore.generation;
  slot.reseed_epoch = restore.reseed_epoch;
  slot.kernel_rng_epoch = kernel_rng_epoch;
  std::copy(diversifier.begin(), diversifier.end(), slot.diversifier);
  std::copy(restore.vm_generation_id.begin(), restore.vm_generation_id.end(),
            slot.vm_generation_id);
  std::copy(restore.restore_id.begin(), restore.restore_id.end(), slot.restore_id);
  slot.host_realtime_ns = restore.host_realtime_ns;
  slot.published_ns = boottime_ns();
  slot.state = state;
  slot.tier = tier;
  return slot;
}

Result<PublishedPage> PublishedPage::open(const std::string& path, const Restore& restore,
                                          const Bytes32& diversifier) {
  auto writer = GenerationPageWriter::open(
      path, make_slot(restore, diversifier, 0, CLONESAFE_STATE_REPAIRING, CLONESAFE_TIER_LAGGING));
  if (!writer) return fail(std::move(writer.error()));
  PublishedPage page(std::move(*writer));
  auto pin = PagePin::pin(page.writer_.bytes());
  if (!pin) return fail(std::move(pin.error()));
  page.pin_ = std::move(*pin);
  return page;
}

Result<PageRegistration> PublishedPage::registration() {
  auto address = guest_physical_address(writer_.bytes());
  if (!address) return fail(std::move(address.error()));
  PageRegistration registration = {.address = *address};
  const auto* const page =
      reinterpret_cast<const clonesafe_generation_page*>(writer_.bytes().data());
  std::memcpy(registration.nonce.data(), page->nonce, registration.nonce.size());
  if (is_zero(registration.nonce)) {
    if (::getrandom(registration.nonce.data(), registration.nonce.size(), 0) !=
        static_cast<ssize_t>(registration.nonce.size())) {
      return fail_errno("getrandom");
    }
    writer_.set_nonce(registration.nonce);
  }
  return registration;
}

}  // namespace clonesafe::agent
