#include "tests/audit/run/worker_ids.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <string>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::audit {
namespace {

constexpr int kLookForStopMs = 100;

void answer_until_stopped(const std::stop_token& stop, const UniqueFd& listener,
                          std::atomic<std::uint64_t>& next) {
  while (!stop.stop_requested()) {
    pollfd wait{listener.get(), POLLIN, 0};
    if (::poll(&wait, 1, kLookForStopMs) <= 0) continue;
    const UniqueFd stream(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!stream) continue;
    const std::string line = std::to_string(next++) + "\n";
    // Who doesn't get it asks again.
    (void)::send(stream.get(), line.data(), line.size(), MSG_NOSIGNAL);
  }
}

}  // namespace

Result<bool> WorkerIds::serve(const std::filesystem::path& vsock) {
  if (served_.contains(vsock)) return true;
  if (!std::filesystem::exists(vsock.parent_path())) return false;
  const std::string path = vsock.string() + "_" + std::to_string(kWorkerIdPort);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail("the path " + path + " is too long for a socket");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // The VMM that connects may be another user's.
  if (!listener ||
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), 0666) != 0 || ::listen(listener.get(), 16) != 0) {
    return fail_errno("listening on " + path);
  }
  served_.insert(vsock);
  threads_.emplace_back([this, listener = std::move(listener)](const std::stop_token& stop) {
    answer_until_stopped(stop, listener, next_);
  });
  return true;
}

}  // namespace clonesafe::audit
