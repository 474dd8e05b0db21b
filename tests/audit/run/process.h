// audit/run: drives a VMM through one audit: boot, snapshot under load, restore to clones, collect.
#ifndef CLONESAFE_TESTS_AUDIT_RUN_PROCESS_H_
#define CLONESAFE_TESTS_AUDIT_RUN_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"

namespace clonesafe::audit {

// A program that was started and that ends, at the latest, with its owner.
class Process {
 public:
  // stdin is /dev/null; stdout and stderr go to the two files, which are made anew. The program is
  // killed if we die.
  static Result<Process> start(const std::vector<std::string>& command,
                               const std::filesystem::path& output,
                               const std::filesystem::path& errors);

  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  bool running();
  // Waits for the end: the exit code, 128 + n for signal n. An error when the limit passes; the
  // program then goes on.
  Result<int> wait(std::chrono::milliseconds limit);
  // SIGTERM, and SIGKILL if that didn't end it soon.
  void stop();

  // "clonevm: exit code 1: <last line of its stderr>", for the errors of those who wait for
  // something from it.
  std::string last_words();

 private:
  Process() = default;

  pid_t pid_ = 0;
  int code_ = 0;  // once pid_ is 0
  std::string name_;
  std::filesystem::path errors_;
};

std::string read_text(const std::filesystem::path& path);

// Polls `ready` until it is true; fails when the limit passes or `process` ends first.
template <class Ready>
Status wait_until(Ready ready, Process& process, std::chrono::milliseconds limit,
                  const std::string& what);

}  // namespace clonesafe::audit

#include <thread>

namespace clonesafe::audit {

template <class Ready>
Status wait_until(Ready ready, Process& process, std::chrono::milliseconds limit,
                  const std::string& what) {
  const auto until = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (ready()) return {};
    if (!process.running()) {
      if (ready()) return {};
      return fail("no " + what + ": " + process.last_words());
    }
    if (std::chrono::steady_clock::now() >= until) {
      return fail("no " + what + " in " + std::to_string(limit.count() / 1000) + " s");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_RUN_PROCESS_H_
