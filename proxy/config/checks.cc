#include "proxy/config/checks.h"

#include <algorithm>

namespace clonesafe::proxy {
namespace {

bool offers_http2(const ServiceConfig& service) {
  const auto offers = [](const auto& tls) {
    return tls && std::ranges::count(tls->alpn, "h2") != 0;
  };
  return offers(service.listen_tls) || offers(service.upstream.tls);
}

Status check_pooling(const ServiceConfig& service) {
  if (service.protocol != Protocol::kPostgres) return {};
  const bool is_limited = service.upstream.max_connections != 0;
  if (service.postgres.pooling != PostgresPooling::kTransaction)
    return is_limited ? fail(
                            "of PostgreSQL with 'upstream.max_connections' and without "
                            "'postgres.pooling' = \"transaction\"")
                      : Status();
  if (!is_limited)
    return fail("with 'postgres.pooling' = \"transaction\" and without 'upstream.max_connections'");
  if (service.transparent != Transparent::kNone)
    return fail("with 'postgres.pooling' = \"transaction\" and 'transparent'");
  // A connection begins with the name of who it is for.
  if (service.upstream.send_proxy_protocol != 0)
    return fail("with 'postgres.pooling' = \"transaction\" and 'upstream.send_proxy_protocol'");
  return {};
}

Status check_postgres(const ServiceConfig& service) {
  if (service.protocol != Protocol::kPostgres) return {};
  const bool has_file = !service.postgres.users_file.empty();
  const bool has_command = !service.postgres.users_command.words.empty();
  if (has_file && has_command)
    return fail("with 'postgres.users_file' and 'postgres.users_command'");
  if (service.postgres.authentication == PostgresAuthentication::kScram)
    return has_file || has_command
               ? Status()
               : fail("without 'postgres.users_file' or 'postgres.users_command'");
  const auto is_foreign = [](const Address& address) {
    const auto endpoint = numeric_endpoint(address);
    return !endpoint || !is_local(*endpoint);
  };
  // Whoever can connect there can be anybody.
  if (std::ranges::any_of(service.listen, is_foreign))
    return fail("with 'trust', which is for loopback addresses and Unix sockets");
  return {};
}

// How its upstream is treated.
Status check_treatment(const ServiceConfig& service) {
  const UpstreamConfig& upstream = service.upstream;
  if (upstream.connect_burst != 0 && upstream.connect_rate == 0)
    return fail("with 'upstream.connect_burst' and without 'upstream.connect_rate'");
  if (upstream.check && upstream.check->kind == CheckConfig::Kind::kTls && !upstream.tls)
    return fail("with an 'upstream.check' of kind \"tls\" and without 'upstream.tls'");
  if (upstream.min_idle == 0) return {};
  if (service.protocol != Protocol::kHttp)
    return fail("with 'upstream.min_idle', which is of \"http\"");
  if (upstream.min_idle > upstream.idle_connections)
    return fail("with 'upstream.min_idle' above 'upstream.idle_connections'");
  if (upstream.max_connections != 0 && upstream.min_idle > upstream.max_connections)
    return fail("with 'upstream.min_idle' above 'upstream.max_connections'");
  if (upstream.send_proxy_protocol != 0)
    return fail(
        "with 'upstream.min_idle' and 'upstream.send_proxy_protocol': a connection that names its "
        "application can't be opened before there is one");
  return {};
}

// Who its upstream is.
Status check_upstream(const ServiceConfig& service) {
  if (service.transparent == Transparent::kNone) {
    if (service.upstream.addresses.empty()) return fail("without 'upstream.address'");
    return service.destinations.empty() ? Status()
                                        : fail("with 'destinations' and without 'transparent'");
  }
  if (!service.upstream.addresses.empty())
    return fail("with 'transparent' and 'upstream.address', of which each says where to go");
  if (service.destinations.empty())
    return fail("with 'transparent' and without 'destinations': anybody could go anywhere");
  // What the rules know the proxy's own connections by.
  if (service.upstream.mark == 0) return fail("with 'transparent' and without 'upstream.mark'");
  const UpstreamConfig& upstream = service.upstream;
  if (upstream.breaker || upstream.check || upstream.max_connections != 0 || upstream.min_idle != 0)
    return fail(
        "with 'transparent' and a 'breaker', 'check', 'max_connections' or 'min_idle', which are "
        "of "
        "one upstream");
  if (std::ranges::any_of(service.listen, &Address::is_unix))
    return fail("with 'transparent' and a Unix socket, to which nothing is diverted");
  return {};
}

Status check_proxy_protocol(const ServiceConfig& service) {
  if (service.accept_proxy_protocol != service.trusted_proxies.empty()) return {};
  return fail("with one of 'accept_proxy_protocol' and 'trusted_proxies' without the other");
}

Status check_http(const ServiceConfig& service) {
  if (service.protocol != Protocol::kHttp || !offers_http2(service)) return {};
  return fail("of HTTP with \"h2\" in 'alpn': HTTP/2 is not supported");
}

}  // namespace

Status check_service(const ServiceConfig& service) {
  if (service.listen.empty()) return fail("without 'listen'");
  for (const auto check : {check_upstream, check_proxy_protocol, check_http, check_treatment,
                           check_pooling, check_postgres}) {
    if (auto checked = check(service); !checked) return checked;
  }
  return {};
}

}  // namespace clonesafe::proxy
