#include "proxy/secrets/command_helper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "proxy/secrets/command_run.h"
#include "proxy/secrets/request.h"

namespace clonesafe::proxy {
namespace {

constexpr int kSocket = STDERR_FILENO + 1;
// Programs at a time; further requests wait.
constexpr int kMostRunning = 16;

// Owns no descriptor: each is at its place, or closed with the rest.
bool keep_only(int socket) {
  const int nothing = ::open("/dev/null", O_RDWR);
  if (nothing < 0) return false;
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO}) {
    if (::dup2(nothing, standard) != standard) return false;
  }
  if (socket != kSocket && ::dup3(socket, kSocket, O_CLOEXEC) != kSocket) return false;
  return ::close_range(kSocket + 1, ~0U, 0) == 0;
}

// A terminal, and a service manager, tell all of the proxy's processes to end: this one ends when
// the proxy does. A child's end wakes it where it waits.
Status set_signals() {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(number, SIG_IGN);
  ::signal(SIGCHLD, [](int) {});
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  if (::sigprocmask(SIG_SETMASK, &children, nullptr) != 0) return fail_errno("sigprocmask");
  return {};
}

// In this order: a change of rights takes back the signal at the parent's end.
Status isolate(const std::function<Status()>& give_up, pid_t parent) {
  if (auto set = set_signals(); !set) return set;
  if (auto given_up = give_up(); !given_up) return given_up;
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return fail_errno("PR_SET_PDEATHSIG");
  if (::getppid() != parent) return fail("the proxy has ended");
  ::prctl(PR_SET_NAME, "proxy-commands");
  ::clearenv();
  if (::chdir("/") != 0) return fail_errno("chdir");
  return {};
}

// False: there won't be any more.
bool take_request(const std::vector<CommandConfig>& commands, int& running) {
  const auto request = receive_request(kSocket);
  if (!request) return false;
  if (request->command >= commands.size() || !request->answer) return true;
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(kSocket);
    run_command(commands[request->command], request->answer);
    ::_exit(0);
  }
  if (child > 0) ++running;
  return true;
}

void serve(const std::vector<CommandConfig>& commands) {
  sigset_t none;
  ::sigemptyset(&none);
  int running = 0;
  for (;;) {
    while (running != 0 && ::waitpid(-1, nullptr, WNOHANG) > 0) --running;
    pollfd wait{.fd = kSocket, .events = 0, .revents = 0};
    if (running < kMostRunning) wait.events = POLLIN;
    const int ready = ::ppoll(&wait, 1, nullptr, &none);
    if (ready > 0 && !take_request(commands, running)) return;
  }
}

void tell(std::string_view text) {
  ::send(kSocket, text.data(), text.size(), MSG_NOSIGNAL);
}

}  // namespace

void serve_commands(UniqueFd socket, const std::vector<CommandConfig>& commands,
                    const std::function<Status()>& give_up, pid_t parent) {
  if (!keep_only(socket.release())) ::_exit(1);
  if (auto isolated = isolate(give_up, parent); !isolated) {
    tell(isolated.error().message());
    ::_exit(1);
  }
  tell(kCommandsReady);
  serve(commands);
  // Each sees that nobody waits for its answer.
  while (::wait(nullptr) > 0 || errno == EINTR) {
  }
  ::_exit(0);
}

}  // namespace clonesafe::proxy
