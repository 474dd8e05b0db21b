#include "vmm_device/jail/jail.h"

#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "libclonesafe/base/unique_fd.h"
#include "vmm_device/jail/allowed_calls.h"
#include "vmm_device/jail/thread_name.h"

namespace clonesafe::jail {
namespace {

using Context = std::unique_ptr<void, decltype([](void* context) { seccomp_release(context); })>;

Status add(void* context, const AllowedCall& call) {
  int error = 0;
  if (call.argument == AllowedCall::kAnyArguments) {
    error = seccomp_rule_add(context, SCMP_ACT_ALLOW, call.number, 0);
  } else {
    const scmp_arg_cmp check{.arg = static_cast<unsigned>(call.argument),
                             .op = SCMP_CMP_MASKED_EQ,
                             .datum_a = call.mask,
                             .datum_b = call.value};
    error = seccomp_rule_add_array(context, SCMP_ACT_ALLOW, call.number, 1, &check);
  }
  // A rule that is there already, say of a table and of that of all threads.
  if (error != 0 && error != -EEXIST)
    return fail_errno("seccomp rule for system call " + std::to_string(call.number), -error);
  return {};
}

// libseccomp writes a program to a file only.
Result<std::vector<sock_filter>> exported(void* context) {
  const UniqueFd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return fail_errno("memfd for a seccomp filter");
  if (const int error = seccomp_export_bpf(context, file.get()); error != 0)
    return fail_errno("seccomp_export_bpf", -error);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return fail_errno("seccomp filter: fstat");
  std::vector<sock_filter> program(static_cast<std::size_t>(status.st_size) / sizeof(sock_filter));
  const std::size_t size = program.size() * sizeof(sock_filter);
  if (::pread(file.get(), program.data(), size, 0) != static_cast<ssize_t>(size))
    return fail_errno("seccomp filter: read");
  return program;
}

Result<std::vector<sock_filter>> compile_for(Thread thread) {
  // A trap, not a kill: the call is not made either way, and the handler can say which it was.
  const Context context(seccomp_init(SCMP_ACT_TRAP));
  if (!context) return fail("seccomp_init failed");
  // Calls of another architecture (i386, x32) are not even looked at.
  int error = seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // The system's errors, not "Operation canceled" for each.
  if (error == 0) error = seccomp_attr_set(context.get(), SCMP_FLTATR_API_SYSRAWRC, 1);
  // A binary tree over the numbers instead of a list: a vCPU makes a call for every exit.
  if (error == 0) error = seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  if (error == 0 && thread == Thread::devices)
    error = seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(ENOSYS), SYS_clone3, 0);
  if (error != 0) return fail_errno("seccomp attributes", -error);
  for (const auto table : {allowed_to_all(), allowed_to(thread)}) {
    for (const AllowedCall& call : table) {
      if (auto added = add(context.get(), call); !added) return fail(added.error());
    }
  }
  return exported(context.get());
}

// The program with this process's id where the tables have the word for it.
std::vector<sock_filter> for_this_process(std::vector<sock_filter> program) {
  const auto self = static_cast<std::uint32_t>(::getpid());
  for (sock_filter& instruction : program) {
    if (instruction.code == (BPF_JMP | BPF_JEQ | BPF_K) &&
        instruction.k == AllowedCall::kOwnProcess)
      instruction.k = self;
  }
  return program;
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
  auto filter = for_this_process(program(thread));
  const sock_fprog loaded{.len = static_cast<unsigned short>(filter.size()),
                          .filter = filter.data()};
  set_thread_name(name);
  if (auto unblocked = unblock_violation_signal(); !unblocked) return unblocked;
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno("no_new_privs");
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &loaded) != 0)
    return fail_errno("seccomp filter of thread " + name);
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
