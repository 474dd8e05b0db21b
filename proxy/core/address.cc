#include "proxy/core/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <charconv>
#include <cstring>

namespace clonesafe::proxy {
namespace {

namespace asio = boost::asio;

constexpr std::string_view kUnix = "unix:";

sockaddr_storage storage_of(const Endpoint& endpoint) {
  sockaddr_storage storage{};
  std::memcpy(&storage, endpoint.data(), std::min(endpoint.size(), sizeof storage));
  return storage;
}

}  // namespace

std::string Address::text() const {
  if (is_unix()) return std::string(kUnix) + path;
  const bool bracketed = host.find(':') != std::string::npos;
  return (bracketed ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> parse_address(std::string_view text) {
  const auto bad = [text](const char* why) {
    return fail("'" + std::string(text) + "' is no address (" + why +
                "): HOST:PORT, [IPV6]:PORT or unix:/PATH");
  };
  if (text.starts_with(kUnix)) {
    const std::string path(text.substr(kUnix.size()));
    if (!path.starts_with('/')) return bad("the path is not absolute");
    if (path.size() >= sizeof(sockaddr_un::sun_path))
      return bad("the path has more than 107 bytes");
    if (path.find('\0') != std::string::npos) return bad("the path has a zero byte");
    return Address{.host = {}, .port = 0, .path = path};
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad("there is no port");
  std::string_view host = text.substr(0, colon);
  const std::string_view number = text.substr(colon + 1);
  unsigned port = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), port);
  if (error != std::errc() || end != number.data() + number.size() || port == 0 || port > 65535)
    return bad("the port is not from 1 to 65535");
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    in6_addr address{};
    if (::inet_pton(AF_INET6, std::string(host).c_str(), &address) != 1)
      return bad("what is in brackets is no IPv6 address");
  } else if (host.find(':') != std::string_view::npos) {
    return bad("an IPv6 address is in brackets");
  }
  if (host.empty()) return bad("there is no host");
  for (const char c : host) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return bad("the host has a blank");
  }
  return Address{.host = std::string(host), .port = static_cast<std::uint16_t>(port), .path = {}};
}

Result<Endpoint> numeric_endpoint(const Address& address) {
  if (address.is_unix()) return Endpoint(asio::local::stream_protocol::endpoint(address.path));
  boost::system::error_code error;
  const auto number = asio::ip::make_address(address.host, error);
  if (error) return fail(address.text() + ": the host is not an IP address");
  return Endpoint(asio::ip::tcp::endpoint(number, address.port));
}

Address address_of(const Endpoint& endpoint) {
  const sockaddr_storage storage = storage_of(endpoint);
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    const asio::ip::address_v4 address(ntohl(v4.sin_addr.s_addr));
    return {.host = address.to_string(), .port = ntohs(v4.sin_port), .path = {}};
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    asio::ip::address_v6::bytes_type bytes;
    std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
    const asio::ip::address_v6 address(bytes, v6.sin6_scope_id);
    return {.host = address.to_string(), .port = ntohs(v6.sin6_port), .path = {}};
  }
  return {.host = {}, .port = 0, .path = to_text(endpoint).substr(kUnix.size())};
}

std::string to_text(const Endpoint& endpoint) {
  const sockaddr_storage storage = storage_of(endpoint);
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    return std::string(text.data()) + ":" + std::to_string(ntohs(v4.sin_port));
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    return "[" + std::string(text.data()) + "]:" + std::to_string(ntohs(v6.sin6_port));
  }
  sockaddr_un name{};
  std::memcpy(&name, &storage, std::min(sizeof name, sizeof storage));
  return std::string(kUnix) +
         std::string(name.sun_path, ::strnlen(name.sun_path, sizeof name.sun_path));
}

bool is_local(const Endpoint& endpoint) {
  const sockaddr_storage storage = storage_of(endpoint);
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return v6.sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
  }
  return storage.ss_family == AF_UNIX;
}

std::uint16_t port_of(const Endpoint& endpoint) {
  const sockaddr_storage storage = storage_of(endpoint);
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    return ntohs(v4.sin_port);
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    return ntohs(v6.sin6_port);
  }
  return 0;
}

}  // namespace clonesafe::proxy
