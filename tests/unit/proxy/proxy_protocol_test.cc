// PROXY headers at both ends of services.
#include <sys/socket.h>

#include "proxy/wire/postgres/startup.h"
#include "tests/unit/proxy/http_fixture.h"

namespace clonesafe::proxy {
namespace {

class ProxyProtocolTest : public HttpTest {
 protected:
  static ServiceConfig accepting(const std::string& trusted = "127.0.0.0/8") {
    ServiceConfig config;
    config.accept_proxy_protocol = true;
    config.trusted_proxies = {Network::parse(trusted).value()};
    return config;
  }
  static ServiceConfig sending(int version) {
    ServiceConfig config;
    config.upstream.send_proxy_protocol = version;
    return config;
  }
  static std::string text_header(const UniqueFd& application, int to) {
    return "PROXY TCP4 127.0.0.1 127.0.0.1 " + std::to_string(own_port(application)) + " " +
           std::to_string(to) + "\r\n";
  }
  static int own_port(const UniqueFd& fd) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    return ntohs(address.sin_port);
  }
};

constexpr std::string_view kSignature{"\r\n\r\n\0\r\nQUIT\n", 12};
// 192.0.2.1:258 to 192.0.2.2:772.
const std::string kBinary = std::string(kSignature) + std::string("\x21\x11\0\x0c", 4) +
                            std::string("\xc0\0\2\1\xc0\0\2\2\1\2\3\4", 12);

TEST_F(ProxyProtocolTest, UpstreamIsToldWhoIsThere) {
  start(sending(1), Protocol::kTcp);
  const UniqueFd application = this->application();
  send_all(application, "q");
  const std::string header = text_header(application, port_);
  hear(accepted(), header + "q");
}

TEST_F(ProxyProtocolTest, UpstreamIsToldInVersion2) {
  start(sending(2), Protocol::kRedis);
  const UniqueFd application = this->application();
  send_all(application, "PING\r\n");
  const auto two = [](int port) {
    return std::string{static_cast<char>(port >> 8), static_cast<char>(port & 0xff)};
  };
  hear(accepted(), std::string(kSignature) + std::string("\x21\x11\0\x0c", 4) +
                       std::string("\x7f\0\0\1\x7f\0\0\1", 8) + two(own_port(application)) +
                       two(port_) + "PING\r\n");
}

TEST_F(ProxyProtocolTest, CloneTellsItsOwnConnectionToo) {
  ServiceConfig config = sending(1);
  config.on_clone = OnClone::kReopen;
  start(config, Protocol::kTcp);
  const UniqueFd application = this->application();
  const std::string header = text_header(application, port_);
  const UniqueFd parents = accepted();
  hear(parents, header);
  clone();
  send_all(application, "more");
  hear(accepted(), header + "more");
  EXPECT_TRUE(sees_nothing(parents));
}

// Or the upstream would take one application for another.
TEST_F(ProxyProtocolTest, IdleConnectionServesOnlyTheApplicationThatItWasOpenedFor) {
  start(sending(1));
  const UniqueFd first = application();
  send_all(first, request());
  const UniqueFd firsts = accepted();
  hear(firsts, text_header(first, port_));
  answer(first, firsts);
  const UniqueFd second = application();
  send_all(second, request());
  const UniqueFd seconds = accepted();
  hear(seconds, text_header(second, port_));
  answer(second, seconds);
  exchange(first, firsts);
}

TEST_F(ProxyProtocolTest, HeaderIsTakenAndToldOn) {
  for (const std::string& header :
       {std::string("PROXY TCP4 192.0.2.1 192.0.2.2 258 772\r\n"), kBinary}) {
    ServiceConfig config = accepting();
    config.upstream.send_proxy_protocol = 1;
    start(config, Protocol::kTcp);
    const UniqueFd application = this->application();
    for (const char byte : header) send_all(application, {byte});
    send_all(application, "q");
    hear(accepted(), "PROXY TCP4 192.0.2.1 192.0.2.2 258 772\r\nq");
  }
}

TEST_F(ProxyProtocolTest, HttpUpstreamIsToldOfWhoTheHeaderNames) {
  ServiceConfig config = accepting();
  config.http.forwarded = Forwarded::kForwarded;
  start(config);
  const UniqueFd application = this->application();
  send_all(application, "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n" + request());
  hear(accepted(), request("GET", "Forwarded: for=\"[2001:db8::1]\";proto=http\r\n"));
}

TEST_F(ProxyProtocolTest, HeaderOfWhoConnectsForItself) {
  start(accepting(), Protocol::kTcp);
  for (const std::string& header :
       {std::string("PROXY UNKNOWN\r\n"), std::string(kSignature) + std::string("\x20\0\0\0", 4)}) {
    const UniqueFd application = this->application();
    send_all(application, header + "q");
    hear(accepted(), "q");
  }
}

TEST_F(ProxyProtocolTest, OthersThanTrustedProxiesAreRefused) {
  start(accepting("10.0.0.0/8"), Protocol::kTcp);
  const UniqueFd application = this->application();
  send_all(application, "PROXY TCP4 192.0.2.1 192.0.2.2 258 772\r\nq");
  EXPECT_NE(wait_for_news(application), Seen::kBytes);
  EXPECT_TRUE(sees_nothing(upstream_));
}

TEST_F(ProxyProtocolTest, WhatIsNoHeaderIsRefused) {
  start(accepting());
  std::string broken = kBinary;
  broken[12] = '\x31';
  for (const std::string& text :
       {request(), std::string("PROXY TCP4 192.0.2.01 192.0.2.2 258 772\r\n"), broken,
        std::string("PROXY TCP4 192.0.2.1 192.0.2.2 258 ") + std::string(100, '7')}) {
    SCOPED_TRACE(text);
    const UniqueFd application = this->application();
    send_all(application, text);
    EXPECT_NE(wait_for_news(application), Seen::kBytes);
    EXPECT_TRUE(sees_nothing(upstream_));
  }
}

TEST(ProxyNetwork, ContainsWhatItNames) {
  const auto contains = [](const std::string& network, const std::string& address) {
    return Network::parse(network).value().contains(
        numeric_endpoint(parse_address(address).value()).value());
  };
  EXPECT_TRUE(contains("10.0.0.0/8", "10.255.0.1:1"));
  EXPECT_FALSE(contains("10.0.0.0/8", "11.0.0.1:1"));
  EXPECT_TRUE(contains("10.0.0.128/25", "10.0.0.129:1"));
  EXPECT_FALSE(contains("10.0.0.128/25", "10.0.0.127:1"));
  EXPECT_TRUE(contains("10.0.0.1", "10.0.0.1:1"));
  EXPECT_FALSE(contains("10.0.0.1", "10.0.0.2:1"));
  EXPECT_TRUE(contains("0.0.0.0/0", "10.0.0.2:1"));
  EXPECT_FALSE(contains("0.0.0.0/0", "[::1]:1"));
  EXPECT_TRUE(contains("10.0.0.0/8", "[::ffff:10.0.0.1]:1"));
  EXPECT_TRUE(contains("2001:db8::/32", "[2001:db8:1::1]:1"));
  EXPECT_FALSE(contains("2001:db8::/32", "[2001:db9::1]:1"));
  EXPECT_TRUE(contains("unix", "unix:/run/a"));
  EXPECT_FALSE(contains("unix", "127.0.0.1:1"));
  EXPECT_FALSE(contains("0.0.0.0/0", "unix:/run/a"));
  for (const char* bad : {"", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/8x", "a",
                          "::1/129", "fe80::1%lo", "10.0.0.0/-1"})
    EXPECT_FALSE(Network::parse(bad)) << bad;
}

// Who is trusted as an application of this machine is who the header names, not who says it.
TEST_F(ProxyProtocolTest, ApplicationBehindATrustedProxyIsNotOfThisMachine) {
  ServiceConfig config = accepting();
  config.postgres.authentication = PostgresAuthentication::kTrust;
  start(std::move(config), Protocol::kPostgres);
  std::string startup;
  EXPECT_TRUE(wire::postgres::append_startup(startup, wire::postgres::kVersion30,
                                             {{.name = "user", .value = "postgres"}}));
  const UniqueFd far = application(), near = application();
  send_all(far, "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n" + startup);
  EXPECT_THAT(receive(far, 4096), testing::HasSubstr("28000"));
  EXPECT_TRUE(sees_nothing(upstream_));
  send_all(near, "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + startup);
  hear(accepted(), startup);
}

}  // namespace
}  // namespace clonesafe::proxy
