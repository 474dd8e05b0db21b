// The operator's document for a clone, as far as it is about the network: any text is understood,
// passed over or refused, and a refusal is one line.
#include <cstdint>
#include <string>
#include <string_view>

#include "guest_agent/network/document.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace clonesafe::agent;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto plans = parse_network_document(text);
  if (!plans) {
    const std::string& message = plans.error().message();
    if (message.find('\n') != std::string::npos || message.size() > 400) __builtin_trap();
    return 0;
  }
  for (const InterfacePlan& plan : *plans) {
    // The name becomes part of a path.
    if (plan.name.empty() || plan.name.find('/') != std::string::npos) __builtin_trap();
    for (const IpPrefix& address : plan.addresses.value_or(std::vector<IpPrefix>())) {
      // What was understood is written so that it is understood again.
      const auto again = parse_prefix(to_string(address));
      if (!again || *again != address) __builtin_trap();
    }
    for (const RoutePlan& route : plan.routes.value_or(std::vector<RoutePlan>())) {
      if (network_of(route.to) != route.to.address) __builtin_trap();
      if (route.via && route.via->family != route.to.address.family) __builtin_trap();
    }
  }
  return 0;
}
