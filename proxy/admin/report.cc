#include "proxy/admin/report.h"

#include <boost/json.hpp>
#include <functional>

#include "clonesafe/version.h"
#include "libclonesafe/base/prometheus.h"

namespace clonesafe::proxy {
namespace {

namespace json = boost::json;

json::array texts(const std::vector<std::string>& all) {
  json::array array;
  for (const std::string& text : all) array.emplace_back(text);
  return array;
}

// Addresses that some thread finds down.
std::vector<std::string> down_in(const ServiceCensus& service) {
  std::vector<std::string> addresses;
  for (const auto& [address, threads] : service.down) {
    if (threads != 0) addresses.push_back(address);
  }
  return addresses;
}

using Value = std::function<std::uint64_t(const ServiceCensus&)>;

// A family with one sample a service.
void family(PrometheusText& text, const std::vector<ServiceCensus>& services, std::string_view name,
            std::string_view type, std::string_view help, const Value& value) {
  text.family(name, type, help);
  for (const ServiceCensus& service : services)
    text.sample(value(service), PrometheusText::label("service", service.name));
}

void bytes(PrometheusText& text, const std::vector<ServiceCensus>& services, std::string_view name,
           std::string_view help, Traffic ServiceCensus::* traffic) {
  text.family(name, "counter", help);
  for (const ServiceCensus& service : services) {
    const std::string label = PrometheusText::label("service", service.name);
    text.sample((service.*traffic).read_bytes,
                label + "," + PrometheusText::label("direction", "read"));
    text.sample((service.*traffic).written_bytes,
                label + "," + PrometheusText::label("direction", "written"));
  }
}

void connect_times(PrometheusText& text, const std::vector<ServiceCensus>& services) {
  text.family("upstream_connect_seconds", "histogram",
              "What a connection to an upstream took, TCP and TLS.");
  for (const ServiceCensus& service : services) {
    const std::string label = PrometheusText::label("service", service.name);
    const Durations& times = service.upstream_counts.connects;
    std::uint64_t within = 0;
    for (std::size_t i = 0; i < times.within.size(); ++i) {
      within += times.within[i];
      char bound[16];
      std::snprintf(bound, sizeof bound, "%g", Durations::kBoundsMs[i] / 1e3);
      text.sample(within, label + "," + PrometheusText::label("le", bound), "_bucket");
    }
    text.sample(times.count, label + "," + PrometheusText::label("le", "+Inf"), "_bucket");
    text.seconds(times.sum_us, label, "_sum");
    text.sample(times.count, label, "_count");
  }
}

void abandoned(PrometheusText& text, const std::vector<ServiceCensus>& services) {
  text.family("abandoned_connections_total", "counter",
              "Stale connections that were left, without a packet or by a reset with a TTL of 1.");
  for (const ServiceCensus& service : services) {
    const std::string label = PrometheusText::label("service", service.name);
    Traffic all = service.upstreams;
    all += service.applications;
    text.sample(all.left_silently, label + "," + PrometheusText::label("how", "silent"));
    text.sample(all.left_by_short_lived_reset,
                label + "," + PrometheusText::label("how", "short_lived"));
  }
}

void checks(PrometheusText& text, const std::vector<ServiceCensus>& services) {
  text.family("upstream_address_down", "gauge", "Threads that find an address down.");
  for (const ServiceCensus& service : services) {
    for (const auto& [address, threads] : service.down)
      text.sample(threads, PrometheusText::label("service", service.name) + "," +
                               PrometheusText::label("address", address));
  }
  family(text, services, "upstream_checks_total", "counter", "Health checks.",
         [](const auto& service) { return service.checks; });
  family(text, services, "upstream_failed_checks_total", "counter", "Those that failed.",
         [](const auto& service) { return service.failed_checks; });
}

void handshakes(PrometheusText& text, const std::vector<ServiceCensus>& services) {
  text.family("tls_handshakes_total", "counter", "TLS handshakes that came about.");
  for (const ServiceCensus& service : services) {
    const std::string label = PrometheusText::label("service", service.name);
    text.sample(service.counts.tls_handshakes,
                label + "," + PrometheusText::label("side", "application"));
    text.sample(service.upstream_counts.tls_handshakes,
                label + "," + PrometheusText::label("side", "upstream"));
  }
  family(text, services, "tls_resumed_total", "counter",
         "Those with upstreams that went on with a session of before.",
         [](const auto& service) { return service.upstream_counts.tls_resumed; });
}

}  // namespace

json::array to_json(const std::vector<SessionCensus>& sessions) {
  json::array array;
  for (const SessionCensus& session : sessions) {
    array.push_back({{"service", session.service},
                     {"from", session.from},
                     {"upstream", session.upstream},
                     {"age_ms", session.age.count()},
                     {"from_application", session.from_application},
                     {"to_application", session.to_application}});
  }
  return array;
}

json::array upstreams_to_json(const std::vector<ServiceCensus>& services) {
  json::array array;
  for (const ServiceCensus& service : services) {
    const Durations& connects = service.upstream_counts.connects;
    array.push_back(
        {{"service", service.name},
         {"listen", texts(service.listen)},
         {"address", texts(service.upstream)},
         {"tls", service.upstream_tls},
         {"sessions", service.sessions},
         {"max_sessions", service.max_sessions},
         {"connections", service.upstreams.open},
         {"connects", connects.count},
         {"failed_connects", service.upstream_counts.failed_connects},
         {"tls_handshakes", service.upstream_counts.tls_handshakes},
         {"tls_resumed", service.upstream_counts.tls_resumed},
         {"down", texts(down_in(service))},
         {"checks", service.checks},
         {"failed_checks", service.failed_checks},
         {"breakers_open", service.breakers_open},
         {"breaker_opened", service.upstream_counts.breaker_opened},
         {"breaker_refused", service.upstream_counts.breaker_refused},
         {"limit_refused", service.upstream_counts.limit_refused},
         {"connect_us_mean", connects.count == 0 ? 0 : connects.sum_us / connects.count},
         {"fenced", service.counts.fenced},
         {"reopened", service.counts.reopened}});
  }
  return array;
}

std::string to_prometheus(const std::vector<ServiceCensus>& services, const ProcessState& process) {
  PrometheusText text("clonesafe_proxy_");
  text.family("info", "gauge", "Version.");
  text.sample(1, PrometheusText::label("version", CLONESAFE_VERSION));
  family(text, services, "sessions", "gauge", "Applications' connections now.",
         [](const auto& service) { return service.sessions; });
  family(text, services, "accepted_total", "counter", "Applications' connections so far.",
         [](const auto& service) { return service.counts.accepted; });
  family(text, services, "refused_total", "counter", "Those for which there was no place.",
         [](const auto& service) { return service.counts.refused; });
  family(text, services, "failed_total", "counter", "Sessions for which no upstream was reached.",
         [](const auto& service) { return service.counts.failed; });
  family(text, services, "fenced_total", "counter",
         "Upstream connections that sessions gave up because the machine was cloned.",
         [](const auto& service) { return service.counts.fenced; });
  family(text, services, "reopened_total", "counter",
         "Sessions that went on with another upstream connection.",
         [](const auto& service) { return service.counts.reopened; });
  family(text, services, "waited_total", "counter",
         "Requests and logins of PostgreSQL that found no upstream connection free, or the server "
         "full.",
         [](const auto& service) { return service.counts.waited; });
  family(text, services, "wait_timeouts_total", "counter",
         "Of these, those for which that was so until hold_ms was over.",
         [](const auto& service) { return service.counts.timed_out; });
  family(text, services, "retried_transactions_total", "counter",
         "Read-only transactions that began again on another upstream connection.",
         [](const auto& service) { return service.counts.retried; });
  family(text, services, "pinned_total", "counter",
         "Sessions that began to keep an upstream connection which is meant to be shared.",
         [](const auto& service) { return service.counts.pinned; });
  abandoned(text, services);
  text.family("tombstones", "gauge", "Sockets that stand where stale ones stood.");
  text.sample(process.tombstones.standing);
  text.family("stale_segments_dropped_total", "counter",
              "Segments for stale connections that their peers sent after those were left.");
  text.sample(process.tombstones.dropped);
  bytes(text, services, "application_bytes_total", "Bytes on applications' connections.",
        &ServiceCensus::applications);
  bytes(text, services, "upstream_bytes_total", "Bytes on upstream connections.",
        &ServiceCensus::upstreams);
  family(text, services, "upstream_connections", "gauge", "Upstream connections now.",
         [](const auto& service) { return service.upstreams.open; });
  family(text, services, "upstream_failed_connects_total", "counter",
         "Attempts at an upstream's address that failed.",
         [](const auto& service) { return service.upstream_counts.failed_connects; });
  family(text, services, "upstream_breakers_open", "gauge",
         "Threads that try no connect, since the last ones failed.",
         [](const auto& service) { return service.breakers_open; });
  family(text, services, "upstream_breaker_opened_total", "counter", "How often one opened.",
         [](const auto& service) { return service.upstream_counts.breaker_opened; });
  family(text, services, "upstream_breaker_refused_total", "counter",
         "Connects that were not tried because of it.",
         [](const auto& service) { return service.upstream_counts.breaker_refused; });
  family(text, services, "upstream_limit_refused_total", "counter",
         "Connects for which there was no place in time (max_connections).",
         [](const auto& service) { return service.upstream_counts.limit_refused; });
  checks(text, services);
  connect_times(text, services);
  handshakes(text, services);
  family(text, services, "failed_tls_handshakes_total", "counter",
         "TLS handshakes with applications that failed.",
         [](const auto& service) { return service.counts.failed_tls_handshakes; });
  text.family("paused", "gauge", "1 while an operator has it hold back what applications send.");
  text.sample(process.paused ? 1 : 0);
  text.family("parked", "gauge", "1 while a snapshot is announced.");
  text.sample(process.parked ? 1 : 0);
  text.family("draining", "gauge", "1 if it listens no more and ends with its last session.");
  text.sample(process.draining ? 1 : 0);
  text.family("reloads_total", "counter", "Reloads of the configuration.");
  text.sample(process.reloads, PrometheusText::label("result", "done"));
  text.sample(process.failed_reloads, PrometheusText::label("result", "refused"));
  return text.take();
}

}  // namespace clonesafe::proxy
