#ifndef CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_TLV_H_
#define CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_TLV_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"

namespace clonesafe::wire::proxy_protocol {

// PROXY protocol, 2.2. Others are passed on as bytes.
enum class TlvType : std::uint8_t {
  kAlpn = 0x01,
  kAuthority = 0x02,
  kCrc32c = 0x03,
  kNoop = 0x04,
  kUniqueId = 0x05,
  kSsl = 0x20,
  kNetns = 0x30,
};

struct Tlv {
  TlvType type = TlvType::kNoop;
  std::string_view value;
};

// Entries one after the other, as views. Not thread-safe.
class TlvReader {
 public:
  explicit TlvReader(std::string_view tlvs) : rest_(tlvs) {}

  // Nothing after the last one. An entry that is longer than what is there is an error.
  Result<std::optional<Tlv>> next();
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// Appends an entry. Refused: a value of more than 65535 bytes.
Status append_tlv(std::string& out, TlvType type, std::string_view value);

}  // namespace clonesafe::wire::proxy_protocol

#endif  // CLONESAFE_PROXY_WIRE_PROXY_PROTOCOL_TLV_H_
