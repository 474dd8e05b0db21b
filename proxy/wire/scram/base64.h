#ifndef CLONESAFE_PROXY_WIRE_SCRAM_BASE64_H_
#define CLONESAFE_PROXY_WIRE_SCRAM_BASE64_H_

#include <optional>
#include <string>
#include <string_view>

namespace clonesafe::wire::scram {

// RFC 4648, section 4, with padding.
std::string base64(std::string_view bytes);

// Nothing but what base64() writes is read: no space, and no bits set behind the end.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_PROXY_WIRE_SCRAM_BASE64_H_
