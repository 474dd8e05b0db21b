// ctl: clonesafe-proxyctl, by which people and scripts ask a proxy.
#ifndef CLONESAFE_PROXY_CTL_TABLES_H_
#define CLONESAFE_PROXY_CTL_TABLES_H_

#include <boost/json/object.hpp>
#include <string>

namespace clonesafe::proxy {

// What people read of an answer.
std::string status_table(const boost::json::object& answer);
std::string sessions_table(const boost::json::object& answer);
std::string upstreams_table(const boost::json::object& answer);

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_PROXY_CTL_TABLES_H_
