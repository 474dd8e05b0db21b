#include "proxy/program/listeners.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "proxy/service/diverted.h"
#include "proxy/service/service.h"

namespace clonesafe::proxy {
namespace {

constexpr int kFirstInherited = 3;
constexpr int kMostInherited = 1'024;

Result<UniqueFd> copy_of(const UniqueFd& fd) {
  UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kFirstInherited));
  if (!copy) return fail_errno("dup of a listening socket");
  return copy;
}

Result<std::vector<UniqueFd>> copies_of(const std::vector<UniqueFd>& all) {
  std::vector<UniqueFd> copies;
  for (const UniqueFd& fd : all) {
    auto copy = copy_of(fd);
    if (!copy) return fail(copy.error());
    copies.push_back(std::move(*copy));
  }
  return copies;
}

// -1: it is not set, or no number.
int number_of(const char* name) {
  const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  if (text == nullptr) return -1;
  const std::string_view digits(text);
  int number = -1;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

// Where it listens, as configurations name it.
Result<std::string> name_of(int fd) {
  Endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(fd, endpoint.data(), &size) != 0)
    return fail_errno("LISTEN_FDS: descriptor " + std::to_string(fd));
  endpoint.resize(size);
  return to_text(endpoint);
}

}  // namespace

Status Listeners::inherit() {
  if (number_of("LISTEN_PID") != ::getpid()) return {};
  const int count = number_of("LISTEN_FDS");
  ::unsetenv("LISTEN_PID");  // NOLINT(concurrency-mt-unsafe)
  ::unsetenv("LISTEN_FDS");  // NOLINT(concurrency-mt-unsafe)
  if (count < 0 || count > kMostInherited) return fail("LISTEN_FDS is not a number of sockets");
  for (int number = kFirstInherited; number < kFirstInherited + count; ++number) {
    UniqueFd fd(number);
    auto name = name_of(number);
    if (!name) return fail(name.error());
    if (::fcntl(number, F_SETFD, FD_CLOEXEC) != 0 || ::fcntl(number, F_SETFL, O_NONBLOCK) != 0)
      return fail_errno("LISTEN_FDS: " + *name);
    // One socket for all threads.
    std::vector<UniqueFd>& sockets = sockets_[*name];
    sockets.clear();
    for (std::size_t thread = 0; thread < threads_; ++thread) {
      auto copy = copy_of(fd);
      if (!copy) return fail(copy.error());
      sockets.push_back(std::move(*copy));
    }
  }
  return {};
}

Result<std::vector<UniqueFd>> Listeners::open(const Address& address) const {
  std::vector<UniqueFd> sockets;
  while (sockets.size() < threads_) {
    // TCP: a socket for each thread, between which the kernel spreads those who connect. A Unix
    // socket is one, and copies of it.
    auto fd = address.is_unix() && !sockets.empty() ? copy_of(sockets.front()) : listen_at(address);
    if (!fd) return fail(fd.error());
    sockets.push_back(std::move(*fd));
  }
  return sockets;
}

Result<Listeners> Listeners::with(const std::vector<ServiceConfig>& services) const {
  Listeners next(threads_);
  for (const ServiceConfig& service : services) {
    for (const Address& address : service.listen) {
      const auto here = sockets_.find(address.text());
      auto sockets = here != sockets_.end() ? copies_of(here->second) : open(address);
      if (!sockets) return fail(sockets.error(), "service '" + service.name + "'");
      for (const UniqueFd& fd : *sockets) {
        if (service.transparent != Transparent::kTproxy) break;
        if (auto made = make_transparent(fd.get()); !made)
          return fail(made.error(), "service '" + service.name + "'");
      }
      next.sockets_[address.text()] = std::move(*sockets);
    }
  }
  return next;
}

Result<std::vector<UniqueFd>> Listeners::sockets(const ServiceConfig& service,
                                                 std::size_t thread) const {
  std::vector<UniqueFd> sockets;
  for (const Address& address : service.listen) {
    const auto here = sockets_.find(address.text());
    if (here == sockets_.end()) return fail(address.text() + " is not listened at");
    auto copy = copy_of(here->second[thread]);
    if (!copy) return fail(copy.error(), "service '" + service.name + "'");
    sockets.push_back(std::move(*copy));
  }
  return sockets;
}

}  // namespace clonesafe::proxy
