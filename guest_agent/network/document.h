#ifndef CLONESAFE_GUEST_AGENT_NETWORK_DOCUMENT_H_
#define CLONESAFE_GUEST_AGENT_NETWORK_DOCUMENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest_agent/network/ip_address.h"
#include "libclonesafe/base/error.h"
#include "libclonesafe/base/network_interface.h"

namespace clonesafe::agent {

struct RoutePlan {
  IpPrefix to;
  std::optional<IpAddress> via;
  std::uint32_t metric = 0;
  bool on_link = false;
};

// What an operator says of one interface. What is absent stays as it is.
struct InterfacePlan {
  std::string name;                          // as the document calls it
  std::optional<network::MacAddress> match;  // the interface that has this; else that of `name`
  std::optional<network::MacAddress> mac;
  std::optional<std::uint32_t> mtu;
  std::optional<std::vector<IpPrefix>> addresses;
  bool keep_addresses = false;
  std::optional<std::vector<RoutePlan>> routes;
};

// The member `network` of the operator's document (docs/formats/metadata.md); empty if it has none,
// or is of another form. What is there is understood to the last member or refused, in one
// line that says where.
Result<std::vector<InterfacePlan>> parse_network_document(std::string_view document);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_NETWORK_DOCUMENT_H_
