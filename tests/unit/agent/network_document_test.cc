#include "guest_agent/network/document.h"

#include <gtest/gtest.h>

namespace clonesafe::agent {
namespace {

std::string refusal(std::string_view document) {
  const auto plans = parse_network_document(document);
  return plans ? "(accepted)" : plans.error().message();
}

// Of a document about eth0.
std::string refusal_of(const std::string& members) {
  const std::string message = refusal(R"({"network": {"eth0": {)" + members + "}}}");
  const std::string prefix = "the metadata document: network.eth0";
  return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
}

std::string addresses(const InterfacePlan& plan) {
  std::string text;
  for (const IpPrefix& address : plan.addresses.value_or(std::vector<IpPrefix>()))
    text += to_string(address) + " ";
  return text;
}

std::string routes(const InterfacePlan& plan) {
  std::string text;
  for (const RoutePlan& route : plan.routes.value_or(std::vector<RoutePlan>())) {
    text += to_string(route.to);
    if (route.via) text += " via " + to_string(*route.via);
    if (route.metric != 0) text += " metric " + std::to_string(route.metric);
    text += route.on_link ? " on-link, " : ", ";
  }
  return text;
}

TEST(NetworkDocument, SaysWhatBecomesOfEachInterface) {
  const auto plans = parse_network_document(R"({"role": "web", "network": {
    "eth0": {"macaddress": "52:54:00:00:00:07", "mtu": 1400,
             "addresses": ["10.0.0.7/24", "fd00::7/64"],
             "routes": [{"to": "default", "via": "10.0.0.1", "metric": 100},
                        {"to": "fd01::/16", "via": "fd00::1", "on-link": true},
                        {"to": "192.0.2.1"}]},
    "lan": {"match": {"macaddress": "52:54:00:00:00:02"}, "addresses": [], "keep_addresses": true}}})");
  ASSERT_TRUE(plans) << plans.error().message();
  ASSERT_EQ(plans->size(), 2U);
  const InterfacePlan& first = (*plans)[0];
  EXPECT_EQ(first.name, "eth0");
  EXPECT_FALSE(first.match);
  EXPECT_EQ(first.mac, network::MacAddress({0x52, 0x54, 0, 0, 0, 7}));
  EXPECT_EQ(first.mtu, 1400U);
  EXPECT_FALSE(first.keep_addresses);
  EXPECT_EQ(addresses(first), "10.0.0.7/24 fd00::7/64 ");
  EXPECT_EQ(routes(first),
            "0.0.0.0/0 via 10.0.0.1 metric 100, fd01::/16 via fd00::1 on-link, 192.0.2.1/32, ");
  const InterfacePlan& second = (*plans)[1];
  EXPECT_EQ(second.match, network::MacAddress({0x52, 0x54, 0, 0, 0, 2}));
  EXPECT_FALSE(second.mac);
  EXPECT_TRUE(second.addresses);
  EXPECT_EQ(addresses(second), "");
  EXPECT_TRUE(second.keep_addresses);
  EXPECT_FALSE(second.routes);
}

TEST(NetworkDocument, DefaultHasTheFamilyOfItsGateway) {
  const auto plans = parse_network_document(
      R"({"network": {"eth0": {"routes": [{"to": "default", "via": "fe80::1"}]}}})");
  ASSERT_TRUE(plans) << plans.error().message();
  EXPECT_EQ(routes(plans->front()), "::/0 via fe80::1, ");
}

TEST(NetworkDocument, OtherDocumentsSayNothingOfIt) {
  for (const char* document : {"", "worker=1", "{}", R"({"role": "network"})", "[1]", "3",
                               "{not json}", "network: {}", R"(["network"])", "\xff\xfe"}) {
    const auto plans = parse_network_document(document);
    ASSERT_TRUE(plans) << document << ": " << plans.error().message();
    EXPECT_TRUE(plans->empty()) << document;
  }
}

TEST(NetworkDocument, OneThatWasMeantToIsNotPassedOver) {
  EXPECT_EQ(refusal(R"( {"network": {"eth0": {)").substr(0, 35),
            "the metadata document: is not JSON:");
  EXPECT_EQ(refusal(R"({"network": []})"), "the metadata document: network: is not a JSON object");
  EXPECT_EQ(refusal(R"({"network": {"eth0": []}})"),
            "the metadata document: network.eth0: is not a JSON object");
}

