#include "proxy/service/census.h"

#include <algorithm>

namespace clonesafe::proxy {

void ServiceCensus::add(const ServiceCensus& other) {
  sessions += other.sessions;
  max_sessions += other.max_sessions;
  counts += other.counts;
  upstream_counts += other.upstream_counts;
  breakers_open += other.breakers_open;
  for (const auto& [address, threads] : other.down) down[address] += threads;
  checks += other.checks;
  failed_checks += other.failed_checks;
  applications += other.applications;
  upstreams += other.upstreams;
  commands_running += other.commands_running;
}

void add_to(std::vector<ServiceCensus>& all, const ServiceCensus& other) {
  const auto same = std::ranges::find(all, other.name, &ServiceCensus::name);
  if (same == all.end()) {
    all.push_back(other);
  } else {
    same->add(other);
  }
}

}  // namespace clonesafe::proxy
