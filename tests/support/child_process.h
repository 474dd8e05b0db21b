// support: what both the lab's tests and the audit need.
#ifndef CLONESAFE_TESTS_SUPPORT_CHILD_PROCESS_H_
#define CLONESAFE_TESTS_SUPPORT_CHILD_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::support {

// A program that was started and that ends, at the latest (SIGKILL), with the object, or with us.
class ChildProcess {
 public:
  struct Setup {
    std::vector<std::string> command;
    std::vector<std::string> environment = {};  // "NAME=value", on top of ours
    int output = 1;                             // its stdout; its stdin is /dev/null
    int errors = 2;                             // its stderr
    std::function<void()> in_child = {};        // called just before the program takes over
  };
  // The two descriptors stay the caller's. A program that can't be run says so on its stderr, and
  // ends with exit code 127.
  static Result<ChildProcess> start(const Setup& setup);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  bool running();
  // Waits for the end: the exit code, 128 + n for signal n. An error when the limit passes; the
  // program then goes on.
  Result<int> wait(std::chrono::milliseconds limit);
  // Does nothing once it has ended.
  void signal(int number) const;
  // SIGKILL, and the exit code.
  int kill();

  // 0 once its end was seen.
  pid_t pid() const { return pid_; }
  // Of one that ended; 0 before.
  int exit_code() const { return code_; }
  // The program, without its folder.
  const std::string& name() const { return name_; }

 private:
  ChildProcess() = default;

  pid_t pid_ = 0;
  int code_ = 0;
  std::string name_;
};

// Looks every few milliseconds until `condition` holds; false if it does not within `limit`.
template <typename Condition>
bool eventually(std::chrono::milliseconds limit, Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace clonesafe::support

#endif  // CLONESAFE_TESTS_SUPPORT_CHILD_PROCESS_H_
