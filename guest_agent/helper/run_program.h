#ifndef CLONESAFE_GUEST_AGENT_HELPER_RUN_PROGRAM_H_
#define CLONESAFE_GUEST_AGENT_HELPER_RUN_PROGRAM_H_

#include <chrono>
#include <string>
#include <vector>

namespace clonesafe::agent {

struct Program {
  std::string path;
  std::vector<std::string> environment;  // all that it gets
  std::chrono::steady_clock::time_point deadline;
  // Readable, or ended: the program is killed. -1: nothing cancels it.
  int cancel_fd = -1;
};

struct ProgramEnd {
  bool cancelled = false;
  std::string error;      // empty: it ended with exit code 0
  std::string last_line;  // of its output, both streams; at most 200 printable characters
};

// Runs a program in a session of its own, without input, and waits for its end. Past its deadline
// it is killed together with what it started, as far as that is still in its process group.
ProgramEnd run_program(const Program& program);

}  // namespace clonesafe::agent

#endif  // CLONESAFE_GUEST_AGENT_HELPER_RUN_PROGRAM_H_
