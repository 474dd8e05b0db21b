#include "vmm_device/jail/jail.h"

#include <seccomp.h>
#include <signal.h>
#include <sys/syscall.h>

#include <cstring>

#include "vmm_device/jail/allowed_calls.h"
#include "vmm_device/jail/filter.h"
#include "vmm_device/jail/thread_name.h"

namespace clonesafe::jail {
namespace {

Result<std::vector<sock_filter>> compile_for(Thread thread) {
  // A trap, not a kill: the call is not made either way, and the handler can say which it was.
  FilterRules rules{.forbidden = Forbidden::kTrap,
                    .allowed = {allowed_to_all(), allowed_to(thread)},
                    .unknown = {},
                    .fatal = {}};
  if (thread == Thread::devices) rules.unknown.push_back(SYS_clone3);
  return compile_filter(rules);
}

// A blocked signal would end the process without the handler, and so without a name.
Status unblock_violation_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGSYS);
  if (const int error = ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr); error != 0)
    return fail_errno("unblocking SIGSYS", error);
  return {};
}

}  // namespace

Result<Jail> Jail::compile() {
  Jail jail;
  for (const Thread thread : {Thread::vcpu, Thread::devices, Thread::disk, Thread::supervisor}) {
    auto program = compile_for(thread);
    if (!program) return fail(program.error());
    jail.programs_[static_cast<std::size_t>(thread)] = std::move(*program);
  }
  return jail;
}

Status Jail::confine_thread(Thread thread, const std::string& name) const {
  set_thread_name(name);
  if (auto unblocked = unblock_violation_signal(); !unblocked) return unblocked;
  if (auto installed = install_filter(program(thread), Forbidden::kTrap); !installed)
    return fail(installed.error(), "thread " + name);
  return {};
}

std::optional<std::string> describe(const Violation& violation) {
  if (violation.present.load(std::memory_order_acquire) == 0) return std::nullopt;
  const std::uint32_t number = violation.number;
  char* resolved = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, static_cast<int>(number));
  std::string text = "forbidden system call ";
  text += resolved == nullptr ? "" : std::string(resolved) + " ";
  std::free(resolved);
  text += "(" + std::to_string(number) + ")";
  if (number == SYS_ioctl) {
    char request[24];
    std::snprintf(request, sizeof request, ", request 0x%llx",
                  static_cast<unsigned long long>(violation.request));
    text += request;
  }
  text += " on thread '";
  // Whoever wrote this may be the guest.
  for (const char c : violation.thread) {
    if (c == '\0') break;
    text += c < 0x20 || c > 0x7e ? '?' : c;
  }
  return text + "'";
}

}  // namespace clonesafe::jail
