#ifndef CLONESAFE_VMM_DEVICE_CLI_SNAPSHOT_LINE_H_
#define CLONESAFE_VMM_DEVICE_CLI_SNAPSHOT_LINE_H_

#include <boost/json/fwd.hpp>
#include <string>

namespace clonesafe::cli {

// A machine's reply to the call `snapshot`, for people: "golden: 21.4 MiB written of 256.0 MiB of
// memory, in 71.2 ms; the machine stood still for 74.0 ms".
std::string snapshot_line(const boost::json::object& reply);

}  // namespace clonesafe::cli

#endif  // CLONESAFE_VMM_DEVICE_CLI_SNAPSHOT_LINE_H_
