#ifndef CLONESAFE_PROXY_ADMIN_REPORT_H_
#define CLONESAFE_PROXY_ADMIN_REPORT_H_

#include <boost/json/array.hpp>
#include <string>
#include <vector>

#include "proxy/core/tombstones.h"
#include "proxy/service/census.h"

namespace clonesafe::proxy {

boost::json::array to_json(const std::vector<SessionCensus>& sessions);
// One element a service: what is known of its upstream.
boost::json::array upstreams_to_json(const std::vector<ServiceCensus>& services);

// Of the whole process.
struct ProcessState {
  bool paused = false;
  bool parked = false;
  bool draining = false;
  std::uint64_t reloads = 0;
  std::uint64_t failed_reloads = 0;
  Tombstones::Counts tombstones = {};
};
// Prometheus' text format.
std::string to_prometheus(const std::vector<ServiceCensus>& services, const ProcessState& process);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_ADMIN_REPORT_H_
