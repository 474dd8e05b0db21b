#include "guest_agent/sources/seed_page.h"

#include <cstring>

#include "clonesafe/abi/restore_page.h"
#include "guest_agent/base/digest.h"

namespace clonesafe::agent {

Seed::~Seed() {
  agent::wipe(bytes_);
}

namespace {

// Whether the page holds an unused seed for this restore.
Status check_present(const volatile clonesafe_seed_page& page, const Id16& restore_id) {
  if (page.present != 1) return fail("the seed is used up");
  for (std::size_t i = 0; i < restore_id.size(); ++i) {
    if (page.restore_id[i] != restore_id[i]) return fail("the seed belongs to another restore");
  }
  return {};
}

}  // namespace

Status SeedPage::copy(const Id16& restore_id, Seed& seed) const {
  const auto& page = *reinterpret_cast<const volatile clonesafe_seed_page*>(mapping_.data());
  if (page.magic != CLONESAFE_SEED_PAGE_MAGIC) return fail("the seed page has no magic");
  if (page.version != CLONESAFE_SEED_PAGE_VERSION) {
    return fail("the seed page has the unknown version " + std::to_string(page.version));
  }
  if (auto present = check_present(page, restore_id); !present) return present;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  const auto bytes = seed.mutable_bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = page.seed[i];
  // A snapshot, or the host's wipe, in the middle of the copy leaves a mixed or half-zero seed.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (auto present = check_present(page, restore_id); !present) {
    agent::wipe(bytes);
    return present;
  }
  if (is_zero(bytes)) return fail("the seed is zero");
  return {};
}

Status SeedPage::wipe() {
  if (!writable_) return fail("the seed page is mapped read-only");
  auto& page = *reinterpret_cast<volatile clonesafe_seed_page*>(mapping_.data());
  // Seed first: a page that says "used" never holds one.
  for (volatile std::uint8_t& byte : page.seed) byte = 0;
  __atomic_thread_fence(__ATOMIC_RELEASE);
  page.present = 0;
  return {};
}

}  // namespace clonesafe::agent
