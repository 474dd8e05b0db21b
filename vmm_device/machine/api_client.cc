#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <span>

#include "vmm_device/machine/api_files.h"
#include "vmm_device/machine/api_server.h"

namespace clonesafe {
namespace json = boost::json;
namespace {

Result<UniqueFd> connect_to(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& name = path.native();
  if (name.size() >= sizeof address.sun_path)
    return fail("the path has more than " + std::to_string(sizeof address.sun_path - 1) + " bytes");
  name.copy(address.sun_path, name.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  int error = 0;
  do {
    error = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  } while (error != 0 && errno == EINTR);
  if (error != 0) return fail_errno("connect");
  return fd;
}

// The files go with the first byte.
Status send_line(int fd, std::string_view line, std::span<const int> files) {
  while (!line.empty()) {
    const ssize_t sent = send_with_files(fd, line, files, kApiFilesMax, 0);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail_errno("send");
    line.remove_prefix(static_cast<std::size_t>(sent));
    files = {};
  }
  return {};
}

using Clock = std::chrono::steady_clock;

int milliseconds_until(Clock::time_point end) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000'000));
}

// False: not until then. A descriptor that is closed or broken is ready too.
bool wait_until_ready(int fd, Clock::time_point end) {
  pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
  for (;;) {
    const int count = ::poll(&ready, 1, milliseconds_until(end));
    if (count > 0) return true;
    if (count == 0 && Clock::now() >= end) return false;
  }
}

Status wait_for_answer(int fd, const ApiCallOptions& options) {
  constexpr std::chrono::milliseconds kTurn{250};
  if (!options.waiting && options.timeout.count() == 0) return {};  // read(2) waits
  const auto end = Clock::now() + options.timeout;
  while (!wait_until_ready(fd, options.waiting ? Clock::now() + kTurn : end)) {
    if (options.timeout.count() != 0 && Clock::now() >= end)
      return fail("no answer within " + std::to_string(options.timeout.count()) + " ms");
    if (options.waiting) options.waiting();
  }
  return {};
}

Result<std::string> receive_line(int fd, const ApiCallOptions& options, ApiFiles& files) {
  std::string line;
  for (;;) {
    if (auto ready = wait_for_answer(fd, options); !ready) return fail(ready.error());
    char chunk[4096];
    const ssize_t got = receive_with_files(fd, chunk, files, kApiReplyFilesMax, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read");
    if (got == 0) return fail("the machine ended before it answered");
    line.append(chunk, static_cast<std::size_t>(got));
    if (const auto end = line.find('\n'); end != std::string::npos) {
      line.resize(end);
      return line;
    }
    if (line.size() > options.longest_answer) return fail("an answer without an end");
  }
}

Result<json::object> exchange(const std::filesystem::path& path, const json::object& request,
                              const ApiCallOptions& options) {
  auto fd = connect_to(path);
  if (!fd) return fail(fd.error());
  // One that hangs up on us says why first: what it sent counts, not that sending failed.
  const auto sent = send_line(fd->get(), json::serialize(request) + "\n", options.files);
  // One that still waits for the rest must know that it doesn't come.
  if (!sent) ::shutdown(fd->get(), SHUT_WR);
  ApiFiles files;
  auto line = receive_line(fd->get(), options, files);
  if (!line) return fail(sent ? line.error() : sent.error());
  if (options.received != nullptr) *options.received = std::move(files);
  return parse_api_line(*line, options.longest_answer);
}

// The process at the other end, as a pidfd: taken while it is connected, so it is that one.
Result<UniqueFd> process_of(const std::filesystem::path& path) {
  auto connection = connect_to(path);
  if (!connection) return fail(connection.error());
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(connection->get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return fail_errno("SO_PEERCRED");
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  if (!process) return fail_errno("pidfd_open of process " + std::to_string(peer.pid));
  return process;
}

}  // namespace

Result<json::object> call_api(const std::filesystem::path& path, const json::object& request,
                              const ApiCallOptions& options) {
  json::object versioned = request;
  versioned["version"] = kApiVersion;
  auto reply = exchange(path, versioned, options);
  if (!reply) return fail(reply.error(), "control socket " + path.string());
  const json::value* ok = reply->if_contains("ok");
  if (ok != nullptr && ok->is_bool() && ok->get_bool()) return reply;
  const json::value* why = reply->if_contains("error");
  return fail(why != nullptr && why->is_string() ? std::string(why->get_string())
                                                 : "the machine refused without a reason");
}

Status stop_machine(const std::filesystem::path& path, std::chrono::milliseconds patience) {
  const auto end = Clock::now() + patience;
  const std::string name = "control socket " + path.string();
  auto process = process_of(path);
  if (!process) return fail(process.error(), name);
  const auto asked = call_api(path, {{"call", "stop"}}, {.timeout = patience});
  if (wait_until_ready(process->get(), end)) return {};
  if (::syscall(SYS_pidfd_send_signal, process->get(), SIGKILL, nullptr, 0) != 0 && errno != ESRCH)
    return fail_errno(name + ": killing its process");
  wait_until_ready(process->get(), Clock::time_point::max());
  return fail(name + ": did not stop within " + std::to_string(patience.count()) +
              " ms, and was killed" + (asked ? "" : " (" + asked.error().message() + ")"));
}

}  // namespace clonesafe
