#include "proxy/upstream/proxy_header.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <optional>

#include "proxy/core/bytes.h"
#include "proxy/core/network.h"
#include "proxy/wire/proxy_protocol/header.h"

namespace clonesafe::proxy {
namespace {

namespace asio = boost::asio;
namespace wire_format = wire::proxy_protocol;

wire_format::Address address_of(const std::vector<unsigned char>& ip, std::uint16_t port) {
  wire_format::Address address{.port = port};
  std::ranges::copy(ip, address.ip.begin());
  return address;
}

Endpoint endpoint_of(const wire_format::Address& address, bool ipv4) {
  if (ipv4) {
    asio::ip::address_v4::bytes_type bytes{};
    std::copy_n(address.ip.begin(), bytes.size(), bytes.begin());
    return asio::ip::tcp::endpoint(asio::ip::address_v4(bytes), address.port);
  }
  asio::ip::address_v6::bytes_type bytes{};
  std::ranges::copy(address.ip, bytes.begin());
  return asio::ip::tcp::endpoint(asio::ip::address_v6(bytes), address.port);
}

// How many bytes a header can still be read by without one of what comes behind it.
std::size_t sure_to_be_its(std::string_view begun) {
  constexpr std::size_t kShortest = std::string_view("PROXY UNKNOWN\r\n").size();
  constexpr std::size_t kFixed = 16;
  if (begun.size() < kShortest) return kShortest - begun.size();
  if (begun.starts_with('P')) return 1;
  if (begun.size() < kFixed) return kFixed - begun.size();
  const auto byte = [begun](std::size_t at) {
    return static_cast<std::size_t>(static_cast<unsigned char>(begun[at]));
  };
  const std::size_t rest = byte(kFixed - 2) << 8 | byte(kFixed - 1);
  return kFixed + rest - std::min(kFixed + rest, begun.size());
}

}  // namespace

std::string proxy_header(int version, const Ends& ends) {
  std::string bytes;
  if (version == 0) return bytes;
  const auto from = ip_of(ends.from);
  const auto to = ip_of(ends.to);
  wire_format::Header header{.version = static_cast<std::uint8_t>(version)};
  // Of a Unix socket, or of ends that don't match, there is nothing to say.
  if (!from.empty() && from.size() == to.size()) {
    header.transport = from.size() == wire_format::kIpv4Size ? wire_format::Transport::kTcp4
                                                             : wire_format::Transport::kTcp6;
    header.source = address_of(from, port_of(ends.from));
    header.destination = address_of(to, port_of(ends.to));
  }
  // TCP's addresses have a form in both versions.
  [[maybe_unused]] const Status appended = wire_format::append_header(bytes, header);
  return bytes;
}

Awaitable<Result<Ends>> read_proxy_header(Stream& stream, Ends ends) {
  std::string begun;
  std::array<std::byte, 512> buffer;
  for (;;) {
    const auto header = wire_format::parse_header(begun);
    if (!header) co_return fail(header.error());
    const std::optional<wire_format::Header>& found = *header;
    if (found) {
      const bool ipv4 = found->transport == wire_format::Transport::kTcp4;
      if (found->command == wire_format::Command::kProxy &&
          (ipv4 || found->transport == wire_format::Transport::kTcp6)) {
        ends.from = endpoint_of(found->source, ipv4);
        ends.to = endpoint_of(found->destination, ipv4);
      }
      co_return ends;
    }
    const std::size_t size = std::clamp<std::size_t>(sure_to_be_its(begun), 1, buffer.size());
    const auto count = co_await stream.read(std::span(buffer).first(size));
    if (!count) co_return fail(count.error(), "PROXY header");
    if (*count == 0) co_return fail("PROXY header: the connection ended in it");
    begun += view_of(std::span(buffer).first(*count));
  }
}

}  // namespace clonesafe::proxy
