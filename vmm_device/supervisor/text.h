#ifndef CLONESAFE_VMM_DEVICE_SUPERVISOR_TEXT_H_
#define CLONESAFE_VMM_DEVICE_SUPERVISOR_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace clonesafe::supervisor {

// Lower-case hexadecimal: bytes in memory order, a number without prefix (16 digits).
std::string hex(std::span<const std::byte> bytes);
std::string hex(std::uint64_t value);

// `text` with all but printable ASCII replaced by '?': repairs are named by the guest, and what a
// guest says must not move an operator's cursor.
std::string printable(std::string_view text);

// "1.5 GiB", "12 KiB".
std::string human_size(std::uint64_t bytes);

// 2026-11-24T04:00:00Z
std::string utc_time(std::uint64_t realtime_ns);

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_VMM_DEVICE_SUPERVISOR_TEXT_H_
