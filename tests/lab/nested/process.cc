#include "tests/lab/nested/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

namespace clonesafe::lab {
namespace {

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const std::string& string : strings) result.push_back(const_cast<char*>(string.c_str()));
  result.push_back(nullptr);
  return result;
}

// Reads what is there, waiting at most until `deadline`. False at the end of the stream or the
// time.
bool read_some(int fd, std::string& buffer, std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  pollfd ready{fd, POLLIN, 0};
  if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) <= 0) return false;
  char chunk[4096];
  const ssize_t size = read(fd, chunk, sizeof chunk);
  if (size <= 0) return false;
  buffer.append(chunk, static_cast<std::size_t>(size));
  return true;
}

Result<std::pair<pid_t, UniqueFd>> spawn(const std::vector<std::string>& arguments,
                                         const std::vector<std::string>& environment,
                                         bool with_stderr,
                                         const std::function<void()>& in_child = {}) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe");
  UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  std::vector<std::string> variables = environment;
  for (char** entry = environ; *entry != nullptr; ++entry) variables.emplace_back(*entry);
  auto argv = pointers(arguments);
  auto envp = pointers(variables);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(input.get(), STDOUT_FILENO);
    if (with_stderr) dup2(input.get(), STDERR_FILENO);
    if (in_child) in_child();
    execvpe(argv[0], argv.data(), envp.data());
    perror(argv[0]);
    _exit(127);
  }
  return std::pair<pid_t, UniqueFd>(pid, std::move(output));
}

}  // namespace

Result<Process> Process::start(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& environment) {
  auto spawned = spawn(arguments, environment, false);
  if (!spawned) return fail(std::move(spawned).error(), arguments.front());
  return Process(spawned->first, std::move(spawned->second));
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      output_(std::move(other.output_)),
      buffer_(std::move(other.buffer_)) {}

Process::~Process() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

Result<std::string> Process::read_line(Seconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    if (const auto end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (!read_some(output_.get(), buffer_, deadline)) {
      return fail("no line within " + std::to_string(timeout.count()) + " s; read so far: '" +
                  buffer_ + "'");
    }
  }
}

Result<int> Process::wait(Seconds timeout) {
  int status = 0;
  const bool ended = eventually(timeout, [&] { return waitpid(pid_, &status, WNOHANG) == pid_; });
  if (!ended) return fail("process " + std::to_string(pid_) + " is still running");
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void Process::signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

Result<Outcome> run(const std::vector<std::string>& arguments, Seconds timeout,
                    const std::function<void()>& in_child) {
  auto spawned = spawn(arguments, {}, true, in_child);
  if (!spawned) return fail(std::move(spawned).error(), arguments.front());
  const auto& [pid, output] = *spawned;
  Outcome outcome;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (read_some(output.get(), outcome.output, deadline)) {
  }
  const bool late = std::chrono::steady_clock::now() > deadline;
  if (late) kill(pid, SIGKILL);
  int status = 0;
  waitpid(pid, &status, 0);
  if (late) return fail(arguments.front() + " did not end in time; its output: " + outcome.output);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

void adopt_orphans() {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
}

std::vector<pid_t> children() {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc()) continue;
    std::string line;
    std::getline(std::ifstream(entry.path() / "stat"), line);
    // "pid (name) state parent ...", and the name may hold anything.
    const auto end = line.rfind(')');
    if (end == std::string::npos || line.size() < end + 4) continue;
    if (std::atoi(line.c_str() + end + 4) == getpid()) found.push_back(pid);  // NOLINT
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace clonesafe::lab
