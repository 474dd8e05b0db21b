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
unacknowledged_ms = 900
connect_rate = 50
connect_burst = 10
spread_ms = 0
max_connections = 9
breaker = { failures = 7, open_ms = 70 }
check = { kind = "tls", interval_ms = 200, timeout_ms = 20, rise = 1, fall = 4 }

[service.upstream.tls]
ca_file = "/etc/ca.pem"
tickets = "shared"
alpn = ["postgresql"]
lowest_version = "1.3"

[[service]]
name = "web"
protocol = "http"
listen = "127.0.0.1:8080"
accept_proxy_protocol = true
trusted_proxies = ["10.0.0.0/8", "unix"]
upstream.address = "10.0.0.1:80"
upstream.idle_connections = 4
upstream.idle_ms = 5
upstream.min_idle = 2
upstream.lifetime_ms = 6000
upstream.check = { kind = "http", path = "/live", status = 204 }
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
upstream.send_proxy_protocol = 2

[[service]]
name = "any"
listen = "127.0.0.1:15432"
transparent = "redirect"
destinations = ["10.0.0.0/8"]
upstream.mark = 0xc5
)";

TEST(ProxyConfig, TakesAllThatThereIs) {
  const auto config = parse_config(kWhole, "proxy.toml");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->threads, 2u);
  EXPECT_EQ(config->control_socket, "/run/proxy.sock");
  EXPECT_EQ(config->user, "proxy");
  EXPECT_EQ(config->park, Park::kClose);
  EXPECT_EQ(config->park_deadline, Milliseconds(700));
  ASSERT_EQ(config->services.size(), 4u);
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
  EXPECT_EQ(db.upstream.unacknowledged, Milliseconds(900));
  EXPECT_EQ(db.upstream.tls->lowest_version, TLS1_3_VERSION);
  EXPECT_TRUE(db.upstream.tls->verify);
  EXPECT_EQ(db.upstream.tls->tickets, TicketUse::kShared);
  EXPECT_EQ(db.upstream.connect_rate, 50u);
  EXPECT_EQ(db.upstream.connect_burst, 10u);
  EXPECT_EQ(db.upstream.spread, Milliseconds(0));
  EXPECT_EQ(db.upstream.max_connections, 9u);
  EXPECT_EQ(db.upstream.breaker->failures, 7u);
  EXPECT_EQ(db.upstream.breaker->open, Milliseconds(70));
  EXPECT_EQ(db.upstream.check->kind, CheckConfig::Kind::kTls);
  EXPECT_EQ(db.upstream.check->interval, Milliseconds(200));
  EXPECT_EQ(db.upstream.check->timeout, Milliseconds(20));
  EXPECT_EQ(db.upstream.check->rise, 1u);
  EXPECT_EQ(db.upstream.check->fall, 4u);
  const ServiceConfig& web = config->services[1];
  EXPECT_EQ(web.protocol, Protocol::kHttp);
  EXPECT_TRUE(web.accept_proxy_protocol);
  EXPECT_EQ(web.trusted_proxies.size(), 2u);
  EXPECT_EQ(web.upstream.idle_connections, 4u);
  EXPECT_EQ(web.upstream.idle, Milliseconds(5));
  EXPECT_EQ(web.upstream.min_idle, 2u);
  EXPECT_EQ(web.upstream.lifetime, Milliseconds(6000));
  EXPECT_EQ(web.upstream.check->path, "/live");
  EXPECT_EQ(web.upstream.check->status, 204u);
  EXPECT_EQ(web.http.request_timeout, Milliseconds(6));
  EXPECT_EQ(web.http.response_timeout, Milliseconds(7));
  EXPECT_EQ(web.http.keep_alive, Milliseconds(0));
  EXPECT_EQ(web.http.max_head, 4096u);
  EXPECT_EQ(web.http.max_body, 5'000'000'000u);
  EXPECT_EQ(web.http.forwarded, Forwarded::kXForwarded);
  EXPECT_EQ(config->services[2].upstream.addresses.size(), 2u);
  const UpstreamConfig& plain = config->services[2].upstream;
  EXPECT_EQ(plain.send_proxy_protocol, 2);
  EXPECT_FALSE(plain.tls || plain.check || plain.breaker);
  EXPECT_FALSE(config->services[2].upstream.tls);
  EXPECT_EQ(config->services[2].transparent, Transparent::kNone);
  EXPECT_EQ(config->services[3].transparent, Transparent::kRedirect);
  EXPECT_EQ(config->services[3].destinations.size(), 1u);
  EXPECT_EQ(config->services[3].upstream.mark, 0xc5u);
}

