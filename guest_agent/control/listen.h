#ifndef CLONESAFE_GUEST_AGENT_CONTROL_LISTEN_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_LISTEN_H_

#include <boost/asio/local/stream_protocol.hpp>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// Listens at `path`, where any local user may connect. Replaces a socket that an earlier agent left
// there.
Status listen_for_all(boost::asio::local::stream_protocol::acceptor& acceptor,
                      const std::string& path);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_LISTEN_H_
