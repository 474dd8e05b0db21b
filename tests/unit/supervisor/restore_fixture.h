#ifndef CLONESAFE_TESTS_UNIT_SUPERVISOR_RESTORE_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_SUPERVISOR_RESTORE_FIXTURE_H_

#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "tests/unit/supervisor/fixture.h"

// The supervisor with clones that are no machines: functions that say what a machine would say, or
// do what one should never do. They run in processes of their own as machines do.
namespace clonesafe::supervisor {

inline constexpr std::array<std::byte, 16> kVmGenerationId = {std::byte{0xab}, std::byte{0xcd}};

inline void say_running(const CloneRequest& request, CloneEvents& events) {
  events.loaded(kVmGenerationId, 0x1234 + request.index, request.requested_us + 100);
  events.running(request.requested_us + 150);
  events.first_exit(request.requested_us + 200);
}

inline void say_safe(const CloneRequest& request, CloneEvents& events) {
  say_running(request, events);
  events.safe("safe", {{"kernel_rng", "ok", 12, ""}, {"hostname", "skipped", 0, "not set"}},
              request.requested_us + 1150);
}

inline void wait_for_stop(const CloneRequest& request) {
  pollfd fd{.fd = request.stop_fd, .events = POLLIN, .revents = 0};
  while (::poll(&fd, 1, -1) < 0) {
  }
}

[[noreturn]] inline void hang() {
  for (;;) ::pause();
}

// One clone waits for another: a pipe whose ends both have.
class Gate {
 public:
  Gate() {
    if (::pipe(ends_) != 0) std::abort();
  }
  void open() const {
    if (::write(ends_[1], "x", 1) != 1) std::abort();
  }
  void pass() const {
    char c;
    if (::read(ends_[0], &c, 1) != 1) std::abort();
  }
  int reader() const { return ends_[0]; }
  int writer() const { return ends_[1]; }

 private:
  int ends_[2];
};

class Restore : public SupervisorTest {
 protected:
  void SetUp() override { write_snapshot(); }
  void TearDown() override {
    // Whatever happened, the supervisor has reaped all that it started.
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
  }
  RestoreOptions options(std::uint32_t count) {
    return {.snapshot = dir(), .count = count, .run_dir = run_dir(), .wait = Wait::safe};
  }
  int restore(const RestoreOptions& options, const RunClone& run_clone) {
    return restore_command(options, run_clone, out_.file(), err_.file());
  }
  std::string clone_json(int index) {
    const auto bytes = snapshot::read_file(run_dir() / std::to_string(index) / "clone.json");
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

}  // namespace clonesafe::supervisor

#endif  // CLONESAFE_TESTS_UNIT_SUPERVISOR_RESTORE_FIXTURE_H_
