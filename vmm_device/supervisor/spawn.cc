#include "vmm_device/supervisor/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <exception>

namespace clonesafe::supervisor {

namespace {

Status redirect_standard_streams(const std::filesystem::path& folder) {
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) return fail_errno("/dev/null");
  const std::string log_name = (folder / "clone.log").string();
  const UniqueFd log(
      ::open(log_name.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!log) return fail_errno(log_name);
  if (::dup2(null.get(), STDIN_FILENO) < 0 || ::dup2(log.get(), STDOUT_FILENO) < 0 ||
      ::dup2(log.get(), STDERR_FILENO) < 0)
    return fail_errno("dup2");
  return {};
}

Result<UniqueFd> take_signals() {
  // SIGINT reaches the whole foreground group; the parent passes it on as SIGTERM.
  for (const int ignored : {SIGINT, SIGHUP, SIGPIPE, SIGXFSZ}) ::signal(ignored, SIG_IGN);
  ::signal(SIGTERM, SIG_DFL);  // an inherited SIG_IGN would discard it unseen
  sigset_t stop;
  ::sigemptyset(&stop);
  ::sigaddset(&stop, SIGTERM);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the process has one thread yet
  if (::sigprocmask(SIG_SETMASK, &stop, nullptr) != 0) return fail_errno("sigprocmask");
  UniqueFd stop_fd(::signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!stop_fd) return fail_errno("signalfd");
  return stop_fd;
}

Result<std::string> run(CloneRequest request, const RunClone& run_clone, CloneEvents& events) {
  // Guest memory is in this process: no core dump of it.
  const rlimit no_core{0, 0};
  if (::setrlimit(RLIMIT_CORE, &no_core) != 0) return fail_errno("setrlimit for core dumps");
  if (auto status = redirect_standard_streams(request.folder); !status)
    return fail(std::move(status).error());
  auto stop_fd = take_signals();
  if (!stop_fd) return fail(std::move(stop_fd).error());
  request.stop_fd = stop_fd->get();
  try {
    return run_clone(request, events);
  } catch (const std::exception& exception) {
    return fail(std::string("exception: ") + exception.what());
  }
}

[[noreturn]] void be_the_clone(const CloneRequest& request, const RunClone& run_clone,
                               int events_fd, pid_t parent) {
  // The parent may be gone before the kernel was told to kill this process with it.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) ::_exit(1);
  CloneEvents events(events_fd);
  const auto end = run(request, run_clone, events);
  events.ended(end.has_value(), end ? *end : end.error().message());
  // Not exit(): what the parent registered for its own end must not run here.
  ::_exit(end ? 0 : 1);
}

}  // namespace

Result<ClonePipe> spawn_clone(const CloneRequest& request, const RunClone& run_clone,
                              std::span<const int> close_in_child) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe");
  ClonePipe clone;
  clone.events = UniqueFd(ends[0]);
  const UniqueFd events_of_child(ends[1]);
  if (::fcntl(clone.events.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("fcntl of a pipe");

  const pid_t parent = ::getpid();
  clone.pid = ::fork();
  if (clone.pid < 0) return fail_errno("fork");
  if (clone.pid == 0) {
    clone.events.reset();
    for (const int fd : close_in_child) ::close(fd);
    be_the_clone(request, run_clone, events_of_child.get(), parent);
  }
  // The child can't be reaped by anyone else, so the pid is still its own.
  clone.process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, clone.pid, 0)));
  if (!clone.process) {
    const int error_number = errno;
    ::kill(clone.pid, SIGKILL);
    ::waitpid(clone.pid, nullptr, 0);
    return fail_errno("pidfd_open", error_number);
  }
  return clone;
}

Result<ProcessEnd> reap(const ClonePipe& clone) {
  int status = 0;
  pid_t got;
  do {
    got = ::waitpid(clone.pid, &status, 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno("waitpid for process " + std::to_string(clone.pid));
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const char* name = ::strsignal(signal);  // NOLINT(concurrency-mt-unsafe): one thread asks
    return ProcessEnd{false, "killed by signal " + std::to_string(signal) + " (" + name + ")",
                      signal};
  }
  const int code = WEXITSTATUS(status);
  return ProcessEnd{code == 0, "exited with status " + std::to_string(code)};
}

}  // namespace clonesafe::supervisor
