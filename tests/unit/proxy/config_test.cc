#include "proxy/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;

constexpr const char* kWhole = R"(threads = 2
control_socket = "/run/proxy.sock"
user = "proxy"
park = "close"
park_deadline_ms = 700
log_level = "warning"

[[service]]
name = "db"
protocol = "tcp"
listen = ["127.0.0.1:6432", "unix:/run/db.sock"]
on_clone = "reopen"
hold_ms = 100
idle_ms = 200
max_sessions = 3
allow_window = true
access_log = true

[service.listen_tls]
certificate = "/etc/db.pem"
key = "/etc/db.key"

[service.upstream]
address = "db.example:5432"
connect_timeout_ms = 300

[service.upstream.tls]
ca_file = "/etc/ca.pem"
alpn = ["postgresql"]
lowest_version = "1.3"

[[service]]
name = "web"
protocol = "http"
listen = "127.0.0.1:8080"
accept_proxy_protocol = true
trusted_proxies = ["10.0.0.0/8", "unix"]
upstream.address = "10.0.0.1:80"
upstream.send_proxy_protocol = 2
upstream.idle_connections = 4
upstream.idle_ms = 5
http.request_timeout_ms = 6
http.response_timeout_ms = 7
http.keep_alive_ms = 0
http.max_head_bytes = 4096
http.max_body_bytes = 5000000000
http.forwarded = "x-forwarded"

[[service]]
name = "cache"
listen = "[::1]:6379"
upstream.address = ["10.0.0.1:6379", "10.0.0.2:6379"]
)";

TEST(ProxyConfig, TakesAllThatThereIs) {
  const auto config = parse_config(kWhole, "proxy.toml");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->threads, 2u);
  EXPECT_EQ(config->control_socket, "/run/proxy.sock");
  EXPECT_EQ(config->user, "proxy");
  EXPECT_EQ(config->park, Park::kClose);
  EXPECT_EQ(config->park_deadline, Milliseconds(700));
  ASSERT_EQ(config->services.size(), 3u);
  const ServiceConfig& db = config->services[0];
  EXPECT_EQ(db.name, "db");
  EXPECT_EQ(db.listen[1].text(), "unix:/run/db.sock");
  EXPECT_EQ(db.on_clone, OnClone::kReopen);
  EXPECT_EQ(db.hold, Milliseconds(100));
  EXPECT_EQ(db.idle, Milliseconds(200));
  EXPECT_EQ(db.max_sessions, 3u);
  EXPECT_TRUE(db.allow_window);
  EXPECT_TRUE(db.access_log);
  EXPECT_EQ(db.listen_tls->key, "/etc/db.key");
  EXPECT_EQ(db.upstream.connect_timeout, Milliseconds(300));
  EXPECT_EQ(db.upstream.tls->lowest_version, TLS1_3_VERSION);
  EXPECT_TRUE(db.upstream.tls->verify);
  const ServiceConfig& web = config->services[1];
  EXPECT_EQ(web.protocol, Protocol::kHttp);
  EXPECT_TRUE(web.accept_proxy_protocol);
  EXPECT_EQ(web.trusted_proxies.size(), 2u);
  EXPECT_EQ(web.upstream.send_proxy_protocol, 2);
  EXPECT_EQ(web.upstream.idle_connections, 4u);
  EXPECT_EQ(web.upstream.idle, Milliseconds(5));
  EXPECT_EQ(web.http.request_timeout, Milliseconds(6));
  EXPECT_EQ(web.http.response_timeout, Milliseconds(7));
  EXPECT_EQ(web.http.keep_alive, Milliseconds(0));
  EXPECT_EQ(web.http.max_head, 4096u);
  EXPECT_EQ(web.http.max_body, 5'000'000'000u);
  EXPECT_EQ(web.http.forwarded, Forwarded::kXForwarded);
  EXPECT_EQ(config->services[2].upstream.addresses.size(), 2u);
  EXPECT_FALSE(config->services[2].upstream.tls);
}

