#ifndef CLONESAFE_GUEST_AGENT_SOURCES_SEED_PAGE_H_
#define CLONESAFE_GUEST_AGENT_SOURCES_SEED_PAGE_H_

#include "guest_agent/base/bytes.h"
#include "libclonesafe/base/error.h"
#include "libclonesafe/base/mapping.h"

namespace clonesafe::agent {

// The secret bytes of one restore. Short-lived: zeroed when it goes out of scope, because a copy
// that stays in memory would be in the next snapshot.
class Seed {
 public:
  Seed() = default;
  explicit Seed(const Bytes32& bytes) : bytes_(bytes) {}
  ~Seed();
  Seed(const Seed&) = delete;
  Seed& operator=(const Seed&) = delete;

  std::span<const std::uint8_t, 32> bytes() const { return bytes_; }
  std::span<std::uint8_t, 32> mutable_bytes() { return bytes_; }

 private:
  Bytes32 bytes_ = {};
};

// The seed page of clonesafe/abi/restore_page.h.
class SeedPage {
 public:
  SeedPage(Mapping mapping, bool writable) : mapping_(std::move(mapping)), writable_(writable) {}

  // Copies the seed of this restore. An error says why there is none: never given, used up, or of
  // another restore (then it isn't for this machine state and must not be used).
  Status copy(const Id16& restore_id, Seed& seed) const;
  // Zeroes the seed and marks it used. An error if the page can't be written.
  Status wipe();

 private:
  Mapping mapping_;
  bool writable_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_SOURCES_SEED_PAGE_H_
