#include "proxy/config/config.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/toml/toml_file.h"
#include "proxy/config/checks.h"

namespace clonesafe::proxy {
namespace {

using toml_file::number;
using toml_file::Taker;

constexpr std::int64_t kMaxTime = 86'400'000;
constexpr std::int64_t kMaxParkDeadline = 60'000;
constexpr std::size_t kMaxAlpnName = 255;
constexpr std::int64_t kMaxHead = 1 << 20;
constexpr std::int64_t kMaxBody = std::int64_t{1} << 50;
constexpr std::int64_t kMaxMark = 0xffff'ffff;
constexpr off_t kMaxFile = 1 << 20;
// Within what an application's login may take.
constexpr std::int64_t kMaxCommandTime = 30'000;

Taker addresses(std::vector<Address>& target, bool numeric) {
  return [&target, numeric](const toml::node& node) -> Status {
    std::vector<std::string> names;
    if (auto taken = toml_file::texts(names)(node); !taken) return taken;
    target.clear();
    for (const std::string& name : names) {
      auto address = parse_address(name);
      if (!address) return fail("is refused: " + address.error().message());
      if (numeric) {
        if (const auto endpoint = numeric_endpoint(*address); !endpoint)
          return fail("is refused: " + endpoint.error().message());
      }
      target.push_back(std::move(*address));
    }
    return target.empty() ? fail("is empty") : Status();
  };
}

Taker networks(std::vector<Network>& target) {
  return [&target](const toml::node& node) -> Status {
    std::vector<std::string> names;
    if (auto taken = toml_file::texts(names)(node); !taken) return taken;
    target.clear();
    for (const std::string& name : names) {
      const auto network = Network::parse(name);
      if (!network) return fail("is refused: " + network.error().message());
      target.push_back(*network);
    }
    return {};
  };
}

Taker command(std::vector<std::string>& target) {
  return [&target](const toml::node& node) -> Status {
    if (auto taken = toml_file::texts(target)(node); !taken) return taken;
    if (target.empty() || !target.front().starts_with('/'))
      return fail("does not begin with a program's absolute path");
    const auto is_cut = [](const std::string& word) { return word.contains('\0'); };
    return std::ranges::any_of(target, is_cut) ? fail("has a word with a zero byte") : Status();
  };
}

Taker alpn(std::vector<std::string>& target) {
  return [&target](const toml::node& node) -> Status {
    if (auto taken = toml_file::texts(target)(node); !taken) return taken;
    for (const std::string& name : target) {
      if (name.empty() || name.size() > kMaxAlpnName)
        return fail("has a name that is not of 1 to 255 bytes");
    }
    return {};
  };
}

Taker version(int& target) {
  return toml_file::one_of<int>(target, {{"1.2", TLS1_2_VERSION}, {"1.3", TLS1_3_VERSION}});
}

// A table with keys of its own.
Taker table_of(const std::string& name, std::function<toml_file::Keys()> keys,
               std::function<Status()> check) {
  return
      [name, keys = std::move(keys), check = std::move(check)](const toml::node& node) -> Status {
        const toml::table* const table = node.as_table();
        if (table == nullptr) return fail("is not a table");
        for (const auto& [key, value] : *table) {
          const auto known = keys();
          const auto taker = known.find(key.str());
          if (taker == known.end())
            return fail("has an unknown key '" + std::string(key.str()) + "'");
          if (auto taken = taker->second(value); !taken)
            return fail("has '" + std::string(key.str()) + "', which " + taken.error().message());
        }
        return check();
      };
}

Status both_or_none(const std::string& certificate, const std::string& key) {
  if (certificate.empty() == key.empty()) return {};
  return fail("has one of 'certificate' and 'key' without the other");
}

// Named, so that whoever asks for it learns why it isn't there.
Taker ticket_use(TicketUse& target) {
  return [&target](const toml::node& node) -> Status {
    if (node.value_exact<std::string>() == "striped")
      return fail(
          "is \"striped\", which is not supported: a ticket for each clone takes a lease that no "
          "two "
          "clones share, and a machine has none before it is repaired, which is after its first "
          "connections");
    return toml_file::one_of<TicketUse>(target, {{"fresh", TicketUse::kFresh},
                                                 {"shared", TicketUse::kShared},
                                                 {"off", TicketUse::kOff}})(node);
  };
}

Taker client_tls(std::optional<ClientTlsOptions>& target) {
  return [&target](const toml::node& node) -> Status {
    ClientTlsOptions& options = target.emplace();
    return table_of(
        "tls",
        [&options] {
          return toml_file::Keys{{"ca_file", toml_file::text(options.ca_file)},
                                 {"server_name", toml_file::text(options.server_name)},
                                 {"verify", toml_file::truth(options.verify)},
                                 {"certificate", toml_file::text(options.certificate)},
                                 {"key", toml_file::text(options.key)},
                                 {"alpn", alpn(options.alpn)},
                                 {"lowest_version", version(options.lowest_version)},
                                 {"tickets", ticket_use(options.tickets)}};
        },
        [&options] { return both_or_none(options.certificate, options.key); })(node);
  };
}

Taker breaker(std::optional<BreakerConfig>& target) {
  return [&target](const toml::node& node) -> Status {
    BreakerConfig& config = target.emplace();
    return table_of(
        "breaker",
        [&config] {
          return toml_file::Keys{{"failures", number(config.failures, 1, 1'000'000)},
                                 {"open_ms", number(config.open, 1, kMaxTime)}};
        },
        [] { return Status(); })(node);
  };
}

// In a request's line, and read by nobody as its end.
Taker path(std::string& target) {
  return [&target](const toml::node& node) -> Status {
    if (auto taken = toml_file::text(target)(node); !taken) return taken;
    const bool plain = std::ranges::all_of(target, [](char c) { return c > ' ' && c < 0x7f; });
    return target.starts_with('/') && plain ? Status() : fail("is no path of a URL");
  };
}

Taker check(std::optional<CheckConfig>& target) {
  return [&target](const toml::node& node) -> Status {
    using enum CheckConfig::Kind;
    CheckConfig& config = target.emplace();
    return table_of(
        "check",
        [&config] {
          return toml_file::Keys{{"kind", toml_file::one_of<CheckConfig::Kind>(
                                              config.kind, {{"tcp", kTcp},
                                                            {"tls", kTls},
                                                            {"http", kHttp},
                                                            {"redis", kRedis},
                                                            {"postgres", kPostgres}})},
                                 {"interval_ms", number(config.interval, 100, kMaxTime)},
                                 {"timeout_ms", number(config.timeout, 1, kMaxTime)},
                                 {"rise", number(config.rise, 1, 1'000)},
                                 {"fall", number(config.fall, 1, 1'000)},
                                 {"path", path(config.path)},
                                 {"status", number(config.status, 200, 599)}};
        },
        [&config, &node]() -> Status {
          if (config.kind == kHttp) return {};
          for (const char* key : {"path", "status"}) {
            if (node.as_table()->contains(key))
              return fail("has '" + std::string(key) + "', which is of kind \"http\"");
          }
          return {};
        })(node);
  };
}

Taker server_tls(std::optional<ServerTlsOptions>& target) {
  return [&target](const toml::node& node) -> Status {
    ServerTlsOptions& options = target.emplace();
    return table_of(
        "listen_tls",
        [&options] {
          return toml_file::Keys{{"certificate", toml_file::text(options.certificate)},
                                 {"key", toml_file::text(options.key)},
                                 {"client_ca_file", toml_file::text(options.client_ca_file)},
                                 {"alpn", alpn(options.alpn)},
                                 {"lowest_version", version(options.lowest_version)}};
        },
        [&options]() -> Status {
          if (options.certificate.empty()) return fail("has no 'certificate'");
          return both_or_none(options.certificate, options.key);
        })(node);
  };
}

Taker protocol(Protocol& target) {
  return [&target](const toml::node& node) -> Status {
    for (const char* name : {"http2", "mysql"}) {
      if (node.value<std::string_view>() == name)
        return fail("is \"" + std::string(name) + "\", which is not supported");
    }
    return toml_file::one_of<Protocol>(target, {{"tcp", Protocol::kTcp},
                                                {"redis", Protocol::kRedis},
                                                {"http", Protocol::kHttp},
                                                {"postgres", Protocol::kPostgres}})(node);
  };
}

toml_file::Keys keys_of(ServiceConfig& service) {
  return {
      {"name", toml_file::text(service.name)},
      {"protocol", protocol(service.protocol)},
      {"listen", addresses(service.listen, true)},
      {"listen_tls", server_tls(service.listen_tls)},
      {"transparent",
       toml_file::one_of<Transparent>(service.transparent, {{"redirect", Transparent::kRedirect},
                                                            {"tproxy", Transparent::kTproxy}})},
      {"destinations", networks(service.destinations)},
      {"upstream.address", addresses(service.upstream.addresses, false)},
      {"upstream.tls", client_tls(service.upstream.tls)},
      {"upstream.connect_timeout_ms", number(service.upstream.connect_timeout, 1, kMaxTime)},
      {"upstream.unacknowledged_ms", number(service.upstream.unacknowledged, 0, kMaxTime)},
      {"upstream.connect_rate", number(service.upstream.connect_rate, 0, 1'000'000)},
      {"upstream.connect_burst", number(service.upstream.connect_burst, 1, 1'000'000)},
      {"upstream.spread_ms", number(service.upstream.spread, 0, kMaxTime)},
      {"upstream.breaker", breaker(service.upstream.breaker)},
      {"upstream.check", check(service.upstream.check)},
      {"upstream.min_idle", number(service.upstream.min_idle, 0, 65'536)},
      {"upstream.lifetime_ms", number(service.upstream.lifetime, 0, kMaxTime)},
      {"upstream.max_connections", number(service.upstream.max_connections, 0, 1'000'000)},
      {"upstream.send_proxy_protocol", number(service.upstream.send_proxy_protocol, 0, 2)},
      {"upstream.mark", number(service.upstream.mark, 1, kMaxMark)},
      {"upstream.idle_connections", number(service.upstream.idle_connections, 0, 65'536)},
      {"upstream.idle_ms", number(service.upstream.idle, 1, kMaxTime)},
      {"accept_proxy_protocol", toml_file::truth(service.accept_proxy_protocol)},
      {"trusted_proxies", networks(service.trusted_proxies)},
      {"http.request_timeout_ms", number(service.http.request_timeout, 1, kMaxTime)},
      {"http.response_timeout_ms", number(service.http.response_timeout, 1, kMaxTime)},
      {"http.keep_alive_ms", number(service.http.keep_alive, 0, kMaxTime)},
      {"http.max_head_bytes", number(service.http.max_head, 256, kMaxHead)},
      {"http.max_body_bytes", number(service.http.max_body, 0, kMaxBody)},
      {"http.forwarded", toml_file::one_of<Forwarded>(service.http.forwarded,
                                                      {{"none", Forwarded::kNone},
                                                       {"x-forwarded", Forwarded::kXForwarded},
                                                       {"forwarded", Forwarded::kForwarded}})},
      {"postgres.users_file", toml_file::text(service.postgres.users_file)},
      {"postgres.users_command", command(service.postgres.users_command.words)},
      {"postgres.users_command_timeout_ms",
       number(service.postgres.users_command.timeout, 1, kMaxCommandTime)},
      {"postgres.authentication",
       toml_file::one_of<PostgresAuthentication>(service.postgres.authentication,
                                                 {{"scram-sha-256", PostgresAuthentication::kScram},
                                                  {"trust", PostgresAuthentication::kTrust}})},
      {"postgres.pooling",
       toml_file::one_of<PostgresPooling>(service.postgres.pooling,
                                          {{"session", PostgresPooling::kSession},
                                           {"transaction", PostgresPooling::kTransaction}})},
      {"postgres.retry_read_only", toml_file::truth(service.postgres.retry_read_only)},
      {"on_clone", toml_file::one_of<OnClone>(service.on_clone, {{"close", OnClone::kClose},
                                                                 {"reopen", OnClone::kReopen}})},
      {"hold_ms", number(service.hold, 0, kMaxTime)},
      {"idle_ms", number(service.idle, 0, kMaxTime)},
      {"max_sessions", number(service.max_sessions, 1, 1'000'000)},
      {"allow_window", toml_file::truth(service.allow_window)},
      {"access_log", toml_file::truth(service.access_log)},
  };
}

// Elsewhere a connection is one application's, for as long as that is there. An error is the whole
// message.
Status check_lifetime(const ServiceConfig& service, const toml::table& table,
                      const std::string& name) {
  const bool is_reused = service.protocol == Protocol::kHttp ||
                         (service.protocol == Protocol::kPostgres &&
                          service.postgres.pooling == PostgresPooling::kTransaction);
  if (is_reused || service.upstream.lifetime.count() == 0) return {};
  const toml::node& node = *table.at_path("upstream.lifetime_ms").node();
  return fail(
      toml_file::place(name, node.source()) +
      ": 'upstream.lifetime_ms' is of connections that applications share: of \"http\", and "
      "of \"postgres\" with 'postgres.pooling' = \"transaction\"");
}

Result<ServiceConfig> service_of(const toml::table& table, const std::string& name) {
  ServiceConfig service;
  if (auto read = toml_file::read(table, keys_of(service), name); !read) return fail(read.error());
  if (auto checked = check_lifetime(service, table, name); !checked) return fail(checked.error());
  const std::string where = toml_file::place(name, table.source()) + ": a service";
  if (service.name.empty()) return fail(where + " without a 'name'");
  if (auto checked = check_service(service); !checked)
    return fail(where + ", '" + service.name + "', " + checked.error().message());
  return service;
}

void warn_of_waiting(const ServiceConfig& service, const toml::table& table,
                     const std::string& name, std::vector<std::string>& warnings) {
  if (service.protocol != Protocol::kTcp || service.on_clone != OnClone::kReopen) return;
  if (service.idle.count() != 0) return;
  warnings.push_back(toml_file::place(name, table.get("on_clone")->source()) +
                     ": 'on_clone' is \"reopen\" without 'idle_ms': an application that waits for "
                     "an answer when the machine is cloned waits for ever");
}

// `config` stays where it is while the keys are used.
Taker services(Config& config, const std::string& name, Error& located) {
  return [&config, &name, &located](const toml::node& node) -> Status {
    const toml::array* const array = node.as_array();
    if (array == nullptr) return fail("is not a list of tables ([[service]])");
    std::set<std::string> names, taken;
    for (const toml::node& element : *array) {
      const toml::table* const table = element.as_table();
      if (table == nullptr) return fail("is not a list of tables ([[service]])");
      auto service = service_of(*table, name);
      if (!service) {
        located = service.error();
        return fail("is refused");
      }
      if (!names.insert(service->name).second)
        return fail("has two of the name '" + service->name + "'");
      for (const Address& address : service->listen) {
        if (!taken.insert(address.text()).second) return fail("listens twice at " + address.text());
      }
      warn_of_waiting(*service, *table, name, config.warnings);
      config.services.push_back(std::move(*service));
    }
    return {};
  };
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& name) {
  const auto table = toml_file::parse(text, name);
  if (!table) return fail(table.error());
  Config config;
  Error located("");
  const toml_file::Keys keys = {
      {"threads", number(config.threads, 1, 256)},
      {"log_level",
       toml_file::one_of<std::string>(
           config.log_level,
           {{"debug", "debug"}, {"info", "info"}, {"warning", "warning"}, {"error", "error"}})},
      {"control_socket", toml_file::text(config.control_socket)},
      {"user", toml_file::text(config.user)},
      {"seccomp", toml_file::truth(config.seccomp)},
      {"park",
       toml_file::one_of<Park>(config.park, {{"keep", Park::kKeep}, {"close", Park::kClose}})},
      {"park_deadline_ms", number(config.park_deadline, 1, kMaxParkDeadline)},
      {"service", services(config, name, located)},
  };
  if (auto read = toml_file::read(*table, keys, name); !read)
    return fail(located.message().empty() ? read.error() : located);
  if (config.services.empty()) return fail(name + ": there is no [[service]]");
  return config;
}

Result<std::string> read_config_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail_errno(path);
  std::string text(kMaxFile + 1, '\0');
  std::size_t size = 0;
  for (;;) {
    const ssize_t count = ::read(fd.get(), text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(path);
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
    if (size == text.size()) return fail(path + ": more than 1 MiB");
  }
  text.resize(size);
  return text;
}

Result<Config> load_config(const std::string& path) {
  const auto text = read_config_file(path);
  if (!text) return fail(text.error());
  return parse_config(*text, path);
}

}  // namespace clonesafe::proxy
