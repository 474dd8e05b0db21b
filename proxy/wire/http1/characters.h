// Classes of bytes of RFC 9110 and 9112, and comparison of names without regard to case.
#ifndef CLONESAFE_PROXY_WIRE_HTTP1_CHARACTERS_H_
#define CLONESAFE_PROXY_WIRE_HTTP1_CHARACTERS_H_

#include <cstdint>
#include <optional>
#include <string_view>

namespace clonesafe::wire::http1 {

constexpr std::string_view kLineEnd = "\r\n";

// RFC 9110, 5.6.2.
bool is_token(std::string_view text);
// RFC 9110, 5.5: no control characters but tabs.
bool is_field_value(std::string_view text);
// VCHAR of RFC 5234: ASCII without spaces.
bool is_visible(std::string_view text);

// ASCII only, as names in HTTP are.
bool equals_ignoring_case(std::string_view one, std::string_view other);
// Without spaces and tabs at both ends.
std::string_view trimmed(std::string_view text);

// Of a list such as Connection's (RFC 9110, 5.6.1): takes the next element, empty ones left out.
std::optional<std::string_view> take_element(std::string_view& list);

// Digits only, no zero in front, below 2^63.
std::optional<std::uint64_t> decimal(std::string_view digits);

}  // namespace clonesafe::wire::http1

#endif  // CLONESAFE_PROXY_WIRE_HTTP1_CHARACTERS_H_
