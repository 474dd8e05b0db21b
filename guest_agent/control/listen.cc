#include "guest_agent/control/listen.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <utility>

#include "guest_agent/control/await.h"

namespace clonesafe::agent {

namespace {

namespace asio = boost::asio;
using Local = asio::local::stream_protocol;

}  // namespace

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

namespace {

// Who is being served.
struct Places {
  std::size_t taken = 0;
  std::map<uid_t, std::size_t> of_user;
};

bool has_place(const Places& places, const ClientLimits& limits, uid_t user) {
  const bool root = user == 0;
  if (places.taken >= limits.all && !(root && limits.root_beyond_all)) return false;
  const auto own = places.of_user.find(user);
  return root || own == places.of_user.end() || own->second < limits.of_user;
}

asio::awaitable<void> serve_in_place(std::shared_ptr<Places> places, ServeClient serve,
                                     Local::socket client, ucred peer) {
  ++places->taken;
  ++places->of_user[peer.uid];
  co_await serve(std::move(client), peer);
  --places->taken;
  if (--places->of_user[peer.uid] == 0) places->of_user.erase(peer.uid);
}

}  // namespace

asio::awaitable<void> accept_clients(Local::acceptor& acceptor, ClientLimits limits,
                                     ServeClient serve) {
  const auto places = std::make_shared<Places>();
  while (acceptor.is_open()) {
    auto [error, client] = co_await acceptor.async_accept(kAwait);
    if (error) {
      if (!acceptor.is_open()) co_return;
      // Out of descriptors, most likely: let some go before the next try.
      asio::steady_timer pause(acceptor.get_executor(), std::chrono::milliseconds(100));
      co_await pause.async_wait(kAwait);
      continue;
    }
    ucred peer = {};
    socklen_t size = sizeof(peer);
    if (::getsockopt(client.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
        !has_place(*places, limits, peer.uid))
      continue;
    asio::co_spawn(acceptor.get_executor(), serve_in_place(places, serve, std::move(client), peer),
                   asio::detached);
  }
}

}  // namespace clonesafe::agent
