// What happens at a forbidden system call. All of it runs in a signal handler.
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "vmm_device/jail/jail.h"
#include "vmm_device/jail/thread_name.h"

namespace clonesafe::jail {
namespace {

thread_local std::array<char, 16> thread_name{"unnamed"};
// The handler finds it here. Written once, before there is a second thread.
Violation* recorded_at = nullptr;

// A decimal number without the C library's buffers.
std::size_t put_number(char* to, std::uint32_t number) {
  char digits[10];
  std::size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  for (std::size_t i = 0; i < count; ++i) to[i] = digits[count - 1 - i];
  return count;
}

// For who has no parent that reads the record.
void write_line(std::uint32_t number) {
  static constexpr char kText[] = "clonevm: the jail ends the process: forbidden system call ";
  char line[sizeof kText + 10 + 1];
  std::size_t size = sizeof kText - 1;
  ::memcpy(line, kText, size);
  size += put_number(line + size, number);
  line[size++] = '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line, size);
}

// Its disposition is the default one by now (SA_RESETHAND), so the signal it raises at the end is
// the process's end, and its parent sees SIGSYS.
void on_violation(int, siginfo_t* info, void* context) {
  const auto number = static_cast<std::uint32_t>(info->si_syscall);
  if (recorded_at != nullptr && recorded_at->present.load(std::memory_order_relaxed) == 0) {
    recorded_at->number = number;
    recorded_at->request =
        static_cast<std::uint64_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RSI]);
    recorded_at->thread = thread_name;
    recorded_at->present.store(1, std::memory_order_release);
  }
  write_line(number);
  ::raise(SIGSYS);
}

}  // namespace

void set_thread_name(const std::string& name) {
  thread_name = {};
  name.copy(thread_name.data(), thread_name.size() - 1);
}

Status record_violations(Violation* violation) {
  recorded_at = violation;
  struct sigaction action{};
  action.sa_sigaction = on_violation;
  action.sa_flags = static_cast<int>(SA_SIGINFO | SA_RESETHAND | SA_NODEFER);
  sigemptyset(&action.sa_mask);
  if (::sigaction(SIGSYS, &action, nullptr) != 0) return fail_errno("sigaction for SIGSYS");
  return {};
}

}  // namespace clonesafe::jail
