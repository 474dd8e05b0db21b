#include "tests/lab/nested/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <utility>

namespace clonesafe::lab {
namespace {

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

// With the end of a pipe that reads its standard output.
Result<std::pair<support::ChildProcess, UniqueFd>> spawn(
    const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
    bool with_stderr, const std::function<void()>& in_child = {}) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe");
  UniqueFd output(ends[0]);
  const UniqueFd input(ends[1]);
  auto child = support::ChildProcess::start({.command = arguments,
                                             .environment = environment,
                                             .output = input.get(),
                                             .errors = with_stderr ? input.get() : 2,
                                             .in_child = in_child});
  if (!child) return fail(std::move(child).error());
  return std::pair(std::move(*child), std::move(output));
}

}  // namespace

Result<Process> Process::start(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& environment) {
  auto spawned = spawn(arguments, environment, false);
  if (!spawned) return fail(std::move(spawned).error());
  return Process(std::move(spawned->first), std::move(spawned->second));
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

Result<Outcome> run(const std::vector<std::string>& arguments, Seconds timeout,
                    const std::function<void()>& in_child) {
  auto spawned = spawn(arguments, {}, true, in_child);
  if (!spawned) return fail(std::move(spawned).error());
  auto& [child, output] = *spawned;
  Outcome outcome;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (read_some(output.get(), outcome.output, deadline)) {
  }
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  // Its output may end before it does.
  const auto status = child.wait(std::max(left, std::chrono::milliseconds(0)));
  if (!status)
    return fail(arguments.front() + " did not end in time; its output: " + outcome.output);
  outcome.status = *status;
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
    pid_t parent = 0;
    std::from_chars(line.data() + end + 4, line.data() + line.size(), parent);
    if (parent == getpid()) found.push_back(pid);
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace clonesafe::lab
