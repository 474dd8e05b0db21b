#include <algorithm>

#include "proxy/wire/proxy_protocol/crc32c.h"
#include "proxy/wire/proxy_protocol/format.h"
#include "proxy/wire/proxy_protocol/tlv.h"

namespace clonesafe::wire::proxy_protocol {
namespace {

void read_ip(std::string_view bytes, std::size_t ip_size, Header& header) {
  const auto ip = [&](std::size_t at, Address& address) {
    std::ranges::copy(bytes.substr(at, ip_size), address.ip.begin());
  };
  ip(0, header.source);
  ip(ip_size, header.destination);
  header.source.port = big_endian_16(bytes.substr(2 * ip_size));
  header.destination.port = big_endian_16(bytes.substr(2 * ip_size + 2));
}

// An abstract name has no end but the field's, so the zeroes at the end are not of it either.
std::string_view path_of(std::string_view field) {
  const std::size_t last = field.find_last_not_of('\0');
  if (last == field.npos) return {};
  return field.starts_with('\0') ? field.substr(0, last + 1) : field.substr(0, field.find('\0'));
}

std::uint32_t big_endian_32(std::string_view bytes) {
  return static_cast<std::uint32_t>(big_endian_16(bytes)) << 16 | big_endian_16(bytes.substr(2));
}

// Every entry has to be there whole, and a checksum of the header to be right (2.2.3).
Status check_tlvs(std::string_view header, std::string_view tlvs) {
  std::optional<std::size_t> checksum_at;
  TlvReader reader(tlvs);
  while (true) {
    const auto next = reader.next();
    if (!next) return fail(next.error(), "PROXY header");
    const std::optional<Tlv>& tlv = *next;
    if (!tlv) break;
    if (tlv->type != TlvType::kCrc32c) continue;
    if (checksum_at) return fail("PROXY header: more than one CRC32C");
    if (tlv->value.size() != kChecksumSize) return fail("PROXY header: a CRC32C of another size");
    checksum_at = header.size() - reader.rest().size() - kChecksumSize;
  }
  if (!checksum_at) return {};
  // It was computed with zeroes in its place.
  std::uint32_t checksum = crc32c(header.substr(0, *checksum_at));
  checksum = crc32c(std::string_view("\0\0\0\0", kChecksumSize), checksum);
  checksum = crc32c(header.substr(*checksum_at + kChecksumSize), checksum);
  if (checksum != big_endian_32(header.substr(*checksum_at)))
    return fail("PROXY header: its CRC32C is of other bytes");
  return {};
}

}  // namespace

Result<std::optional<Header>> parse_binary(std::string_view input, HeaderLimits limits) {
  if (input.size() < kFixedSize) return std::nullopt;
  const auto version_and_command = static_cast<std::uint8_t>(input[12]);
  if ((version_and_command & 0xf0) != kVersion) return fail("PROXY header: no version 2");
  const std::uint8_t command = version_and_command & 0x0f;
  if (command > static_cast<std::uint8_t>(Command::kProxy))
    return fail("PROXY header: a command other than LOCAL and PROXY");
  Header header{.command = static_cast<Command>(command)};
  header.size = kFixedSize + big_endian_16(input.substr(14));
  if (header.size > limits.size)
    return fail("PROXY header: " + std::to_string(header.size) + " bytes, more than " +
                std::to_string(limits.size));
  const auto transport = static_cast<Transport>(input[13]);
  const auto size = addresses_size(transport);
  // 2.2: of LOCAL nothing but the length counts.
  if (header.command == Command::kProxy) {
    if (!size) return fail("PROXY header: a transport that is none");
    if (header.size - kFixedSize < *size) return fail("PROXY header: shorter than its addresses");
  }
  if (input.size() < header.size) return std::nullopt;
  if (header.command == Command::kLocal) return header;

  header.transport = transport;
  const std::string_view addresses = input.substr(kFixedSize, *size);
  if (is_unix(transport)) {
    header.source.path = path_of(addresses.substr(0, kUnixPathSize));
    header.destination.path = path_of(addresses.substr(kUnixPathSize));
  } else if (transport != Transport::kUnspecified) {
    read_ip(addresses, is_ipv4(transport) ? kIpv4Size : kIpv6Size, header);
  }
  header.tlvs = input.substr(kFixedSize + *size, header.size - kFixedSize - *size);
  if (auto valid = check_tlvs(input.substr(0, header.size), header.tlvs); !valid)
    return fail(std::move(valid).error());
  return header;
}

Result<std::optional<Header>> parse_header(std::string_view input, HeaderLimits limits,
                                           Accept accept) {
  const auto begins_with = [input](std::string_view prefix) {
    return input.starts_with(prefix.substr(0, input.size()));
  };
  if (accept != Accept::kBinaryOnly && begins_with(kTextPrefix)) {
    if (input.size() < kTextPrefix.size()) return std::nullopt;
    return parse_text(input);
  }
  if (accept != Accept::kTextOnly && begins_with(kSignature)) return parse_binary(input, limits);
  return fail("PROXY header: the connection begins with something else");
}

}  // namespace clonesafe::wire::proxy_protocol
