#ifndef CLONESAFE_TESTS_UNIT_JAIL_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_JAIL_FIXTURE_H_

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <new>
#include <thread>

#include "vmm_device/jail/jail.h"

namespace clonesafe::jail {

// Runs things in processes that are lost afterwards: nothing of a jail can be undone.
class JailTest : public testing::Test {
 protected:
  JailTest() {
    void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    violation_ = new (memory) Violation;
    auto compiled = Jail::compile();
    EXPECT_TRUE(compiled) << compiled.error().message();
    jail_ = std::move(*compiled);
  }
  ~JailTest() override { ::munmap(violation_, 4096); }

  // The wait status of a process that does this and then exits with what it returned.
  int in_process(const std::function<int()>& body) {
    violation_->present = 0;
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(body());
    int status = -1;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return status;
  }
  int in_jail(Thread thread, const std::function<int()>& body) {
    return in_process([&] {
      // glibc installs a signal handler of its own with the first thread of a process.
      std::thread([] {}).join();
      if (!record_violations(violation_)) return 98;
      if (!jail_.confine_thread(thread, "thread of test")) return 99;
      return body();
    });
  }
  // That `body` makes a call that the jail names so, and with which the process ends.
  void expect_forbidden(Thread thread, const std::string& named,
                        const std::function<void()>& body) {
    const int status = in_jail(thread, [&] {
      body();
      return 0;
    });
    EXPECT_TRUE(WIFSIGNALED(status)) << named << " let the process go on, status " << status;
    EXPECT_EQ(WTERMSIG(status), SIGSYS) << named;
    EXPECT_EQ(describe(*violation_).value_or("nothing"),
              "forbidden system call " + named + " on thread 'thread of test'");
  }
  void expect_allowed(Thread thread, const std::string& what, const std::function<bool()>& body) {
    const int status = in_jail(thread, [&] { return body() ? 0 : 1; });
    EXPECT_EQ(status, 0) << what << ": " << describe(*violation_).value_or("no violation");
  }

  Jail jail_;
  Violation* violation_ = nullptr;
};

}  // namespace clonesafe::jail

#endif  // CLONESAFE_TESTS_UNIT_JAIL_FIXTURE_H_
