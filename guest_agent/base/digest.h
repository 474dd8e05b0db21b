#ifndef CLONESAFE_GUEST_AGENT_BASE_DIGEST_H_
#define CLONESAFE_GUEST_AGENT_BASE_DIGEST_H_

#include <initializer_list>
#include <span>
#include <string_view>

#include "guest_agent/base/bytes.h"
#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// SHA-256 over `label` and the parts, each with its length before it, so that no two lists of parts
// give the same input.
Result<Bytes32> digest(std::string_view label,
                       std::initializer_list<std::span<const std::uint8_t>> parts);

// The diversifier that the VMM derives from the same seed (clonesafe/abi/generation_page.h).
Result<Bytes32> diversifier_from_seed(std::span<const std::uint8_t, 32> seed);

// Zeroes secrets in a way the compiler can't leave out.
void wipe(std::span<std::uint8_t> bytes);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_BASE_DIGEST_H_