TEST(ProxyConfig, SaysInOneLineWhatIsWrongAndWhere) {
  const std::string service =
      "[[service]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nupstream.address = \"b:1\"\n";
  const std::string trusting =
      service + "protocol = \"postgres\"\npostgres.authentication = \"trust\"\n";
  const struct {
    std::string text;
    std::vector<std::string> says;
  } cases[] = {
      {"", {"p.toml: there is no [[service]]"}},
      {"threads = 0\n" + service, {"p.toml:1:11: 'threads' is not a whole number from 1 to 256"}},
      {"thread = 1\n" + service, {"p.toml:1:1: unknown key 'thread'"}},
      {service + "lisen = 1\n", {"p.toml:5:1: unknown key 'lisen'"}},
      {service + service, {"two of the name 'a'"}},
      {"[[service]]\nname = \"a\"\n", {"p.toml:1:1", "'a', without 'listen'"}},
      {"[[service]]\nname = \"a\"\nlisten = \"localhost:1\"\n",
       {"p.toml:3:10: 'listen' is refused: localhost:1: the host is not an IP address"}},
      {"[[service]]\nname = \"a\"\nlisten = []\n", {"'listen' is empty"}},
      {"[[service]]\nname = 1\n", {"p.toml:2:8: 'name' is not a string"}},
      {service + "protocol = \"mysql\"\n", {"'protocol' is none of \"tcp\""}},
      {service + "[service.upstream.tls]\ncertificate = \"c\"\n",
       {"'upstream.tls' has one of 'certificate' and 'key' without the other"}},
      {service + "[service.listen_tls]\n", {"'listen_tls' has no 'certificate'"}},
      {service + "[service.upstream.tls]\nca = \"c\"\n", {"has an unknown key 'ca'"}},
      {service + "trusted_proxies = [\"10.0.0.1/8\"]\n",
       {"'trusted_proxies' is refused: '10.0.0.1/8' is no network"}},
      {service + "accept_proxy_protocol = true\n",
       {"p.toml:1:1", "one of 'accept_proxy_protocol' and 'trusted_proxies' without the other"}},
      {service + "upstream.send_proxy_protocol = 3\n",
       {"'upstream.send_proxy_protocol' is not a whole number from 0 to 2"}},
      {service + "protocol = \"http\"\n[service.upstream.tls]\nalpn = [\"h2\"]\n",
       {"p.toml:1:1", "HTTP/2 is not supported"}},
      {service + "http.forwarded = \"all\"\n", {"'http.forwarded' is none of \"none\""}},
      {service + "protocol = \"postgres\"\n", {"'a', without 'postgres.users_file'"}},
      {service + "protocol = \"postgres\"\npostgres.authentication = \"none\"\n",
       {"p.toml:6:27: 'postgres.authentication' is none of \"scram-sha-256\""}},
      {"[[service]]\nname = \"a\"\nlisten = \"10.0.0.1:1\"\nupstream.address = \"b:1\"\n"
       "protocol = \"postgres\"\npostgres.authentication = \"trust\"\n",
       {"with 'trust', which is for loopback addresses and Unix sockets"}},
      {trusting + "postgres.pooling = \"statement\"\n",
       {"'postgres.pooling' is none of \"session\", \"transaction\""}},
      {trusting + "postgres.pooling = \"transaction\"\n",
       {"'a', with 'postgres.pooling' = \"transaction\" and without 'upstream.max_connections'"}},
      {trusting + "postgres.pooling = \"transaction\"\nupstream.max_connections = 0\n",
       {"'upstream.max_connections' is not a whole number from 1 to 65536"}},
      {trusting + "postgres.pooling = \"transaction\"\nupstream.max_connections = 1\n"
                  "upstream.send_proxy_protocol = 1\n",
       {"'postgres.pooling' = \"transaction\" and 'upstream.send_proxy_protocol'"}},
      {trusting + "upstream.max_connections = 1\n",
       {"'upstream.max_connections', which is for 'postgres.pooling' = \"transaction\""}},
      {"service = 1\n", {"p.toml:1:11: 'service' is not a list of tables"}},
      {"a=[}", {"p.toml"}},
      {"x = \"\xc3\xa4\"", {"p.toml:1:6: a character that is not ASCII"}},
  };
  for (const auto& wrong : cases) {
    const auto config = parse_config(wrong.text, "p.toml");
    ASSERT_FALSE(config) << wrong.text;
    for (const std::string& text : wrong.says)
      EXPECT_THAT(config.error().message(), HasSubstr(text));
    EXPECT_EQ(config.error().message().find('\n'), std::string::npos);
  }
}

TEST(ProxyConfig, SharesConnectionsWhereItSaysSo) {
  const auto config = parse_config(
      "[[service]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nupstream.address = \"b:1\"\n"
      "protocol = \"postgres\"\npostgres.authentication = \"trust\"\n"
      "postgres.pooling = \"transaction\"\nupstream.max_connections = 20\n",
      "p.toml");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->services[0].postgres.pooling, PostgresPooling::kTransaction);
  EXPECT_EQ(config->services[0].upstream.max_connections, 20u);
}

TEST(ProxyConfig, OfAFileThatIsMissingIsAnError) {
  EXPECT_EQ(load_config("/nowhere/p.toml").error().message(),
            "/nowhere/p.toml: No such file or directory");
}

}  // namespace
}  // namespace clonesafe::proxy
