#include "tests/audit/run/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::audit {
namespace {

int exit_code(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

UniqueFd make_file(const std::filesystem::path& path) {
  return UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}

}  // namespace

Result<Process> Process::start(const std::vector<std::string>& command,
                               const std::filesystem::path& output,
                               const std::filesystem::path& errors) {
  const UniqueFd in(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd out = make_file(output);
  const UniqueFd err = make_file(errors);
  if (!in || !out || !err)
    return fail_errno("making " + output.string() + " or " + errors.string());
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  Process process;
  process.name_ = std::filesystem::path(command.front()).filename();
  process.errors_ = errors;
  process.pid_ = ::fork();
  if (process.pid_ < 0) return fail_errno("fork");
  if (process.pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) _exit(127);
    ::dup2(in.get(), 0);
    ::dup2(out.get(), 1);
    ::dup2(err.get(), 2);
    ::execvp(arguments[0], arguments.data());
    ::dprintf(2, "cannot run %s\n", arguments[0]);
    _exit(127);
  }
  return process;
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      code_(other.code_),
      name_(std::move(other.name_)),
      errors_(std::move(other.errors_)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    stop();
    pid_ = std::exchange(other.pid_, 0);
    code_ = other.code_;
    name_ = std::move(other.name_);
    errors_ = std::move(other.errors_);
  }
  return *this;
}

Process::~Process() {
  stop();
}

bool Process::running() {
  int status = 0;
  if (pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    pid_ = 0;
    code_ = exit_code(status);
  }
  return pid_ > 0;
}

Result<int> Process::wait(std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (running()) {
    if (std::chrono::steady_clock::now() >= until) {
      return fail(name_ + " has not ended in " + std::to_string(limit.count() / 1000) + " s");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return code_;
}

void Process::stop() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGTERM);
  if (wait(std::chrono::seconds(10))) return;
  ::kill(pid_, SIGKILL);
  (void)wait(std::chrono::seconds(10));
}

std::string Process::last_words() {
  std::string text = read_text(errors_);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  text.erase(0, text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  return name_ + (running() ? " runs" : " ended with exit code " + std::to_string(code_)) +
         (text.empty() ? "" : ": " + text);
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace clonesafe::audit
