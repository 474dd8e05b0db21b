#include "vmm_device/net/tcp_segment.h"

#include <netinet/in.h>

#include <cstdint>

namespace clonesafe::network {
namespace {

constexpr std::size_t kAddresses = 12;  // of Ethernet
constexpr std::uint16_t kVlan = 0x8100, kOuterVlan = 0x88a8, kIpv4 = 0x0800, kIpv6 = 0x86dd;
constexpr std::size_t kIpv4Header = 20, kIpv6Header = 40, kFragmentHeader = 8;
constexpr std::size_t kTcpFlags = 13;
constexpr std::uint8_t kSyn = 0x02, kAck = 0x10;

using Bytes = std::span<const std::byte>;

std::uint8_t byte_at(Bytes bytes, std::size_t at) {
  return std::to_integer<std::uint8_t>(bytes[at]);
}
std::uint16_t word_at(Bytes bytes, std::size_t at) {
  return static_cast<std::uint16_t>(byte_at(bytes, at) << 8 | byte_at(bytes, at + 1));
}
Bytes behind(Bytes bytes, std::size_t size) {
  return size < bytes.size() ? bytes.subspan(size) : Bytes();
}

// What is too short to have flags opens no connection either.
bool is_not_first(Bytes tcp) {
  return tcp.size() <= kTcpFlags || (byte_at(tcp, kTcpFlags) & (kSyn | kAck)) != kSyn;
}

bool continues_in_ipv4(Bytes ip) {
  if (ip.size() < kIpv4Header || byte_at(ip, 9) != IPPROTO_TCP) return false;
  const bool is_fragment_behind = (word_at(ip, 6) & 0x1fff) != 0;
  return is_fragment_behind || is_not_first(behind(ip, (byte_at(ip, 0) & 0xfu) * 4u));
}

bool continues_in_ipv6(Bytes ip) {
  if (ip.size() < kIpv6Header) return false;
  std::uint8_t next = byte_at(ip, 6);
  ip = behind(ip, kIpv6Header);
  while (next != IPPROTO_TCP) {
    if (ip.size() < kFragmentHeader) return false;
    switch (next) {
      case IPPROTO_HOPOPTS:
      case IPPROTO_ROUTING:
      case IPPROTO_DSTOPTS:
        next = byte_at(ip, 0);
        ip = behind(ip, (byte_at(ip, 1) + 1u) * 8u);
        break;
      case IPPROTO_FRAGMENT:
        next = byte_at(ip, 0);
        if ((word_at(ip, 2) & 0xfff8) != 0) return next == IPPROTO_TCP;
        ip = behind(ip, kFragmentHeader);
        break;
      default:
        return false;
    }
  }
  return is_not_first(ip);
}

}  // namespace

bool continues_connection(std::span<const std::byte> head) {
  Bytes rest = behind(head, kAddresses);
  for (int tags = 0; rest.size() >= 2; ++tags) {
    const std::uint16_t type = word_at(rest, 0);
    if (type == kIpv4) return continues_in_ipv4(rest.subspan(2));
    if (type == kIpv6) return continues_in_ipv6(rest.subspan(2));
    if ((type != kVlan && type != kOuterVlan) || tags == 2) return false;
    rest = behind(rest, 4);
  }
  return false;
}

}  // namespace clonesafe::network
