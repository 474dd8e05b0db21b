#include "vmm_device/cli/raw_terminal.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>

namespace clonesafe::cli {

// What a signal handler needs, so nothing of it changes once the handlers are there.
struct RawTerminal::Saved {
  int fd = -1;
  termios before{};
};

namespace {

// SIGINT, SIGTERM and SIGHUP end a session in order; these end the process where it stands.
constexpr std::array kFatal = {SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};

// A handler has no other way to its object.
struct Restored {
  std::atomic<int> fd = -1;
  termios before{};
};
Restored& for_handlers() {
  static Restored restored;
  return restored;
}

void restore_and_die(int signal) {
  const Restored& restored = for_handlers();
  if (const int fd = restored.fd.load(); fd >= 0) ::tcsetattr(fd, TCSANOW, &restored.before);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

// Only where the default action would have ended the process: other handlers know what they do.
void change_handlers(void (*from)(int), void (*to)(int)) {
  for (const int signal : kFatal) {
    struct sigaction action{};
    if (::sigaction(signal, nullptr, &action) != 0) continue;
    if ((action.sa_flags & SA_SIGINFO) != 0 || action.sa_handler != from) continue;
    action.sa_handler = to;
    ::sigaction(signal, &action, nullptr);
  }
}

bool in_background(int fd) {
  const pid_t foreground = ::tcgetpgrp(fd);
  return foreground > 0 && foreground != ::getpgrp();
}

}  // namespace

RawTerminal::RawTerminal() = default;
RawTerminal::RawTerminal(RawTerminal&&) noexcept = default;

Result<RawTerminal> RawTerminal::make(int fd) {
  RawTerminal terminal;
  // Changing the terminal from the background would stop the process.
  if (::isatty(fd) != 1 || in_background(fd)) return terminal;
  auto saved = std::make_unique<Saved>();
  saved->fd = fd;
  if (::tcgetattr(fd, &saved->before) != 0) return fail_errno("tcgetattr of the terminal");
  Restored& restored = for_handlers();
  restored.before = saved->before;
  restored.fd = fd;
  change_handlers(SIG_DFL, restore_and_die);
  termios raw = saved->before;
  ::cfmakeraw(&raw);
  terminal.saved_ = std::move(saved);
  if (::tcsetattr(fd, TCSANOW, &raw) != 0) return fail_errno("tcsetattr of the terminal");
  return terminal;
}

RawTerminal::~RawTerminal() {
  if (!saved_) return;
  ::tcsetattr(saved_->fd, TCSANOW, &saved_->before);
  change_handlers(restore_and_die, SIG_DFL);
  for_handlers().fd = -1;
}

}  // namespace clonesafe::cli
