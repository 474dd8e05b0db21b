#include "guest_agent/control/listen.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace clonesafe::agent {

Status listen_for_all(boost::asio::local::stream_protocol::acceptor& acceptor,
                      const std::string& path) {
  boost::system::error_code error;
  struct stat status = {};
  if (::lstat(path.c_str(), &status) == 0) {
    // Only a socket is an earlier agent's; anything else was put there by somebody else.
    if (!S_ISSOCK(status.st_mode)) return fail(path + " is there and is not a socket");
    if (::unlink(path.c_str()) != 0) return fail_errno("unlink of " + path);
  }
  if (path.size() >= sizeof(sockaddr_un::sun_path)) return fail(path + " is too long a name");
  const boost::asio::local::stream_protocol::endpoint endpoint(path);
  if (acceptor.open(endpoint.protocol(), error) || acceptor.bind(endpoint, error) ||
      acceptor.listen(boost::asio::socket_base::max_listen_connections, error)) {
    return fail("socket " + path + ": " + error.message());
  }
  if (::chmod(path.c_str(), 0666) != 0) return fail_errno("chmod of " + path);
  return {};
}

}  // namespace clonesafe::agent
