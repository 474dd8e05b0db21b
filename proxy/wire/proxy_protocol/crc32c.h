#ifndef CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_CRC32C_H_
#define CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_CRC32C_H_

#include <cstdint>
#include <string_view>

namespace clonesafe::wire::proxy_protocol {

// CRC-32C (Castagnoli, RFC 9260, appendix A). Bytes in pieces: `before` is the checksum of those in
// front.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

}  // namespace clonesafe::wire::proxy_protocol

#endif  // CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_CRC32C_H_
