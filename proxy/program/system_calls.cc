// The system calls of a proxy that serves. A call belongs in here if the proxy's tests need it, or
// if libc makes it on a path that is rare (names, memory, threads, ends). There is no program to be
// run, no other process to be looked into, no memory that is written and executed, no file that is
// made or written to.
#include "proxy/program/system_calls.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "vmm_device/jail/filter.h"

namespace clonesafe::proxy {
namespace {

using jail::AllowedCall;
using jail::only;
using jail::unless;

// Only to be read.
constexpr std::uint32_t kWrites = O_ACCMODE | O_CREAT | O_TRUNC;
constexpr std::uint32_t kThread = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND;

constexpr AllowedCall kAllowed[] = {
    // The event loops.
    {SYS_epoll_create1},
    {SYS_epoll_ctl},
    {SYS_epoll_wait},
    {SYS_epoll_pwait},
    {SYS_eventfd2},
    {SYS_timerfd_create},
    {SYS_timerfd_settime},
    {SYS_poll},
    {SYS_ppoll},
    // Connections: of applications, upstreams, operators, the agent, name servers. By netlink libc
    // asks for addresses.
    only(SYS_socket, 0, AF_UNIX),
    only(SYS_socket, 0, AF_INET),
    only(SYS_socket, 0, AF_INET6),
    only(SYS_socket, 0, AF_NETLINK),
    only(SYS_socketpair, 0, AF_UNIX),
    {SYS_bind},
    {SYS_listen},
    {SYS_accept},
    {SYS_accept4},
    {SYS_connect},
    {SYS_shutdown},
    {SYS_getsockname},
    {SYS_getpeername},
    {SYS_getsockopt},
    {SYS_setsockopt},
    {SYS_sendto},
    {SYS_sendmsg},
    {SYS_sendmmsg},
    {SYS_recvfrom},
    {SYS_recvmsg},
    {SYS_read},
    {SYS_readv},
    {SYS_write},
    {SYS_writev},
    {SYS_close},
    {SYS_fcntl},
    only(SYS_ioctl, 1, FIONBIO),
    only(SYS_ioctl, 1, FIONREAD),
    // Files: a configuration and what it names, how names are looked up, the time zone.
    unless(SYS_open, 1, kWrites),
    unless(SYS_openat, 2, kWrites),
    {SYS_access},
    {SYS_faccessat},
    {SYS_faccessat2},
    {SYS_stat},
    {SYS_lstat},
    {SYS_fstat},
    {SYS_newfstatat},
    {SYS_statx},
    {SYS_lseek},
    {SYS_pread64},
    {SYS_readlink},
    {SYS_readlinkat},
    // A Unix socket of a proxy that was killed, and the control socket at the end.
    {SYS_unlink},
    {SYS_unlinkat},
    // Memory. Libraries that look up names are loaded when a name is: mapped to be executed, and
    // not to be written to.
    unless(SYS_mmap, 2, PROT_EXEC),
    unless(SYS_mmap, 2, PROT_WRITE),
    unless(SYS_mprotect, 2, PROT_EXEC),
    {SYS_munmap},
    {SYS_mremap},
    {SYS_madvise},
    {SYS_brk},
    // By which sanitizers look whether there is memory.
    {SYS_pipe},
    {SYS_pipe2},
    // Threads: of the workers, of the library's hooks, of lookups of names.
    {.number = SYS_clone, .argument = 0, .mask = kThread, .value = kThread},
    {SYS_set_robust_list},
    {SYS_rseq},
    {SYS_sched_getaffinity},
    {SYS_sched_yield},
    {SYS_membarrier},
    only(SYS_prctl, 0, PR_SET_NAME),
    only(SYS_prctl, 0, PR_GET_NAME),
    {SYS_futex},
    {SYS_gettid},
    {SYS_getpid},
    only(SYS_tgkill, 0, AllowedCall::kOwnProcess),
    {SYS_rt_sigaction},
    {SYS_rt_sigprocmask},
    {SYS_rt_sigreturn},
    {SYS_sigaltstack},
    {SYS_restart_syscall},
    {SYS_exit},
    {SYS_exit_group},
    // The end of the process that runs commands.
    {SYS_wait4},
    // Who and where it is, and what it may.
    {SYS_getuid},
    {SYS_geteuid},
    {SYS_getgid},
    {SYS_getegid},
    {SYS_uname},
    {SYS_sysinfo},
    only(SYS_prlimit64, 0, 0),
    {SYS_clock_gettime},
    {SYS_clock_getres},
    {SYS_clock_nanosleep},
    {SYS_nanosleep},
    {SYS_gettimeofday},
    {SYS_getrandom},
};

// Whoever makes one of these is not the proxy any more.
const std::vector<int> kFatal = {
    SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev,
    SYS_fork,   SYS_vfork};

}  // namespace

Status restrict_system_calls() {
  // clone3's flags are in memory, where no filter sees them; libc takes clone instead.
  auto program = jail::compile_filter({.forbidden = jail::Forbidden::kDeny,
                                       .allowed = {kAllowed},
                                       .unknown = {SYS_clone3},
                                       .fatal = kFatal});
  if (!program) return fail(program.error());
  return jail::install_filter(std::move(*program), jail::Forbidden::kDeny);
}

}  // namespace clonesafe::proxy
