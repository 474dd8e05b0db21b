#ifndef CLONESAFE_GUEST_AGENT_CONTROL_LISTEN_H_
#define CLONESAFE_GUEST_AGENT_CONTROL_LISTEN_H_

#include <sys/socket.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstddef>
#include <functional>
#include <string>

#include "libclonesafe/base/error.h"

namespace clonesafe::agent {

// Listens at `path`, where any local user may connect. Replaces a socket that an earlier agent left
// there.
Status listen_for_all(boost::asio::local::stream_protocol::acceptor& acceptor,
                      const std::string& path);

// How many clients there may be at one time. Root has no limit of its own, and with
// `root_beyond_all` a place even where all are taken.
struct ClientLimits {
  std::size_t all = 0;
  std::size_t of_user = 0;
  bool root_beyond_all = false;
};
using ServeClient = std::function<boost::asio::awaitable<void>(
    boost::asio::local::stream_protocol::socket client, ucred peer)>;

// Accepts until the acceptor is closed. Each client is served until `serve` returns; one for whom
// there is no place is disconnected.
boost::asio::awaitable<void> accept_clients(boost::asio::local::stream_protocol::acceptor& acceptor,
                                            ClientLimits limits, ServeClient serve);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_CONTROL_LISTEN_H_
