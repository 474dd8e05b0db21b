// audit/run: drives a VMM through one audit: boot, snapshot under load, restore to clones, collect.
#ifndef CLONESAFE_TESTS_AUDIT_RUN_PROCESS_H_
#define CLONESAFE_TESTS_AUDIT_RUN_PROCESS_H_

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "libclonesafe/base/error.h"
#include "tests/support/child_process.h"

namespace clonesafe::audit {

// A program whose output goes to files, and that ends, at the latest, with its owner.
class Process {
 public:
  // stdout and stderr go to the two files, which are made anew.
  static Result<Process> start(const std::vector<std::string>& command,
                               const std::filesystem::path& output,
                               const std::filesystem::path& errors);

  Process(Process&&) noexcept = default;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  bool running() { return child_.running(); }
  // Waits for the end: the exit code, 128 + n for signal n. An error when the limit passes; the
  // program then goes on.
  Result<int> wait(std::chrono::milliseconds limit) { return child_.wait(limit); }
  // SIGTERM, and SIGKILL if that didn't end it soon.
  void stop();

  // "clonevm: exit code 1: <last line of its stderr>", for the errors of those who wait for
  // something from it.
  std::string last_words();

 private:
  Process(support::ChildProcess child, std::filesystem::path errors)
      : child_(std::move(child)), errors_(std::move(errors)) {}

  support::ChildProcess child_;
  std::filesystem::path errors_;
};

std::string read_text(const std::filesystem::path& path);

// Polls `ready` until it is true; fails when the limit passes or `process` ends first.
template <class Ready>
Status wait_until(Ready ready, Process& process, std::chrono::milliseconds limit,
                  const std::string& what) {
  bool is_ready = false;
  const bool settled = support::eventually(limit, [&] {
    // In this order: what it did before it ended counts.
    const bool ended = !process.running();
    is_ready = ready();
    return is_ready || ended;
  });
  if (is_ready) return {};
  if (settled) return fail("no " + what + ": " + process.last_words());
  return fail("no " + what + " in " + std::to_string(limit.count() / 1000) + " s");
}

}  // namespace clonesafe::audit

#endif  // CLONESAFE_TESTS_AUDIT_RUN_PROCESS_H_
