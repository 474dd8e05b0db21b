#ifndef CLONESAFE_TESTS_LAB_NESTED_PROCESS_H_
#define CLONESAFE_TESTS_LAB_NESTED_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::lab {

using Seconds = std::chrono::seconds;

// A program that a test started: its standard output is read line by line, its standard error goes
// where the test's goes. Killed (SIGKILL) and reaped at the latest when the object goes.
class Process {
 public:
  static Result<Process> start(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& environment = {});
  Process(Process&& other) noexcept;
  Process& operator=(Process&&) = delete;
  ~Process();

  // The next line of standard output, without its newline.
  Result<std::string> read_line(Seconds timeout);
  // Waits for the end; the exit status, or 128 + signal.
  Result<int> wait(Seconds timeout);
  void signal(int number) const;
  pid_t pid() const { return pid_; }

 private:
  Process(pid_t pid, UniqueFd output) : pid_(pid), output_(std::move(output)) {}
  pid_t pid_ = -1;
  UniqueFd output_;
  std::string buffer_;
};

struct Outcome {
  int status = -1;
  std::string output;  // stdout and stderr together
};
// Runs a program to its end. `in_child` is called just before the program takes over.
Result<Outcome> run(const std::vector<std::string>& arguments, Seconds timeout,
                    const std::function<void()>& in_child = {});

// The processes whose parent this one is. After adopt_orphans() these are also those that a child
// of this process left behind.
std::vector<pid_t> children();
void adopt_orphans();

// Waits until `condition` holds, looking every few milliseconds; false if it does not within
// `timeout`.
template <typename Condition>
bool eventually(Seconds timeout, Condition condition);

}  // namespace clonesafe::lab

#include <thread>

template <typename Condition>
bool clonesafe::lab::eventually(Seconds timeout, Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

#endif  // CLONESAFE_TESTS_LAB_NESTED_PROCESS_H_
