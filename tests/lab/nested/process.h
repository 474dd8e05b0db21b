#ifndef CLONESAFE_TESTS_LAB_NESTED_PROCESS_H_
#define CLONESAFE_TESTS_LAB_NESTED_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "libclonesafe/base/unique_fd.h"
#include "tests/support/child_process.h"

namespace clonesafe::lab {

using Seconds = std::chrono::seconds;
using support::eventually;

// A program that a test started: its standard output is read line by line, its standard error goes
// where the test's goes. Killed (SIGKILL) and reaped at the latest when the object goes.
class Process {
 public:
  static Result<Process> start(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& environment = {});

  // The next line of standard output, without its newline.
  Result<std::string> read_line(Seconds timeout);
  // Waits for the end; the exit status, or 128 + signal.
  Result<int> wait(Seconds timeout) { return child_.wait(timeout); }
  void signal(int number) const { child_.signal(number); }
  pid_t pid() const { return child_.pid(); }

 private:
  Process(support::ChildProcess child, UniqueFd output)
      : child_(std::move(child)), output_(std::move(output)) {}

  support::ChildProcess child_;
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

}  // namespace clonesafe::lab

#endif  // CLONESAFE_TESTS_LAB_NESTED_PROCESS_H_
