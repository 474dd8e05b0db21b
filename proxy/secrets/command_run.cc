#include "proxy/secrets/command_run.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>

#include "proxy/secrets/request.h"
#include "proxy/secrets/wiped_buffer.h"

namespace clonesafe::proxy {
namespace {

using Clock = std::chrono::steady_clock;

struct Started {
  pid_t pid = -1;  // and process group
  UniqueFd process;
  UniqueFd output;
};

struct Pipe {
  UniqueFd from, to;
};
Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("pipe");
  return Pipe{.from = UniqueFd(ends[0]), .to = UniqueFd(ends[1])};
}

// What this process ignores or blocks is nothing to the program.
void reset_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// In the program's process. What fails is told as a number (errno).
[[noreturn]] void become(const CommandConfig& command, int output, int failure, pid_t parent) {
  reset_signals();
  ::setpgid(0, 0);
  std::vector<char*> words;
  for (const std::string& word : command.words) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  char language[] = "LANG=C.UTF-8";
  char* const environment[] = {path, language, nullptr};
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent &&
      ::dup2(output, STDOUT_FILENO) == STDOUT_FILENO)
    ::execve(words.front(), words.data(), environment);
  const int error = errno;
  [[maybe_unused]] const auto told = ::write(failure, &error, sizeof error);
  ::_exit(127);
}

// Kills what is left of the process group, and waits until nothing of it is. How the program ended.
int end_group(pid_t program) {
  // While the program isn't waited for no other has its number.
  ::kill(-program, SIGKILL);
  int ended = 0;
  for (;;) {
    int status = 0;
    const pid_t one = ::waitpid(-program, &status, 0);
    if (one == program) ended = status;
    if (one < 0 && errno != EINTR) return ended;
  }
}

Result<Started> start(const CommandConfig& command) {
  auto output = make_pipe();
  if (!output) return fail(output.error());
  auto failure = make_pipe();
  if (!failure) return fail(failure.error());
  if (::fcntl(output->from.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("fcntl of a pipe");
  const pid_t parent = ::getpid();
  Started started{.pid = ::fork(), .process = {}, .output = std::move(output->from)};
  if (started.pid < 0) return fail_errno("fork");
  if (started.pid == 0) become(command, output->to.get(), failure->to.get(), parent);
  failure->to.reset();
  int error = 0;
  if (::read(failure->from.get(), &error, sizeof error) == sizeof error) {
    end_group(started.pid);
    return fail_errno("can't be run", error);
  }
  started.process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, started.pid, 0)));
  if (!started.process) {
    const int failed = errno;
    end_group(started.pid);
    return fail_errno("pidfd_open", failed);
  }
  return started;
}

enum class Why { kEnded, kLate, kTooMuch, kNobodyWaits };

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<Milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

// All that is there by now; false at its end.
bool take(const UniqueFd& from, WipedBuffer& output) {
  while (!output.full()) {
    const ssize_t count = output.read(from.get());
    if (count == 0) return false;
    if (count < 0 && errno != EINTR) return errno == EAGAIN;
  }
  return true;
}

Why wait_for_end(const Started& program, const UniqueFd& answer, Clock::time_point deadline,
                 WipedBuffer& output) {
  std::array<pollfd, 3> waits = {{{.fd = program.process.get(), .events = POLLIN, .revents = 0},
                                  {.fd = program.output.get(), .events = POLLIN, .revents = 0},
                                  {.fd = answer.get(), .events = 0, .revents = 0}}};
  for (;;) {
    const int ready = ::poll(waits.data(), waits.size(), milliseconds_until(deadline));
    if (ready == 0 || Clock::now() >= deadline) return Why::kLate;
    if (ready < 0) continue;
    if (waits[2].revents != 0) return Why::kNobodyWaits;
    // It may close its output, and go on.
    if (waits[1].revents != 0 && !take(program.output, output)) waits[1].fd = -1;
    if (output.full()) return Why::kTooMuch;
    if (waits[0].revents != 0) return Why::kEnded;
  }
}

Status how(int status) {
  if (WIFSIGNALED(status)) return fail("ended by signal " + std::to_string(WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) return fail("exit status " + std::to_string(WEXITSTATUS(status)));
  return {};
}

Status collect(const CommandConfig& command, const UniqueFd& answer, WipedBuffer& output) {
  const auto deadline = Clock::now() + command.timeout;
  const auto program = start(command);
  if (!program) return fail(program.error());
  const Why why = wait_for_end(*program, answer, deadline, output);
  const int status = end_group(program->pid);
  if (why == Why::kNobodyWaits) return fail("nobody waits for it");
  if (why == Why::kLate)
    return fail("took longer than " + std::to_string(command.timeout.count()) + " ms");
  take(program->output, output);
  if (output.full()) return fail("more than 1 MiB");
  return how(status);
}

bool send(const UniqueFd& to, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(to.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

void run_command(const CommandConfig& command, const UniqueFd& answer) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  WipedBuffer output(kMaxCommandOutput + 1);
  const auto collected = collect(command, answer, output);
  const std::string_view bytes = output.view();
  const std::string line = collected ? std::string(kAnswered) + std::to_string(bytes.size())
                                     : collected.error().message();
  if (send(answer, line.substr(0, kMaxAnswerLine - 1) + "\n") && collected) send(answer, bytes);
}

}  // namespace clonesafe::proxy
