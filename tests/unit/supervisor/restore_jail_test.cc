#include <gmock/gmock.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/supervisor/fixture.h"

// Clones that their jail ends, and a supervisor in one.
namespace clonesafe::supervisor {
namespace {

using testing::HasSubstr;

class RestoreJail : public SupervisorTest {
 protected:
  RestoreJail() {
    auto compiled = jail::Jail::compile();
    EXPECT_TRUE(compiled);
    jail_ = std::move(*compiled);
  }
  void SetUp() override { write_snapshot(); }
  int restore(const RunClone& run_clone, const std::function<Status()>& confine = {}) {
    RestoreOptions options{.snapshot = dir(), .count = 2, .run_dir = run_dir()};
    options.wait = Wait::running;
    options.confine = confine;
    return restore_command(options, run_clone, out_.file(), err_.file());
  }
  jail::Jail jail_;
};

TEST_F(RestoreJail, NamesTheForbiddenCallOfTheCloneThatMadeIt) {
  const int code =
      restore([&](const CloneRequest& request, CloneEvents& events) -> Result<std::string> {
        events.running(request.requested_us + 1);
        events.first_exit(request.requested_us + 2);
        if (auto done = jail::record_violations(request.violation); !done)
          return fail(done.error());
        if (auto done = jail_.confine_thread(jail::Thread::vcpu, "vcpu 7"); !done)
          return fail(done.error());
        if (request.index == 2) ::syscall(SYS_chroot, "/");
        return std::string("powered off");
      });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.text(), HasSubstr("clone 2: ended by its jail: forbidden system call chroot "
                                     "(161) on thread 'vcpu 7'"));
  EXPECT_THAT(err_.text(), testing::Not(HasSubstr("clone 1")));
}

// What a clone writes there must not speak for how it ended.
TEST_F(RestoreJail, BelievesNoRecordOfACloneThatEndedOtherwise) {
  const int code = restore([&](const CloneRequest& request, CloneEvents&) -> Result<std::string> {
    request.violation->number = 59;
    request.violation->present = 1;
    return fail("broken");
  });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.text(), HasSubstr("broken"));
  EXPECT_THAT(err_.text(), testing::Not(HasSubstr("forbidden")));
}

TEST_F(RestoreJail, WatchesItsClonesInAJail) {
  // In a process of its own: a filter can't be taken off.
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int code = restore(
        [](const CloneRequest& request, CloneEvents& events) {
          events.running(request.requested_us + 1);
          events.first_exit(request.requested_us + 2);
          return std::string("powered off");
        },
        [this]() -> Status {
          if (auto done = jail::record_violations(nullptr); !done) return done;
          return jail_.confine_thread(jail::Thread::supervisor, "supervisor");
        });
    ::_exit(code);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0) << err_.text();
  EXPECT_TRUE(std::filesystem::exists(run_dir() / "2" / "clone.json"));
}

TEST_F(RestoreJail, EndsItsClonesIfItCanNotBeConfined) {
  const int code = restore(
      [](const CloneRequest&, CloneEvents&) -> Result<std::string> {
        for (;;) ::pause();
      },
      []() -> Status { return fail("no seccomp here"); });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.text(), HasSubstr("restore: jail: no seccomp here"));
}

}  // namespace
}  // namespace clonesafe::supervisor
