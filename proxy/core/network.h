#ifndef CLONESAFE_PROXY_CORE_NETWORK_H_
#define CLONESAFE_PROXY_CORE_NETWORK_H_

#include <string>
#include <string_view>
#include <vector>

#include "libclonesafe/base/error.h"
#include "proxy/core/address.h"

namespace clonesafe::proxy {

// Peers, as configurations name them: "10.0.0.0/8", "::1", "unix" for whoever is at the other end
// of a Unix socket.
class Network {
 public:
  static Result<Network> parse(std::string_view text);
  // IPv4 in IPv6's form (::ffff:10.0.0.1) is IPv4.
  bool contains(const Endpoint& endpoint) const;
  // "10.0.0.0/8", as parse() takes it.
  std::string text() const;

 private:
  int family_ = 0;
  std::vector<unsigned char> address_;
  unsigned prefix_ = 0;  // bits
};

// The bytes of an IPv4 or IPv6 address in network order, IPv4 where it is one in IPv6's form;
// nothing for a Unix socket.
std::vector<unsigned char> ip_of(const Endpoint& endpoint);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CORE_NETWORK_H_