TEST(NetworkDocument, ErrorsSayWhatAndWhereInOneLine) {
  EXPECT_EQ(refusal_of(R"("gateway4": "10.0.0.1")"), ": unknown member 'gateway4'");
  EXPECT_EQ(refusal_of(R"("macaddress": 7)"), ".macaddress: is not a string");
  EXPECT_EQ(refusal_of(R"("macaddress": "52:54:00:00:00")"),
            ".macaddress: '52:54:00:00:00' is not an address such as 52:54:00:12:34:56");
  EXPECT_EQ(refusal_of(R"("macaddress": "01:00:5e:00:00:01")"),
            ".macaddress: 01:00:5e:00:00:01 is the address of a group");
  EXPECT_EQ(refusal_of(R"("match": {})"), ".match: has no 'macaddress'");
  EXPECT_EQ(refusal_of(R"("match": {"driver": "virtio"})"),
            ".match: this: unknown member 'driver'");
  EXPECT_EQ(refusal_of(R"("mtu": 67)"), ".mtu: is not a whole number from 68 to 65535");
  EXPECT_EQ(refusal_of(R"("mtu": "1500")"), ".mtu: is not a whole number from 68 to 65535");
  EXPECT_EQ(refusal_of(R"("addresses": "10.0.0.2/24")"), ".addresses: is not a list");
  EXPECT_EQ(refusal_of(R"("addresses": ["10.0.0.2/24", "10.0.0.3"])"),
            ".addresses: [1]: '10.0.0.3' has no prefix length, such as /24");
  EXPECT_EQ(refusal_of(R"("addresses": ["10.0.0.2/33"])"),
            ".addresses: [0]: '10.0.0.2/33' has no prefix length from 0 to 32");
  EXPECT_EQ(refusal_of(R"("addresses": ["fd00::2/129"])"),
            ".addresses: [0]: 'fd00::2/129' has no prefix length from 0 to 128");
  EXPECT_EQ(refusal_of(R"("addresses": ["10.0.0/24"])"),
            ".addresses: [0]: '10.0.0' is not an IP address");
  EXPECT_EQ(refusal_of(R"("addresses": ["224.0.0.1/24"])"),
            ".addresses: [0]: '224.0.0.1/24' is no interface's address");
  EXPECT_EQ(refusal_of(R"("addresses": ["::/64"])"),
            ".addresses: [0]: '::/64' is no interface's address");
  EXPECT_EQ(refusal_of(R"("addresses": ["10.0.0.2/24", "10.0.0.2/16"])"),
            ".addresses: [1]: '10.0.0.2/16' is there twice");
  EXPECT_EQ(refusal_of(R"("keep_addresses": 1)"), ".keep_addresses: is not true or false");
  EXPECT_EQ(refusal_of(R"("routes": [{"via": "10.0.0.1"}])"), ".routes: [0]: a route has no 'to'");
  EXPECT_EQ(refusal_of(R"("routes": [{"to": "default"}])"),
            ".routes: [0]: a default route has no 'via'");
  EXPECT_EQ(refusal_of(R"("routes": [{"to": "10.1.0.0/16", "via": "fd00::1"}])"),
            ".routes: [0]: 'to' and 'via' are not of one family");
  EXPECT_EQ(refusal_of(R"("routes": [{"to": "10.1.2.0/16", "via": "10.0.0.1"}])"),
            ".routes: [0]: a route.to: '10.1.2.0/16' is not a network, which 10.1.0.0/16 is");
  EXPECT_EQ(refusal_of(R"("routes": [{"to": "10.1.0.0/16", "dev": "eth1"}])"),
            ".routes: [0]: a route: unknown member 'dev'");
  EXPECT_EQ(refusal_of(R"("routes": [{"to": "default", "via": "0.0.0.0"}])"),
            ".routes: [0]: 'via' is no machine's address");
  EXPECT_EQ(refusal_of(R"("routes": [{"to": "default", "via": "10.0.0.1", "metric": -1}])"),
            ".routes: [0]: a route.metric: is not a whole number from 0 to 4294967295");
  EXPECT_EQ(refusal(R"({"network": {"eth0/../lo": {}}})"),
            "the metadata document: network: 'eth0/../lo' is not the name of an interface");
  EXPECT_EQ(refusal("{\"network\": {\"eth0\": {\"a\\nb\": 1}}}"),
            "the metadata document: network.eth0: unknown member 'a?b'");
  EXPECT_LT(refusal_of("\"" + std::string(2000, 'x') + "\": 1").size(), 400U);
}

}  // namespace
}  // namespace clonesafe::agent
