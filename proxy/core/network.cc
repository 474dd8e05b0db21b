#include "proxy/core/network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <charconv>
#include <cstring>
#include <optional>

namespace clonesafe::proxy {
namespace {

namespace ip = boost::asio::ip;

std::vector<unsigned char> bytes_of_address(const ip::address& address) {
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    return {bytes.begin(), bytes.end()};
  }
  const ip::address_v6 v6 = address.to_v6();
  const auto bytes = v6.to_bytes();
  constexpr std::size_t kIpv4At = 12;
  return {bytes.begin() + (v6.is_v4_mapped() ? kIpv4At : 0), bytes.end()};
}

std::optional<unsigned> number_of(std::string_view text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::vector<unsigned char> ip_of(const Endpoint& endpoint) {
  const int family = endpoint.protocol().family();
  if (family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, endpoint.data(), std::min(endpoint.size(), sizeof v4));
    return bytes_of_address(ip::address_v4(ntohl(v4.sin_addr.s_addr)));
  }
  if (family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, endpoint.data(), std::min(endpoint.size(), sizeof v6));
    ip::address_v6::bytes_type bytes;
    std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
    return bytes_of_address(ip::address_v6(bytes));
  }
  return {};
}

Result<Network> Network::parse(std::string_view text) {
  const auto bad = [text] {
    return fail("'" + std::string(text) +
                "' is no network: ADDRESS, ADDRESS/BITS or \"unix\", without bits beyond BITS");
  };
  Network network;
  if (text == "unix") {
    network.family_ = AF_UNIX;
    return network;
  }
  const std::size_t slash = text.find('/');
  boost::system::error_code error;
  const auto address = ip::make_address(std::string(text.substr(0, slash)), error);
  if (error || (address.is_v6() && address.to_v6().scope_id() != 0)) return bad();
  network.address_ = bytes_of_address(address);
  const auto most = static_cast<unsigned>(network.address_.size() * 8);
  network.prefix_ = most;
  if (slash != std::string_view::npos) {
    const auto bits = number_of(text.substr(slash + 1));
    if (!bits || *bits > most) return bad();
    network.prefix_ = *bits;
  }
  for (unsigned bit = network.prefix_; bit < most; ++bit) {
    if ((network.address_[bit / 8] & (0x80u >> bit % 8)) != 0) return bad();
  }
  return network;
}

std::string Network::text() const {
  if (family_ == AF_UNIX) return "unix";
  std::array<char, INET6_ADDRSTRLEN> text{};
  // It can't fail: the family is known, and the text is large enough.
  ::inet_ntop(address_.size() == sizeof(in_addr) ? AF_INET : AF_INET6, address_.data(), text.data(),
              text.size());
  return text.data() + ("/" + std::to_string(prefix_));
}

bool Network::contains(const Endpoint& endpoint) const {
  if (family_ == AF_UNIX) return endpoint.protocol().family() == AF_UNIX;
  const std::vector<unsigned char> address = ip_of(endpoint);
  if (address.size() != address_.size()) return false;
  for (unsigned bit = 0; bit < prefix_; ++bit) {
    if (((address[bit / 8] ^ address_[bit / 8]) & (0x80u >> bit % 8)) != 0) return false;
  }
  return true;
}

}  // namespace clonesafe::proxy
