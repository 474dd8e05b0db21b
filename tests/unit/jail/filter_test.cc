#include <fcntl.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <thread>
#include <tuple>

#include "libclonesafe/base/unique_fd.h"
#include "tests/unit/jail/fixture.h"
#include "vmm_device/jail/allowed_calls.h"

namespace clonesafe::jail {
namespace {

constexpr Thread kEveryThread[] = {Thread::vcpu, Thread::devices, Thread::disk, Thread::supervisor};

void forbidden_exec() {
  char name[] = "/bin/true";
  char* const arguments[] = {name, nullptr};
  ::execve(name, arguments, nullptr);
}

using Filter = JailTest;

TEST_F(Filter, EndsAProcessThatStartsAProgram) {
  for (const Thread thread : kEveryThread) expect_forbidden(thread, "execve (59)", forbidden_exec);
}

TEST_F(Filter, EndsAProcessThatLooksIntoAnother) {
  const pid_t other = ::getpid();  // of the test, which each jailed process is a child of
  for (const Thread thread : kEveryThread)
    expect_forbidden(thread, "ptrace (101)",
                     [other] { ::ptrace(PTRACE_ATTACH, other, nullptr, nullptr); });
}

TEST_F(Filter, EndsAProcessThatMakesMemoryExecutable) {
  for (const Thread thread : kEveryThread) {
    expect_forbidden(thread, "mmap (9)", [] {
      ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    });
    expect_forbidden(thread, "mprotect (10)",
                     [this] { ::mprotect(violation_, 4096, PROT_READ | PROT_WRITE | PROT_EXEC); });
  }
}

TEST_F(Filter, EndsAMachinesProcessThatSignalsAnother) {
  const pid_t other = ::getpid();
  for (const Thread thread : {Thread::vcpu, Thread::devices}) {
    expect_forbidden(thread, "kill (62)", [other] { ::kill(other, 0); });
    // Only its own threads may be kicked, whatever the thread's id.
    expect_forbidden(thread, "tgkill (234)", [other] { ::syscall(SYS_tgkill, other, other, 0); });
    expect_allowed(thread, "tgkill of itself",
                   [] { return ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), 0) == 0; });
  }
}

TEST_F(Filter, EndsAVcpuThatMakesAnyRequestButThoseOfItsTable) {
  expect_forbidden(Thread::vcpu, "ioctl (16), request 0x5413",
                   [] { ::ioctl(0, TIOCGWINSZ, nullptr); });
  expect_forbidden(Thread::vcpu, "ioctl (16), request 0xae01",
                   [] { ::ioctl(-1, KVM_CREATE_VM, 0); });
  // The kernel looks at 32 bits of a request; what is above them changes nothing.
  expect_allowed(Thread::vcpu, "KVM_RUN", [] {
    return ::ioctl(-1, KVM_RUN, 0) == -1 && errno == EBADF &&
           ::syscall(SYS_ioctl, -1, KVM_RUN | (1UL << 40), 0) == -1 && errno == EBADF;
  });
}

TEST_F(Filter, EndsAVcpuThatOpensAFileOrASocket) {
  expect_forbidden(Thread::vcpu, "openat (257)",
                   [] { ::syscall(SYS_openat, AT_FDCWD, "/etc/passwd", 0); });
  expect_forbidden(Thread::vcpu, "socket (41)", [] { ::socket(AF_UNIX, SOCK_STREAM, 0); });
}

TEST_F(Filter, LetsDevicesHaveUnixSocketsOnly) {
  expect_allowed(Thread::devices, "a Unix socket",
                 [] { return ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0; });
  for (const int family : {AF_INET, AF_INET6, AF_NETLINK, AF_VSOCK, AF_PACKET})
    expect_forbidden(Thread::devices, "socket (41)",
                     [family] { ::socket(family, SOCK_STREAM, 0); });
}

TEST_F(Filter, LetsDevicesStartThreadsButNoProcess) {
  expect_allowed(Thread::devices, "a thread", [] {
    bool ran = false;
    std::thread([&] { ran = true; }).join();
    return ran;
  });
  expect_forbidden(Thread::devices, "clone (56)",
                   [] { ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); });
  expect_forbidden(Thread::vcpu, "clone (56)", [] { ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); });
}

// A thread that a confined one starts is no way out.
TEST_F(Filter, HoldsForThreadsThatComeLater) {
  const int status = in_jail(Thread::devices, [] {
    std::thread(forbidden_exec).join();
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSYS);
  EXPECT_EQ(violation_->number, std::uint32_t{SYS_execve});
}

TEST_F(Filter, EndsAProcessThatLosesTheHandler) {
  for (const Thread thread : kEveryThread)
    expect_forbidden(thread, "rt_sigaction (13)", [] { ::signal(SIGSYS, SIG_IGN); });
}

TEST_F(Filter, LetsAConsolePutItsTerminalBack) {
  for (const Thread thread : kEveryThread)
    expect_allowed(thread, "signal handlers of a console",
                   [] { return ::signal(SIGSEGV, SIG_DFL) != SIG_ERR; });
}

TEST_F(Filter, EndsAProcessInWhichTheSignalIsBlocked) {
  const int status = in_jail(Thread::vcpu, [] {
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    forbidden_exec();
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

// The number of a call means another one there.
TEST_F(Filter, EndsAProcessThatUsesAnotherArchitecture) {
  const int status = in_jail(Thread::devices, [] {
    constexpr long kX32 = 0x4000'0000;
    ::syscall(kX32 | SYS_getpid);
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

TEST_F(Filter, KnowsItsOwnProcessOnlyWhenItIsInstalled) {
  for (const Thread thread : kEveryThread) {
    const auto& program = jail_.program(thread);
    EXPECT_EQ(std::ranges::count(program, AllowedCall::kOwnProcess, &sock_filter::k), 1);
  }
}

TEST(ViolationText, LetsNoForeignBytesThrough) {
  Violation violation;
  EXPECT_FALSE(describe(violation));
  violation.number = 4095;
  violation.thread.fill('\n');
  violation.present = 1;
  EXPECT_EQ(describe(violation),
            "forbidden system call (4095) on thread '" + std::string(16, '?') + "'");
}

// It has its files open, and needs no name and no socket.
TEST_F(Filter, LetsADisksThreadUseItsOpenFilesAndNothingElse) {
  const UniqueFd file(::memfd_create("disk", MFD_CLOEXEC));
  expect_allowed(Thread::disk, "reading and writing", [fd = file.get()] {
    char byte = 'x';
    const iovec part{&byte, 1};
    return ::pwritev(fd, &part, 1, 0) == 1 && ::preadv(fd, &part, 1, 0) == 1 &&
           ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0 &&
           ::fdatasync(fd) == 0;
  });
  expect_forbidden(Thread::disk, "openat (257)", [] { ::open("/", O_RDONLY); });
  expect_forbidden(Thread::disk, "socket (41)", [] { ::socket(AF_UNIX, SOCK_STREAM, 0); });
  expect_forbidden(Thread::disk, "ftruncate (77)",
                   [fd = file.get()] { std::ignore = ::ftruncate(fd, 0); });
  expect_forbidden(Thread::disk, "ioctl (16), request 0xae80", [] { ::ioctl(0, KVM_RUN, 0); });
}

}  // namespace
}  // namespace clonesafe::jail
