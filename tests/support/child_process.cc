#include "tests/support/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <utility>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::support {
namespace {

int exit_code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const std::string& string : strings) result.push_back(const_cast<char*>(string.c_str()));
  result.push_back(nullptr);
  return result;
}

// `theirs`, and what we have of other names: of two values of one name programs differ in which
// they take.
std::vector<std::string> with_ours(const std::vector<std::string>& theirs) {
  std::vector<std::string> all = theirs;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view variable = *entry;
    const auto name = variable.substr(0, variable.find('=') + 1);
    if (std::ranges::none_of(theirs, [&](const auto& other) { return other.starts_with(name); })) {
      all.emplace_back(variable);
    }
  }
  return all;
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const Setup& setup) {
  const UniqueFd input(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!input) return fail_errno("open of /dev/null");
  const auto variables = with_ours(setup.environment);
  const auto arguments = pointers(setup.command);
  const auto environment = pointers(variables);
  const pid_t parent = ::getpid();
  ChildProcess child;
  child.name_ = std::filesystem::path(setup.command.front()).filename();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork for " + child.name_);
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) _exit(127);
    ::dup2(input.get(), 0);
    ::dup2(setup.output, 1);
    ::dup2(setup.errors, 2);
    if (setup.in_child) setup.in_child();
    ::execvpe(arguments[0], arguments.data(), environment.data());
    ::dprintf(2, "cannot run %s\n", arguments[0]);
    _exit(127);
  }
  child.pid_ = pid;
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), code_(other.code_), name_(std::move(other.name_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this != &other) {
    kill();
    pid_ = std::exchange(other.pid_, 0);
    code_ = other.code_;
    name_ = std::move(other.name_);
  }
  return *this;
}

ChildProcess::~ChildProcess() {
  kill();
}

bool ChildProcess::running() {
  int status = 0;
  if (pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    pid_ = 0;
    code_ = exit_code_of(status);
  }
  return pid_ > 0;
}

Result<int> ChildProcess::wait(std::chrono::milliseconds limit) {
  if (!eventually(limit, [this] { return !running(); })) {
    return fail(name_ + " has not ended in " + std::to_string(limit.count()) + " ms");
  }
  return code_;
}

void ChildProcess::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

int ChildProcess::kill() {
  signal(SIGKILL);
  int status = 0;
  while (pid_ > 0) {
    const pid_t ended = ::waitpid(pid_, &status, 0);
    if (ended < 0 && errno == EINTR) continue;
    if (ended == pid_) code_ = exit_code_of(status);
    pid_ = 0;
  }
  return code_;
}

}  // namespace clonesafe::support
