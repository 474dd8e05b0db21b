// The system calls of each kind of thread. A call belongs in here if a run of the VM lanes needs
// it, or if glibc makes it on a path that is rare (memory, threads, ends). What a guest could turn
// against the host has its arguments checked, or is not here: no execve, no ptrace, no socket but
// Unix ones, no signal to another process, no executable memory, no new process, no namespaces, no
// bpf, no io_uring, no way to change this filter's signal handler.
#include "vmm_device/jail/allowed_calls.h"

#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace clonesafe::jail {
namespace {

constexpr std::uint32_t kWhole = 0xffff'ffff;

constexpr AllowedCall request(std::uint32_t number) {
  return {.number = SYS_ioctl, .argument = 1, .mask = kWhole, .value = number};
}
// A request whose structure ends in an array: its size, which is in the number, depends on who
// declared it (kvm.cc). Type and ordinal say which one it is.
constexpr AllowedCall request_of_any_size(std::uint32_t number) {
  return {.number = SYS_ioctl, .argument = 1, .mask = 0xffff, .value = number & 0xffff};
}
constexpr AllowedCall kAll[] = {
    {SYS_read},
    {SYS_write},
    {SYS_writev},
    // stdio looks at a stream when it first writes to it.
    {SYS_newfstatat},
    request(TCGETS),
    // A console's terminal is put back when a signal ends the process, on whichever thread. SIGSYS
    // is not among these: its handler is this filter's.
    request(TCSETS),
    only(SYS_rt_sigaction, 0, SIGQUIT),
    only(SYS_rt_sigaction, 0, SIGABRT),
    only(SYS_rt_sigaction, 0, SIGSEGV),
    only(SYS_rt_sigaction, 0, SIGBUS),
    only(SYS_rt_sigaction, 0, SIGILL),
    only(SYS_rt_sigaction, 0, SIGFPE),
    {SYS_close},
    {SYS_futex},
    {SYS_brk},
    {SYS_munmap},
    {SYS_mremap},
    {SYS_madvise},
    unless(SYS_mmap, 2, PROT_EXEC),
    unless(SYS_mprotect, 2, PROT_EXEC),
    {SYS_rt_sigprocmask},
    {SYS_rt_sigreturn},
    {SYS_restart_syscall},
    {SYS_sched_yield},
    {SYS_getpid},
    {SYS_gettid},
    only(SYS_tgkill, 0, AllowedCall::kOwnProcess),
    {SYS_clock_gettime},
    {SYS_clock_nanosleep},
    {SYS_getrandom},
    {SYS_exit},
    {SYS_exit_group},
};

constexpr AllowedCall kVcpu[] = {
    request(KVM_RUN),
    // A device's register that the guest wrote may raise an interrupt.
    request(KVM_IRQ_LINE),
    // What a vCPU that failed is described by.
    request(KVM_GET_REGS),
    request(KVM_GET_SREGS),
    request_of_any_size(KVM_GET_SREGS2),
    request(KVM_GET_VCPU_EVENTS),
    // Work for the devices' thread is posted to its epoll.
    {SYS_epoll_ctl},
};

constexpr AllowedCall kDevices[] = {
    // The state of a machine, for its snapshot, and what is done to go on after it.
    request(KVM_GET_REGS),
    request(KVM_GET_SREGS),
    request_of_any_size(KVM_GET_SREGS2),
    request(KVM_GET_FPU),
    request_of_any_size(KVM_GET_XSAVE),
    request_of_any_size(_IO(KVMIO, 0xcf)),  // KVM_GET_XSAVE2
    request(KVM_GET_XCRS),
    request_of_any_size(_IO(KVMIO, 0x88)),  // KVM_GET_MSRS
    request(KVM_GET_LAPIC),
    request(KVM_GET_MP_STATE),
    request(KVM_SET_MP_STATE),
    request(KVM_GET_VCPU_EVENTS),
    request(KVM_GET_DEBUGREGS),
    request(KVM_GET_TSC_KHZ),
    request(KVM_GET_DEVICE_ATTR),
    request(KVM_HAS_DEVICE_ATTR),
    request(KVM_GET_IRQCHIP),
    request(KVM_GET_CLOCK),
    request(KVM_SET_CLOCK),
    request(KVM_KVMCLOCK_CTRL),
    request(KVM_CHECK_EXTENSION),
    request(KVM_IRQ_LINE),
    request(KVM_GET_DIRTY_LOG),
    request(KVM_CLEAR_DIRTY_LOG),
    // A disk that is asked often hears of it by an eventfd.
    request(KVM_IOEVENTFD),
    // What a tap hands over unfinished, which is the driver's to say.
    request(TUNSETOFFLOAD),
    // The terminal, if it is one, and Asio's descriptors.
    request(FIONBIO),
    request(TCSETSW),
    request(TCSETSF),
    // The event loop.
    {SYS_epoll_wait},
    {SYS_epoll_pwait},
    {SYS_epoll_ctl},
    {SYS_epoll_create1},
    {SYS_eventfd2},
    {SYS_timerfd_create},
    {SYS_timerfd_settime},
    {SYS_poll},
    {SYS_ppoll},
    // Unix sockets: the control socket, the host's end of vsock.
    only(SYS_socket, 0, AF_UNIX),
    only(SYS_socketpair, 0, AF_UNIX),
    {SYS_connect},
    {SYS_accept},
    {SYS_accept4},
    {SYS_shutdown},
    {SYS_sendto},
    {SYS_sendmsg},
    {SYS_recvfrom},
    {SYS_recvmsg},
    {SYS_getsockopt},
    {SYS_setsockopt},
    {SYS_readv},

    {SYS_fcntl},
    // Files: a snapshot's, and sockets that are removed at the end.
    {SYS_openat},
    {SYS_mkdirat},
    {SYS_renameat2},
    {SYS_unlink},
    {SYS_unlinkat},
    {SYS_faccessat2},
    {SYS_fstat},
    {SYS_lseek},
    {SYS_pread64},
    {SYS_pwrite64},
    {SYS_preadv},
    {SYS_pwritev},
    {SYS_ftruncate},
    {SYS_fallocate},
    {SYS_fsync},
    {SYS_flock},
    {SYS_fdatasync},
    {SYS_getdents64},
    {SYS_memfd_create},
    {SYS_getrusage},
    // A thread that writes a snapshot. clone3's flags are in memory, where no filter sees them: it
    // is answered "no such call", and glibc takes clone.
    {.number = SYS_clone,
     .argument = 0,
     .mask = CLONE_THREAD | CLONE_VM,
     .value = CLONE_THREAD | CLONE_VM},
    {SYS_set_robust_list},
    {SYS_rseq},
    only(SYS_prctl, 0, PR_SET_NAME),
    {SYS_sched_getaffinity},
};

// A disk's thread: its files, which are open, and the interrupt for what is done.
constexpr AllowedCall kDisk[] = {
    request(KVM_IRQ_LINE), {SYS_preadv},    {SYS_pwritev},
    {SYS_fdatasync},       {SYS_fallocate}, {SYS_fstat},
};

// The process that watches clones: pipes, pidfds, a status file each.
constexpr AllowedCall kSupervisor[] = {
    {SYS_poll},   {SYS_ppoll},      {SYS_kill},     {SYS_wait4},  {SYS_waitid},
    {SYS_openat}, {SYS_fstat},      {SYS_rename},   {SYS_unlink}, {SYS_rmdir},
    {SYS_lseek},  {SYS_getdents64}, {SYS_unlinkat}, {SYS_fcntl},  {SYS_getrusage},
};

}  // namespace

std::span<const AllowedCall> allowed_to_all() {
  return kAll;
}

std::span<const AllowedCall> allowed_to(Thread thread) {
  switch (thread) {
    case Thread::vcpu:
      return kVcpu;
    case Thread::devices:
      return kDevices;
    case Thread::disk:
      return kDisk;
    case Thread::supervisor:
      return kSupervisor;
  }
  return {};
}

}  // namespace clonesafe::jail
