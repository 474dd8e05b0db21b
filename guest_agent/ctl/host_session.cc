#include "guest_agent/ctl/host_session.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <csignal>
#include <cstdio>

#include "clonesafe/version.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::ctl {
namespace {

using Local = boost::asio::local::stream_protocol;
using boost::system::error_code;

// A socket that nobody listens on was left by an earlier session.
Status make_way(const std::string& path) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) return fail(path + " is there and is not a socket");
  boost::asio::io_context io;
  Local::socket probe(io);
  error_code error;
  if (!probe.connect(Local::endpoint(path), error)) return fail("somebody listens on " + path);
  if (::unlink(path.c_str()) != 0) return fail_errno("unlink of " + path);
  return {};
}

}  // namespace

Result<std::unique_ptr<HostSession>> HostSession::listen(const std::string& path,
                                                         std::optional<std::string> metadata) {
  std::unique_ptr<HostSession> session(new HostSession(path, std::move(metadata)));
  if (auto open = session->open(); !open) return fail(std::move(open.error()));
  session->accept();
  return session;
}

HostSession::~HostSession() {
  if (bound_) ::unlink(path_.c_str());
  channel_.reset();
  io_.restart();
  io_.poll();
}

Status HostSession::open() {
  if (path_.size() >= sizeof(sockaddr_un::sun_path)) return fail(path_ + " is too long a name");
  if (auto free = make_way(path_); !free) return free;
  error_code error;
  const Local::endpoint endpoint(path_);
  if (acceptor_.open(endpoint.protocol(), error) || acceptor_.bind(endpoint, error))
    return fail("socket " + path_ + ": " + error.message());
  bound_ = true;
  if (acceptor_.listen(boost::asio::socket_base::max_listen_connections, error))
    return fail("socket " + path_ + ": " + error.message());
  channel_.emplace(
      io_, std::string("clonesafectl ") + CLONESAFE_VERSION,
      agent_channel::AgentCallbacks{.on_safe = [this](const auto& report) { report_ = report; },
                                    .facts = [this] { return facts(); },
                                    .on_hello =
                                        [this](const auto& hello) {
                                          connected_ = true;
                                          agent_ = hello;
                                          if (resumed_)
                                            channel_->resumed(*resumed_, RestoreKind::kResume);
                                        },
                                    .on_lost = [this] { connected_ = false; }});
  return {};
}

agent_channel::HostFacts HostSession::facts() const {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return {.realtime_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
                         static_cast<std::uint64_t>(now.tv_nsec),
          .metadata = metadata_};
}

void HostSession::accept() {
  acceptor_.async_wait(Local::acceptor::wait_read, [this](const error_code& error) {
    if (error) return;
    UniqueFd stream(::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
    if (stream) (void)channel_->accept(std::move(stream));
    accept();
  });
}

bool HostSession::run_until(const std::function<bool()>& done, Clock::time_point end) {
  while (!done()) {
    if (Clock::now() >= end) return false;
    io_.restart();
    io_.run_one_until(end);
  }
  return true;
}

void HostSession::name_restore(const agent_channel::RestoreId& id, RestoreKind kind) {
  report_.reset();
  channel_->set_restore(id, kind);
}

bool HostSession::wait_for_agent(Clock::time_point end) {
  return run_until([this] { return connected_; }, end);
}

std::optional<agent_channel::SafeReport> HostSession::wait_for_report(bool safe,
                                                                      Clock::time_point end) {
  run_until([this, safe] { return report_ && (!safe || report_->state == "safe"); }, end);
  return report_;
}

Result<agent_channel::Prepared> HostSession::prepare(std::string id,
                                                     std::chrono::milliseconds deadline) {
  std::optional<Result<agent_channel::Prepared>> answer;
  channel_->prepare(std::move(id), deadline, [&answer](auto given) { answer = std::move(given); });
  // The channel keeps the deadline.
  run_until([&answer] { return answer.has_value(); }, Clock::time_point::max());
  return std::move(*answer);
}

Result<int> HostSession::run(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("fork");
  if (child == 0) {
    std::signal(SIGPIPE, SIG_DFL);
    ::execvp(arguments[0], arguments.data());
    std::perror(("clonesafectl: " + command[0]).c_str());
    ::_exit(127);
  }
  bool ended = false;
  const int watched = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
  if (watched >= 0) {
    boost::asio::posix::stream_descriptor end(io_, watched);
    end.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                   [&ended](const error_code&) { ended = true; });
    run_until([&ended] { return ended; }, Clock::time_point::max());
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return fail_errno("wait for " + command[0]);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void HostSession::resumed(const agent_channel::RestoreId& id) {
  report_.reset();
  resumed_ = id;
  channel_->resumed(id, RestoreKind::kResume);
}

void HostSession::abort(std::string id) {
  channel_->abort(std::move(id));
  // So that it is written before the session may end.
  io_.restart();
  io_.poll();
}

}  // namespace clonesafe::ctl
