// What a proxy can't do any more once it serves, and that it serves all the same.
#include "proxy/program/system_calls.h"

#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "tests/support/child_process.h"
#include "tests/unit/proxy/program_fixture.h"

namespace clonesafe::proxy {
namespace {

// How a child ends that has the filter and does this: its result, or 128 and a signal.
int restricted(const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(restrict_system_calls() ? act() : 99);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool is_denied(long result) {
  return result == -1 && errno == EPERM;
}

TEST(ProxySystemCalls, WhatAProxyNeedsNotIsDenied) {
  EXPECT_EQ(restricted([] {
              constexpr int kAll = PROT_READ | PROT_WRITE | PROT_EXEC;
              if (!is_denied(::open("/tmp/clonesafe", O_WRONLY | O_CREAT, 0600))) return 1;
              if (!is_denied(::open("/dev/null", O_RDWR))) return 2;
              if (!is_denied(::socket(AF_PACKET, SOCK_RAW, 0))) return 3;
              if (!is_denied(reinterpret_cast<long>(
                      ::mmap(nullptr, 4096, kAll, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))))
                return 4;
              void* const page =
                  ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              if (page == MAP_FAILED) return 5;
              if (!is_denied(::mprotect(page, 4096, PROT_READ | PROT_EXEC))) return 6;
              if (!is_denied(::kill(::getppid(), 0))) return 7;
              if (!is_denied(::unshare(CLONE_NEWUSER))) return 8;
              if (!is_denied(::chmod("/tmp", 0777))) return 9;
              // A process, not a thread.
              if (!is_denied(::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))) return 10;
              if (!is_denied(::syscall(SYS_bpf, 0, 0, 0))) return 11;
              return 0;
            }),
            0);
}

TEST(ProxySystemCalls, NoProgramIsRunAndNoProcessLookedInto) {
  constexpr int kEnded = 128 + SIGSYS;
  EXPECT_EQ(restricted([] {
              ::execl("/bin/true", "true", nullptr);
              return 1;
            }),
            kEnded);
  EXPECT_EQ(restricted([] { return static_cast<int>(::ptrace(PTRACE_TRACEME, 0, 0, 0)); }), kEnded);
}

TEST(ProxySystemCalls, NamesThreadsAndFilesAreThere) {
  EXPECT_EQ(restricted([] {
              int looked_up = -1;
              std::thread([&] {
                addrinfo* found = nullptr;
                looked_up = ::getaddrinfo("localhost", "80", nullptr, &found);
                if (found != nullptr) ::freeaddrinfo(found);
              }).join();
              if (looked_up != 0) return 1;
              const UniqueFd file(::open("/etc/hostname", O_RDONLY | O_CLOEXEC));
              return file ? 0 : 2;
            }),
            0);
}

class RestrictedProgramTest : public ProcessTest {
 protected:
  // Of each thread: 2 is a filter.
  std::vector<std::string> modes() const {
    std::vector<std::string> modes;
    for (const auto& thread : std::filesystem::directory_iterator(
             "/proc/" + std::to_string(process_->pid()) + "/task")) {
      std::ifstream status(thread.path() / "status");
      for (std::string line; std::getline(status, line);) {
        if (line.starts_with("Seccomp:\t")) modes.push_back(line.substr(9));
      }
    }
    return modes;
  }
};

TEST_F(RestrictedProgramTest, AllItsThreadsHaveTheFilterAndServe) {
  start_process("threads = 2", "upstream.connect_timeout_ms = 1000");
  const auto [application, upstream] = session();
  EXPECT_GE(modes().size(), 4u);
  EXPECT_THAT(modes(), testing::Each("2"));
  // It goes on after a clone, with a file that is read anew, and ends as it should.
  clone_this_machine();
  ASSERT_TRUE(ask({{"call", "fence"}}));
  EXPECT_EQ(wait_for_news(application), Seen::kReset);
  write("threads = 2", "on_clone = \"reopen\"");
  const auto loaded = ask({{"call", "reload"}});
  ASSERT_TRUE(loaded) << loaded.error().message();
  const auto next = session();
  end_process();
  EXPECT_FALSE(std::filesystem::exists(control())) << "it is left behind";
}

TEST_F(RestrictedProgramTest, LooksUpNames) {
  const UniqueFd here = listen_on("127.0.0.1", upstream_port_);
  start_process("", "");
  std::ofstream(file(), std::ios::app)
      << "[[service]]\nname = \"named\"\nlisten = \"unix:" << (folder_ / "named")
      << "\"\nupstream.address = \"localhost:" << upstream_port_ << "\"\n";
  const auto loaded = ask({{"call", "reload"}});
  ASSERT_TRUE(loaded) << loaded.error().message();
  const auto endpoint = numeric_endpoint(parse_address("unix:" + (folder_ / "named")).value());
  const UniqueFd application(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(
      ::connect(application.get(), endpoint->data(), static_cast<socklen_t>(endpoint->size())), 0);
  const UniqueFd upstream = accept_from(here);
  send_all(application, "q");
  EXPECT_EQ(receive(upstream, 1), "q");
}

TEST_F(RestrictedProgramTest, FilterCanBeLeftOut) {
  start_process("seccomp = false", "");
  EXPECT_THAT(modes(), testing::Each("0"));
  write("seccomp = true", "");
  EXPECT_THAT(ask({{"call", "reload"}}).error().message(),
              testing::HasSubstr("'seccomp' is another one, which takes a restart"));
}

}  // namespace
}  // namespace clonesafe::proxy
