#include "guest_agent/helper/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::agent {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kKeptOutput = 4096;
constexpr std::size_t kLongestLine = 200;

// The settings of one posix_spawn(3).
class SpawnSettings {
 public:
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  void output_to(int fd) {
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, fd, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions_, fd, STDERR_FILENO);
    ::posix_spawn_file_actions_addchdir_np(&actions_, "/");
  }
  // What this process ignores or blocks is nothing to the program.
  void own_session_and_signals() {
    sigset_t all;
    ::sigfillset(&all);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setflags(&attributes_,
                               POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_ = {};
  posix_spawnattr_t attributes_ = {};
};

// The end of what a program writes.
class Output {
 public:
  // Whatever is there; false: the program's end is closed.
  bool take(int fd) {
    std::array<char, 4096> block = {};
    for (;;) {
      const ssize_t size = ::read(fd, block.data(), block.size());
      if (size == 0) return false;
      if (size < 0) return errno == EAGAIN || errno == EINTR;
      kept_.append(block.data(), static_cast<std::size_t>(size));
      if (kept_.size() > kKeptOutput) kept_.erase(0, kept_.size() - kKeptOutput);
    }
  }

  std::string last_line() const {
    const auto last = kept_.find_last_not_of(" \t\r\n");
    if (last == std::string::npos) return {};
    const auto before = kept_.find_last_of('\n', last);
    const auto first = before == std::string::npos ? 0 : before + 1;
    std::string line = kept_.substr(first, std::min(last + 1 - first, kLongestLine));
    std::ranges::replace_if(line, [](char c) { return c < ' ' || c > '~'; }, '?');
    return line;
  }

 private:
  std::string kept_;
};

struct Child {
  pid_t pid = -1;
  UniqueFd process;
  UniqueFd output;
};

Result<Child> spawn(const Program& program) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe");
  Child child;
  child.output = UniqueFd(ends[0]);
  const UniqueFd childs_end(ends[1]);
  if (::fcntl(child.output.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("fcntl of a pipe");

  SpawnSettings settings;
  settings.output_to(childs_end.get());
  settings.own_session_and_signals();
  std::string path = program.path;
  std::vector<std::string> environment = program.environment;
  std::vector<char*> variables;
  variables.reserve(environment.size() + 1);
  for (std::string& variable : environment) variables.push_back(variable.data());
  variables.push_back(nullptr);
  char* const arguments[] = {path.data(), nullptr};
  if (const int error = ::posix_spawn(&child.pid, path.c_str(), settings.actions(),
                                      settings.attributes(), arguments, variables.data());
      error != 0)
    return fail_errno("can't be started", error);
  // Not reaped yet, so the pid is still its own.
  child.process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.process) {
    const int error = errno;
    ::kill(-child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    return fail_errno("pidfd_open", error);
  }
  return child;
}

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000'000));
}

enum class Why : std::uint8_t { kEnded, kDeadline, kCancelled };

Why wait_for_end(const Child& child, const Program& program, Output& output) {
  std::array<pollfd, 3> waits = {{{child.process.get(), POLLIN, 0},
                                  {child.output.get(), POLLIN, 0},
                                  {program.cancel_fd, POLLIN, 0}}};
  for (;;) {
    const int ready = ::poll(waits.data(), waits.size(), milliseconds_until(program.deadline));
    if (ready < 0 && errno != EINTR) return Why::kCancelled;
    if (ready <= 0) {
      if (Clock::now() >= program.deadline) return Why::kDeadline;
      continue;
    }
    // A program may close its output and go on.
    if (waits[1].revents != 0 && !output.take(child.output.get())) waits[1].fd = -1;
    if (waits[0].revents != 0) return Why::kEnded;
    if (waits[2].revents != 0) return Why::kCancelled;
  }
}

std::string error_of(int status) {
  if (WIFSIGNALED(status)) return "killed by signal " + std::to_string(WTERMSIG(status));
  const int code = WEXITSTATUS(status);
  return code == 0 ? std::string() : "exit code " + std::to_string(code);
}

}  // namespace

ProgramEnd run_program(const Program& program) {
  const auto child = spawn(program);
  if (!child) return {.error = child.error().message()};
  Output output;
  const Why why = wait_for_end(*child, program, output);
  if (why != Why::kEnded) ::kill(-child->pid, SIGKILL);
  int status = 0;
  while (::waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
  }
  (void)output.take(child->output.get());
  ProgramEnd end = {.cancelled = why == Why::kCancelled, .last_line = output.last_line()};
  switch (why) {
    case Why::kEnded:
      end.error = error_of(status);
      break;
    case Why::kDeadline:
      end.error = "killed: its deadline is over";
      break;
    case Why::kCancelled:
      end.error = "cancelled";
      break;
  }
  return end;
}

}  // namespace clonesafe::agent