TEST(ProxyConfig, SaysInOneLineWhatIsWrongAndWhere) {
  const std::string service =
      "[[service]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nupstream.address = \"b:1\"\n";
  const std::string transparent =
      "[[service]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\ntransparent = \"tproxy\"\n";
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
      {service + "protocol = \"udp\"\n", {"'protocol' is none of \"tcp\""}},
      {service + "protocol = \"mysql\"\n", {"'protocol' is \"mysql\", which is not supported"}},
      {service + "protocol = \"http2\"\n", {"'protocol' is \"http2\", which is not supported"}},
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
      {service + "upstream.connect_burst = 3\n", {"p.toml:1:1", "without 'upstream.connect_rate'"}},
      {service + "upstream.breaker = { failures = 0 }\n",
       {"'upstream.breaker' has 'failures', which is not a whole number from 1 to 1000000"}},
      {service + "upstream.check = { kind = \"icmp\" }\n",
       {"'upstream.check' has 'kind', which is none of \"tcp\""}},
      {service + "upstream.check = { kind = \"tls\" }\n", {"without 'upstream.tls'"}},
      {service + "upstream.check = { path = \"/\" }\n", {"'path', which is of kind \"http\""}},
      {service + "upstream.check = { kind = \"http\", path = \"/ HTTP/1.1\\r\\nX: y\" }\n",
       {"has 'path', which is no path of a URL"}},
      {service + "upstream.min_idle = 1\n", {"'upstream.min_idle', which is of \"http\""}},
      {service + "protocol = \"http\"\nupstream.min_idle = 33\n",
       {"'upstream.min_idle' above 'upstream.idle_connections'"}},
      {service + "protocol = \"http\"\nupstream.min_idle = 2\nupstream.max_connections = 1\n",
       {"'upstream.min_idle' above 'upstream.max_connections'"}},
      {service + "protocol = \"http\"\nupstream.min_idle = 1\nupstream.send_proxy_protocol = 1\n",
       {"can't be opened before there is one"}},
      {service + "[service.upstream.tls]\ntickets = \"striped\"\n",
       {"'upstream.tls' has 'tickets', which is \"striped\", which is not supported", "a lease"}},
      {service + "[service.upstream.tls]\ntickets = \"all\"\n", {"none of \"fresh\""}},
      {service + "protocol = \"http\"\n[service.upstream.tls]\nalpn = [\"h2\"]\n",
       {"p.toml:1:1", "HTTP/2 is not supported"}},
      {service + "http.forwarded = \"all\"\n", {"'http.forwarded' is none of \"none\""}},
      {service + "protocol = \"postgres\"\n",
       {"'a', without 'postgres.users_file' or 'postgres.users_command'"}},
      {service + "protocol = \"postgres\"\npostgres.users_file = \"/f\"\n"
                 "postgres.users_command = [\"/c\"]\n",
       {"p.toml:1:1", "'a', with 'postgres.users_file' and 'postgres.users_command'"}},
      {service + "postgres.users_command = [\"fetch\"]\n",
       {"'postgres.users_command' does not begin with a program's absolute path"}},
      {service + "postgres.users_command = []\n",
       {"'postgres.users_command' does not begin with a program's absolute path"}},
      {service + "postgres.users_command = [\"/fetch\", \"a\\u0000b\"]\n",
       {"'postgres.users_command' has a word with a zero byte"}},
      {service + "postgres.users_command_timeout_ms = 30001\n",
       {"'postgres.users_command_timeout_ms' is not a whole number from 1 to 30000"}},
      {service + "protocol = \"postgres\"\npostgres.authentication = \"none\"\n",
       {"p.toml:6:27: 'postgres.authentication' is none of \"scram-sha-256\""}},
      {"[[service]]\nname = \"a\"\nlisten = \"10.0.0.1:1\"\nupstream.address = \"b:1\"\n"
       "protocol = \"postgres\"\npostgres.authentication = \"trust\"\n",
       {"with 'trust', which is for loopback addresses and Unix sockets"}},
      {"[[service]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\n",
       {"p.toml:1:1", "'a', without 'upstream.address'"}},
      {service + "destinations = [\"10.0.0.0/8\"]\n",
       {"'a', with 'destinations' and without 'transparent'"}},
      {service + "transparent = \"redirect\"\n", {"with 'transparent' and 'upstream.address'"}},
      {transparent + "upstream.mark = 1\n", {"with 'transparent' and without 'destinations'"}},
      {transparent + "destinations = [\"10.0.0.0/8\"]\n",
       {"with 'transparent' and without 'upstream.mark'"}},
      {transparent + "destinations = [\"10.0.0.0/8\"]\nupstream.mark = 0\n",
       {"'upstream.mark' is not a whole number from 1 to 4294967295"}},
      {transparent +
           "destinations = [\"10.0.0.0/8\"]\nupstream.mark = 1\nupstream.max_connections = 1\n",
       {"with 'transparent' and a 'breaker', 'check', 'max_connections' or 'min_idle'"}},
      {transparent + "destinations = [\"10.0.0.0/8\"]\nupstream.mark = 1\nupstream.breaker = {}\n",
       {"with 'transparent' and a 'breaker', 'check', 'max_connections' or 'min_idle'"}},
      {"[[service]]\nname = \"a\"\nlisten = \"unix:/a\"\ntransparent = \"tproxy\"\n"
       "destinations = [\"10.0.0.0/8\"]\nupstream.mark = 1\n",
       {"with 'transparent' and a Unix socket"}},
      {trusting + "postgres.pooling = \"statement\"\n",
       {"'postgres.pooling' is none of \"session\", \"transaction\""}},
      {trusting + "postgres.pooling = \"transaction\"\n",
       {"'a', with 'postgres.pooling' = \"transaction\" and without 'upstream.max_connections'"}},
      {trusting + "postgres.pooling = \"transaction\"\nupstream.max_connections = 0\n",
       {"'a', with 'postgres.pooling' = \"transaction\" and without 'upstream.max_connections'"}},
      {trusting + "postgres.pooling = \"transaction\"\nupstream.max_connections = 1\n"
                  "upstream.send_proxy_protocol = 1\n",
       {"'postgres.pooling' = \"transaction\" and 'upstream.send_proxy_protocol'"}},
      {trusting + "upstream.max_connections = 1\n",
       {"with 'upstream.max_connections' and without 'postgres.pooling' = \"transaction\""}},
      {trusting + "upstream.lifetime_ms = 1\n",
       {"p.toml:7:24: 'upstream.lifetime_ms' is of connections that applications share"}},
      {service + "protocol = \"redis\"\nupstream.lifetime_ms = 1\n",
       {"p.toml:6:24: 'upstream.lifetime_ms' is of connections that applications share"}},
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

TEST(ProxyConfig, WarnsOfApplicationsThatWaitForEver) {
  const std::string reopens =
      "[[service]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nupstream.address = \"b:1\"\n"
      "on_clone = \"reopen\"\n";
  const auto config = parse_config(reopens, "p.toml");
  ASSERT_TRUE(config) << config.error().message();
  ASSERT_EQ(config->warnings.size(), 1u);
  EXPECT_THAT(config->warnings[0], HasSubstr("p.toml:5:12: 'on_clone' is \"reopen\" without"));
  for (const char* more : {"idle_ms = 1\n", "protocol = \"redis\"\n"})
    EXPECT_TRUE(parse_config(reopens + more, "p.toml")->warnings.empty()) << more;
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
