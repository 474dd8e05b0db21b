#include "guest_agent/network/document.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/json.hpp>
#include <functional>
#include <initializer_list>

#include "guest_agent/base/files.h"

namespace clonesafe::agent {
namespace {

namespace json = boost::json;

// IPv4's and the kernel's limits.
constexpr std::int64_t kSmallestMtu = 68;
constexpr std::int64_t kLargestMtu = 65535;
constexpr std::int64_t kLargestMetric = 0xffffffff;

// Takes the value of one member, or says what is wrong with it.
struct PlanMember {
  std::string_view name;
  std::function<Status(const json::value&)> take;
};

// Every member must be one of these; an error says which of them, by its path.
Status take_members(const json::value& value, const std::string& path,
                    std::initializer_list<PlanMember> members) {
  const json::object* const object = value.if_object();
  if (object == nullptr) return fail(path + ": is not a JSON object");
  for (const auto& [key, inner] : *object) {
    const std::string_view name = key;
    const auto* const known = std::ranges::find(members, name, &PlanMember::name);
    if (known == members.end()) return fail(path + ": unknown member '" + std::string(name) + "'");
    if (auto taken = known->take(inner); !taken)
      return fail(std::move(taken.error()), path + "." + std::string(name));
  }
  return {};
}

Result<std::string_view> string_of(const json::value& value) {
  if (!value.is_string()) return fail("is not a string");
  return std::string_view(value.get_string());
}

Result<bool> bool_of(const json::value& value) {
  if (!value.is_bool()) return fail("is not true or false");
  return value.get_bool();
}

Result<std::uint32_t> number_of(const json::value& value, std::int64_t least, std::int64_t most) {
  const std::int64_t* const number = value.if_int64();
  if (number == nullptr || *number < least || *number > most)
    return fail("is not a whole number from " + std::to_string(least) + " to " +
                std::to_string(most));
  return static_cast<std::uint32_t>(*number);
}

// Each element of a list, whose errors say which.
Status take_list(const json::value& value, const std::function<Status(const json::value&)>& take) {
  const json::array* const array = value.if_array();
  if (array == nullptr) return fail("is not a list");
  for (std::size_t at = 0; at < array->size(); ++at) {
    if (auto taken = take((*array)[at]); !taken)
      return fail(std::move(taken.error()), "[" + std::to_string(at) + "]");
  }
  return {};
}

Result<network::MacAddress> mac_of(const json::value& value) {
  const auto text = string_of(value);
  if (!text) return fail(text.error());
  return network::parse_mac(*text);
}

Result<IpPrefix> interface_address_of(const json::value& value) {
  const auto text = string_of(value);
  if (!text) return fail(text.error());
  auto prefix = parse_prefix(*text);
  if (prefix && (is_zero(prefix->address) || is_multicast(prefix->address)))
    return fail("'" + std::string(*text) + "' is no interface's address");
  return prefix;
}

// "default" has the family of the gateway, which a later member may give.
struct Destination {
  std::optional<IpPrefix> to;
  bool is_default = false;
};

Result<Destination> destination_of(const json::value& value) {
  const auto text = string_of(value);
  if (!text) return fail(text.error());
  if (*text == "default") return Destination{.is_default = true};
  if (text->find('/') == std::string_view::npos) {
    const auto host = parse_ip(*text);
    if (!host) return fail(host.error());
    return Destination{
        .to = IpPrefix{.address = *host, .length = static_cast<std::uint8_t>(8 * host->size())}};
  }
  const auto prefix = parse_prefix(*text);
  if (!prefix) return fail(prefix.error());
  const IpAddress network = network_of(*prefix);
  if (network != prefix->address)
    return fail("'" + std::string(*text) + "' is not a network, which " +
                to_string({.address = network, .length = prefix->length}) + " is");
  return Destination{.to = *prefix};
}

Result<RoutePlan> route_of(const json::value& value) {
  RoutePlan route;
  Destination destination;
  const auto into = [](auto& target, auto result) -> Status {
    if (!result) return fail(std::move(result.error()));
    target = *std::move(result);
    return {};
  };
  auto taken = take_members(
      value, "a route",
      {{"to", [&](const json::value& to) { return into(destination, destination_of(to)); }},
       {"via",
        [&](const json::value& via) {
          const auto text = string_of(via);
          return text ? into(route.via, parse_ip(*text)) : Status(fail(text.error()));
        }},
       {"metric",
        [&](const json::value& metric) {
          return into(route.metric, number_of(metric, 0, kLargestMetric));
        }},
       {"on-link",
        [&](const json::value& on_link) { return into(route.on_link, bool_of(on_link)); }}});
  if (!taken) return fail(std::move(taken.error()));
  if (destination.is_default && route.via)
    destination.to = IpPrefix{.address = {.family = route.via->family}};
  if (!destination.to)
    return fail(destination.is_default ? "a default route has no 'via'" : "a route has no 'to'");
  if (route.via && route.via->family != destination.to->address.family)
    return fail("'to' and 'via' are not of one family");
  if (route.via && (is_zero(*route.via) || is_multicast(*route.via)))
    return fail("'via' is no machine's address");
  route.to = *destination.to;
  return route;
}

Status take_addresses(const json::value& value, InterfacePlan& plan) {
  plan.addresses.emplace();
  return take_list(value, [&](const json::value& element) -> Status {
    auto address = interface_address_of(element);
    if (!address) return fail(std::move(address.error()));
    if (std::ranges::find(*plan.addresses, address->address, &IpPrefix::address) !=
        plan.addresses->end())
      return fail("'" + to_string(*address) + "' is there twice");
    plan.addresses->push_back(*address);
    return {};
  });
}

Status take_routes(const json::value& value, InterfacePlan& plan) {
  plan.routes.emplace();
  return take_list(value, [&](const json::value& element) -> Status {
    auto route = route_of(element);
    if (!route) return fail(std::move(route.error()));
    plan.routes->push_back(*route);
    return {};
  });
}

Result<InterfacePlan> interface_of(std::string_view name, const json::value& value) {
  const std::string path = "network." + std::string(name);
  InterfacePlan plan = {.name = std::string(name)};
  if (auto valid = network::check_interface_name(name); !valid)
    return fail(std::move(valid.error()), "network");
  const auto take_mac = [](std::optional<network::MacAddress>& target) {
    return [&target](const json::value& text) -> Status {
      auto mac = mac_of(text);
      if (!mac) return fail(std::move(mac.error()));
      target = *mac;
      return {};
    };
  };
  auto taken = take_members(
      value, path,
      {{"match",
        [&](const json::value& match) -> Status {
          if (auto matched = take_members(match, "this", {{"macaddress", take_mac(plan.match)}});
              !matched)
            return matched;
          if (!plan.match) return fail("has no 'macaddress'");
          return {};
        }},
       {"macaddress", take_mac(plan.mac)},
       {"mtu",
        [&](const json::value& mtu) -> Status {
          auto number = number_of(mtu, kSmallestMtu, kLargestMtu);
          if (!number) return fail(std::move(number.error()));
          plan.mtu = *number;
          return {};
        }},
       {"addresses", [&](const json::value& list) { return take_addresses(list, plan); }},
       {"keep_addresses",
        [&](const json::value& keep) -> Status {
          auto truth = bool_of(keep);
          if (!truth) return fail(std::move(truth.error()));
          plan.keep_addresses = *truth;
          return {};
        }},
       {"routes", [&](const json::value& list) { return take_routes(list, plan); }}});
  if (!taken) return fail(std::move(taken.error()));
  return plan;
}

// Whether a text that is no JSON was meant to be one that says something of the network: then to
// pass over it would let a clone go with the addresses of its source.
bool looks_like_ours(std::string_view document) {
  return trim(document).starts_with('{') && document.find("\"network\"") != std::string_view::npos;
}

Result<std::vector<InterfacePlan>> parse_document(std::string_view document) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = 16;
  const json::value value = json::parse(document, error, {}, options);
  if (error) {
    if (!looks_like_ours(document)) return std::vector<InterfacePlan>();
    return fail("is not JSON: " + error.message());
  }
  const json::object* const object = value.if_object();
  const json::value* const network = object == nullptr ? nullptr : object->if_contains("network");
  if (network == nullptr) return std::vector<InterfacePlan>();
  const json::object* const interfaces = network->if_object();
  if (interfaces == nullptr) return fail("network: is not a JSON object");
  std::vector<InterfacePlan> plans;
  for (const auto& [name, inner] : *interfaces) {
    auto plan = interface_of(name, inner);
    if (!plan) return fail(std::move(plan.error()));
    plans.push_back(std::move(*plan));
  }
  return plans;
}

// Whatever the document has in its names and texts.
std::string in_one_line(std::string text) {
  constexpr std::size_t kLongest = 300;
  if (text.size() > kLongest) text.replace(kLongest, std::string::npos, "...");
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

}  // namespace

Result<std::vector<InterfacePlan>> parse_network_document(std::string_view document) {
  auto plans = parse_document(document);
  if (!plans) return fail(in_one_line("the metadata document: " + plans.error().message()));
  return plans;
}

}  // namespace clonesafe::agent
