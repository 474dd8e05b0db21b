#include "guest_agent/systemd/service_manager.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>

#include "guest_agent/base/log.h"
#include "libclonesafe/base/unique_fd.h"
#include "libclonesafe/page/generation_page_view.h"

namespace clonesafe::agent {
namespace {

// What `systemctl status` shows.
std::string status_line(const AgentStatus& status) {
  return fmt::format("STATUS={} ({}, {} restores), tier {}{}", state_name(status.state),
                     name_of(status.kind), status.restores, tier_name(status.tier),
                     status.prepared ? ", prepared for a snapshot" : "");
}

// One datagram, as sd_notify(3) documents the protocol. (libsystemd would bring a megabyte of other
// libraries into a process that is to stay small.)
Status send_to(std::string_view name, const std::string& lines) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (name.size() >= sizeof address.sun_path) return fail("NOTIFY_SOCKET is too long a name");
  name.copy(address.sun_path, name.size());
  if (name.front() == '@') address.sun_path[0] = '\0';  // an abstract one
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (::sendto(fd.get(), lines.data(), lines.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
               reinterpret_cast<const sockaddr*>(&address), size) < 0)
    return fail_errno("NOTIFY_SOCKET " + std::string(name));
  return {};
}

void notify(const std::string& lines) {
  const char* const name = std::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  if (name == nullptr || *name == '\0') return;
  if (auto sent = send_to(name, lines); !sent)
    log_warning("the service manager can't be told: " + sent.error().message());
}

}  // namespace

void ServiceManager::ready(const AgentStatus& status) {
  told_ = status_line(status);
  notify("READY=1\n" + told_);
}

void ServiceManager::changed(const AgentStatus& status) {
  std::string line = status_line(status);
  if (line == told_) return;
  told_ = std::move(line);
  notify(told_);
}

void ServiceManager::stopping() {
  notify("STOPPING=1");
}

}  // namespace clonesafe::agent
