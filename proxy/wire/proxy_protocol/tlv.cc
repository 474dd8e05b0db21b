#include "proxy/wire/proxy_protocol/tlv.h"

#include <limits>

#include "proxy/wire/proxy_protocol/format.h"

namespace clonesafe::wire::proxy_protocol {

Result<std::optional<Tlv>> TlvReader::next() {
  if (rest_.empty()) return std::nullopt;
  if (rest_.size() < kTlvHeaderSize) return fail("a TLV that is cut off");
  const std::size_t size = big_endian_16(rest_.substr(1));
  if (rest_.size() - kTlvHeaderSize < size) return fail("a TLV longer than its header");
  const Tlv tlv{.type = static_cast<TlvType>(rest_[0]),
                .value = rest_.substr(kTlvHeaderSize, size)};
  rest_.remove_prefix(kTlvHeaderSize + size);
  return tlv;
}

Status append_tlv(std::string& out, TlvType type, std::string_view value) {
  if (value.size() > std::numeric_limits<std::uint16_t>::max())
    return fail("a TLV of more than 65535 bytes");
  out.push_back(static_cast<char>(type));
  append_big_endian_16(out, static_cast<std::uint16_t>(value.size()));
  out.append(value);
  return {};
}

}  // namespace clonesafe::wire::proxy_protocol
