#include "vmm_device/jail/filter.h"

#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>

#include "libclonesafe/base/unique_fd.h"

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

// The program with this process's id where the tables have the word for it.
void put_this_process(std::vector<sock_filter>& program) {
  const auto self = static_cast<std::uint32_t>(::getpid());
  for (sock_filter& instruction : program) {
    if (instruction.code == (BPF_JMP | BPF_JEQ | BPF_K) &&
        instruction.k == AllowedCall::kOwnProcess)
      instruction.k = self;
  }
}

}  // namespace

Result<std::vector<sock_filter>> compile_filter(const FilterRules& rules) {
  const Context context(
      seccomp_init(rules.forbidden == Forbidden::kTrap ? SCMP_ACT_TRAP : SCMP_ACT_ERRNO(EPERM)));
  if (!context) return fail("seccomp_init failed");
  // Calls of another architecture (i386, x32) are not even looked at.
  int error = seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // The system's errors, not "Operation canceled" for each.
  if (error == 0) error = seccomp_attr_set(context.get(), SCMP_FLTATR_API_SYSRAWRC, 1);
  // A binary tree over the numbers instead of a list: a vCPU makes a call for every exit.
  if (error == 0) error = seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  for (const int number : rules.unknown) {
    if (error == 0) error = seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(ENOSYS), number, 0);
  }
  for (const int number : rules.fatal) {
    if (error == 0) error = seccomp_rule_add(context.get(), SCMP_ACT_KILL_PROCESS, number, 0);
  }
  if (error != 0) return fail_errno("seccomp attributes", -error);
  for (const auto table : rules.allowed) {
    for (const AllowedCall& call : table) {
      if (auto added = add(context.get(), call); !added) return fail(added.error());
    }
  }
  return exported(context.get());
}

Status install_filter(std::vector<sock_filter> program, Forbidden forbidden) {
  put_this_process(program);
  const sock_fprog loaded{.len = static_cast<unsigned short>(program.size()),
                          .filter = program.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno("no_new_privs");
  const unsigned flags = forbidden == Forbidden::kDeny ? SECCOMP_FILTER_FLAG_LOG : 0;
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &loaded) != 0)
    return fail_errno("seccomp filter");
  return {};
}

}  // namespace clonesafe::jail
