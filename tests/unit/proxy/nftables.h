#ifndef CLONESAFE_TESTS_UNIT_PROXY_NFTABLES_H_
#define CLONESAFE_TESTS_UNIT_PROXY_NFTABLES_H_

#include <string>
#include <vector>

#include "proxy/config/config.h"

namespace clonesafe::proxy {

// The rules that are shipped, with other values, in the network namespace of this thread.
struct Rules {
  Transparent kind = Transparent::kRedirect;
  std::string networks, networks6 = "fd00:8::/64";
  struct Port {
    int port = 0;
    int listener = 0;
  };
  std::vector<Port> ports;
  std::uint32_t mark = 0;
};
void install(const Rules& rules);
void remove_rules(Transparent kind);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_NFTABLES_H_
