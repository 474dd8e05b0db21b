#ifndef CLONESAFE_PROXY_SERVICE_CENSUS_H_
#define CLONESAFE_PROXY_SERVICE_CENSUS_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proxy/core/traffic.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream_counts.h"

namespace clonesafe::proxy {

// What a service is and did, on one thread or on all.
struct ServiceCensus {
  std::string name;
  std::vector<std::string> listen;
  std::vector<std::string> upstream;
  bool upstream_tls = false;
  std::uint64_t sessions = 0;      // now
  std::uint64_t max_sessions = 0;  // of all threads that were asked
  ServiceCounts counts = {};
  UpstreamCounts upstream_counts = {};
  std::uint64_t breakers_open = 0;  // of the threads' circuit breakers
  // By address: how many threads find that it is down. Without checks it is empty.
  std::map<std::string, std::uint64_t> down = {};
  std::uint64_t checks = 0, failed_checks = 0;
  Traffic applications = {};
  Traffic upstreams = {};
  std::uint64_t commands_running = 0;  // for logins

  // Of another thread, or from before a reload.
  void add(const ServiceCensus& other);
};

// Adds to the one of that name; one that isn't there yet is appended.
void add_to(std::vector<ServiceCensus>& all, const ServiceCensus& other);

struct SessionCensus {
  std::string service;
  std::string from;
  std::string upstream;  // empty: none yet
  std::chrono::milliseconds age{0};
  std::uint64_t from_application = 0;  // bytes
  std::uint64_t to_application = 0;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_SERVICE_CENSUS_H_
