#ifndef CLONESAFE_PROXY_CORE_ADDRESS_H_
#define CLONESAFE_PROXY_CORE_ADDRESS_H_

#include <boost/asio/generic/stream_protocol.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::proxy {

using Endpoint = boost::asio::generic::stream_protocol::endpoint;

// Where to listen or connect, as configurations name it: "127.0.0.1:5432", "[::1]:5432",
// "db.example:5432" (only to connect), "unix:/run/db.sock".
struct Address {
  std::string host;  // empty for a Unix socket
  std::uint16_t port = 0;
  std::string path;  // of a Unix socket

  bool is_unix() const { return !path.empty(); }
  std::string text() const;
};

Result<Address> parse_address(std::string_view text);

// Of an address whose host is a number or a Unix socket's path; nothing is looked up.
Result<Endpoint> numeric_endpoint(const Address& address);

// The address by which it is reached again.
Address address_of(const Endpoint& endpoint);

// "127.0.0.1:5432", "[::1]:5432", "unix:/run/db.sock"; of a Unix socket without a name "unix:".
std::string to_text(const Endpoint& endpoint);

// Whether a connection to it stays in this machine.
bool is_local(const Endpoint& endpoint);

// 0 for what has none.
std::uint16_t port_of(const Endpoint& endpoint);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_ADDRESS_H_
