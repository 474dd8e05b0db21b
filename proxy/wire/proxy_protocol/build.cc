#include <algorithm>
#include <limits>

#include "proxy/wire/proxy_protocol/crc32c.h"
#include "proxy/wire/proxy_protocol/format.h"
#include "proxy/wire/proxy_protocol/tlv.h"

namespace clonesafe::wire::proxy_protocol {
namespace {

Status append_text(std::string& out, const Header& header) {
  if (header.command == Command::kLocal || header.transport == Transport::kUnspecified) {
    out.append("PROXY UNKNOWN\r\n");
    return {};
  }
  if (header.transport != Transport::kTcp4 && header.transport != Transport::kTcp6)
    return fail("PROXY header: version 1 is for TCP only");
  const bool ipv4 = header.transport == Transport::kTcp4;
  const auto text = ipv4 ? ipv4_text : ipv6_text;
  out.append(kTextPrefix).append(ipv4 ? "TCP4 " : "TCP6 ");
  out.append(text(header.source)).append(" ").append(text(header.destination)).append(" ");
  out.append(std::to_string(header.source.port)).append(" ");
  out.append(std::to_string(header.destination.port)).append(kLineEnd);
  return {};
}

// The two lower bytes of `number`.
void put_big_endian_16(std::string& out, std::size_t at, std::size_t number) {
  out[at] = static_cast<char>(number >> 8);
  out[at + 1] = static_cast<char>(number);
}

void append_ip(std::string& out, const Header& header) {
  const std::size_t size = is_ipv4(header.transport) ? kIpv4Size : kIpv6Size;
  for (const Address* const address : {&header.source, &header.destination})
    out.append(address->ip.begin(), address->ip.begin() + size);
  append_big_endian_16(out, header.source.port);
  append_big_endian_16(out, header.destination.port);
}

Status append_paths(std::string& out, const Header& header) {
  for (const Address* const address : {&header.source, &header.destination}) {
    const std::string_view path = address->path;
    // What parse_header() would read as another path.
    if (path.size() > kUnixPathSize || path.ends_with('\0') ||
        (!path.starts_with('\0') && path.contains('\0')))
      return fail("PROXY header: a path of more than 108 bytes or with a NUL in it");
    out.append(path).append(kUnixPathSize - path.size(), '\0');
  }
  return {};
}

// A checksum that was of another header is of no use.
Status append_tlvs(std::string& out, std::string_view tlvs) {
  TlvReader reader(tlvs);
  while (true) {
    const auto next = reader.next();
    if (!next) return fail(next.error(), "PROXY header");
    const std::optional<Tlv>& tlv = *next;
    if (!tlv) return {};
    if (tlv->type == TlvType::kCrc32c) continue;
    if (auto appended = append_tlv(out, tlv->type, tlv->value); !appended) return appended;
  }
}

Status append_binary(std::string& out, const Header& header, bool checksum) {
  const bool local = header.command == Command::kLocal;
  const Transport transport = local ? Transport::kUnspecified : header.transport;
  const auto addresses = addresses_size(transport);
  if (!addresses) return fail("PROXY header: a transport that is none");
  const std::size_t begin = out.size();
  out.append(kSignature);
  out.push_back(static_cast<char>(kVersion | static_cast<std::uint8_t>(header.command)));
  out.push_back(static_cast<char>(transport));
  append_big_endian_16(out, 0);
  if (is_unix(transport)) {
    if (auto appended = append_paths(out, header); !appended) return appended;
  } else if (transport != Transport::kUnspecified) {
    append_ip(out, header);
  }
  if (auto appended = append_tlvs(out, header.tlvs); !appended) return appended;
  if (checksum) {
    // It is computed with zeroes in its place.
    auto appended = append_tlv(out, TlvType::kCrc32c, std::string_view("\0\0\0\0", kChecksumSize));
    if (!appended) return appended;
  }
  const std::size_t size = out.size() - begin - kFixedSize;
  if (size > std::numeric_limits<std::uint16_t>::max())
    return fail("PROXY header: more than 65535 bytes");
  put_big_endian_16(out, begin + kFixedSize - 2, size);
  if (!checksum) return {};
  const std::uint32_t value = crc32c(std::string_view(out).substr(begin));
  put_big_endian_16(out, out.size() - kChecksumSize, value >> 16);
  put_big_endian_16(out, out.size() - kChecksumSize + 2, value);
  return {};
}

}  // namespace

Status append_header(std::string& out, const Header& header, bool checksum) {
  const std::size_t begin = out.size();
  auto appended =
      header.version == 1 ? append_text(out, header) : append_binary(out, header, checksum);
  if (!appended) out.resize(begin);
  return appended;
}

}  // namespace clonesafe::wire::proxy_protocol
