// guest_agent/base: the few helpers that all parts of the guest agent share: ids and their text,
// digests, whole-file reads and writes, the log.
#ifndef CLONESAFE_GUEST_AGENT_BASE_BYTES_H_
#define CLONESAFE_GUEST_AGENT_BASE_BYTES_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace clonesafe::agent {

// 16 bytes in memory order: a restore id, a VM generation id, a nonce.
using Id16 = std::array<std::uint8_t, 16>;
using Bytes32 = std::array<std::uint8_t, 32>;

inline bool is_zero(std::span<const std::uint8_t> bytes) {
  for (const std::uint8_t byte : bytes) {
    if (byte != 0) return false;
  }
  return true;
}

// Lower-case hexadecimal, in memory order.
std::string hex(std::span<const std::uint8_t> bytes);
// A number as the host protocol writes it: hexadecimal without a prefix.
std::string hex(std::uint64_t value);
// Exactly 32 hexadecimal digits.
std::optional<Id16> parse_id(std::string_view text);
// 1 to 16 hexadecimal digits.
std::optional<std::uint64_t> parse_hex(std::string_view text);
// A random (version 4, RFC 9562) UUID's text, its version and variant bits set over `bytes`.
std::string uuid4_text(Id16 bytes);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_BASE_BYTES_H_
