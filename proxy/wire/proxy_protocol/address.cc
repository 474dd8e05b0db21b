#include "proxy/wire/proxy_protocol/address.h"

#include <arpa/inet.h>

#include <algorithm>

namespace clonesafe::wire::proxy_protocol {
namespace {

std::string text_of(int family, const Address& address) {
  char text[INET6_ADDRSTRLEN];
  // It can't fail: both families are known, and the text is large enough.
  return ::inet_ntop(family, address.ip.data(), text, sizeof text);
}

bool parse(int family, std::string_view text, Address& address) {
  // inet_pton() takes no zeroes in front of IPv4's numbers and no zone, but text that ends with
  // NUL.
  char terminated[INET6_ADDRSTRLEN] = {};
  if (text.size() >= sizeof terminated || text.contains('\0')) return false;
  std::ranges::copy(text, terminated);
  address.ip = {};
  return ::inet_pton(family, terminated, address.ip.data()) == 1;
}

}  // namespace

std::string ipv4_text(const Address& address) {
  return text_of(AF_INET, address);
}
std::string ipv6_text(const Address& address) {
  return text_of(AF_INET6, address);
}
bool parse_ipv4(std::string_view text, Address& address) {
  return parse(AF_INET, text, address);
}
bool parse_ipv6(std::string_view text, Address& address) {
  return parse(AF_INET6, text, address);
}

}  // namespace clonesafe::wire::proxy_protocol
