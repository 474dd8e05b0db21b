// How clones end: on a signal, too late, or by a crash, and what `clonevm restore` makes of it.
#include <boost/json.hpp>
#include <stdexcept>

#include "tests/unit/supervisor/restore_fixture.h"

namespace clonesafe::supervisor {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

TEST_F(Restore, ReportsACloneThatCrashesAndKeepsTheOthers) {
  const Gate crashed;
  const int code = restore(options(3), [&](const CloneRequest& request, CloneEvents& events) {
    if (request.index == 2) {
      crashed.open();
      std::abort();
    }
    crashed.pass();
    crashed.open();
    say_safe(request, events);
    return std::string("powered off");
  });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.lines(), ElementsAre("clonevm: clone 2: killed by signal 6 (Aborted)"));
  ASSERT_THAT(out_.lines(), SizeIs(3));
  EXPECT_THAT(out_.lines()[1], HasSubstr("clone 2: failed vm_generation_id=null"));
  EXPECT_THAT(out_.lines()[2], HasSubstr("safe_us=1000"));
}

TEST_F(Restore, ReportsWhyACloneFailed) {
  const int code =
      restore(options(3), [](const CloneRequest& request, CloneEvents&) -> Result<std::string> {
        if (request.index == 1) return fail("KVM_CREATE_VM: No space left on device");
        if (request.index == 2) throw std::runtime_error("thrown");
        ::_exit(3);
      });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.lines(),
              testing::UnorderedElementsAre(
                  "clonevm: clone 1: KVM_CREATE_VM: No space left on device",
                  "clonevm: clone 2: exception: thrown", "clonevm: clone 3: exited with status 3"));
}

TEST_F(Restore, ReportsACloneThatCrashesAfterItWasSafe) {
  const int code = restore(
      options(1), [](const CloneRequest& request, CloneEvents& events) -> Result<std::string> {
        say_safe(request, events);
        events.ended(true, "powered off");
        ::raise(SIGKILL);  // SIGSEGV would be a sanitizer's
        hang();
      });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.text(), HasSubstr("clone 1: killed by signal 9"));
}

TEST_F(Restore, StopsAllWhenOneIsNotSafeInTime) {
  auto impatient = options(3);
  impatient.timeout = 1500ms;
  const int code = restore(impatient, [](const CloneRequest& request, CloneEvents& events) {
    if (request.index == 2)
      say_safe(request, events);
    else
      say_running(request, events);
    wait_for_stop(request);
    return std::string("stopped");
  });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.lines(),
              ElementsAre("clonevm: not safe within 1500 ms: clone 1, 3; all are stopped"));
  ASSERT_THAT(out_.lines(), SizeIs(3));
  EXPECT_THAT(out_.lines()[0], HasSubstr("first_exit_us=200 safe_us=null"));
  EXPECT_THAT(out_.lines()[1], HasSubstr("safe_us=1000"));
}

TEST_F(Restore, KillsACloneThatDoesNotStop) {
  auto impatient = options(2);
  impatient.timeout = 50ms;
  impatient.stop_grace = 1500ms;
  const int code = restore(
      impatient, [](const CloneRequest& request, CloneEvents& events) -> Result<std::string> {
        say_running(request, events);
        if (request.index == 2) hang();
        wait_for_stop(request);
        return std::string("stopped");
      });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.lines(),
              ElementsAre("clonevm: not safe within 50 ms: clone 1, 2; all are stopped",
                          "clonevm: clone 2: did not stop, and was killed"));
}

TEST_F(Restore, EndsWithZeroWhenStoppedAfterAllWereSafe) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    std::filesystem::remove_all(run_dir());
    const Gate first_safe;
    const int code = restore(options(2), [&](const CloneRequest& request, CloneEvents& events) {
      if (request.index == 2) {
        first_safe.pass();
        say_safe(request, events);
        ::kill(::getppid(), signal);
      } else {
        say_safe(request, events);
        first_safe.open();
      }
      wait_for_stop(request);
      return std::string("stopped");
    });
    EXPECT_EQ(code, 0) << err_.text();
    EXPECT_THAT(boost::json::parse(clone_json(1)).at("reason").as_string(), "stopped");
  }
}

TEST_F(Restore, EndsWithOneWhenStoppedBeforeAllWereSafe) {
  const int code = restore(options(2), [](const CloneRequest& request, CloneEvents& events) {
    say_running(request, events);
    if (request.index == 2) ::kill(::getppid(), SIGINT);
    wait_for_stop(request);
    return std::string("stopped");
  });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.text(), HasSubstr("stopped by signal 2 before all were safe"));
}

TEST_F(Restore, KillsAtOnceOnASecondSignal) {
  auto patient = options(1);
  patient.stop_grace = 1h;
  const int code =
      restore(patient, [](const CloneRequest& request, CloneEvents& events) -> Result<std::string> {
        say_safe(request, events);
        ::kill(::getppid(), SIGTERM);
        wait_for_stop(request);  // the first has been seen
        ::kill(::getppid(), SIGINT);
        hang();
      });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.text(), HasSubstr("did not stop, and was killed"));
}

TEST_F(Restore, LeavesTheTerminalsInterruptToTheParent) {
  const int code = restore(options(1), [](const CloneRequest& request, CloneEvents& events) {
    ::raise(SIGINT);
    ::raise(SIGPIPE);
    say_safe(request, events);
    return std::string("powered off");
  });
  EXPECT_EQ(code, 0) << err_.text();
}

TEST_F(Restore, LeavesNoCloneWhenItIsKilled) {
  const Gate alive;  // each clone holds its writer
  const pid_t supervisor = ::fork();
  if (supervisor == 0) {
    ::close(alive.reader());
    restore(options(3), [&](const CloneRequest&, CloneEvents&) -> Result<std::string> {
      alive.open();
      hang();
    });
    ::_exit(0);
  }
  ::close(alive.writer());
  for (int i = 0; i < 3; ++i) alive.pass();
  ::kill(supervisor, SIGKILL);
  ASSERT_EQ(::waitpid(supervisor, nullptr, 0), supervisor);
  char c;
  // The end of the file comes when the last clone is gone.
  EXPECT_EQ(::read(alive.reader(), &c, 1), 0);
  ::close(alive.reader());
}

TEST_F(Restore, ReportsACloneThatEndsBeforeItIsSafe) {
  const int code = restore(options(1), [](const CloneRequest& request, CloneEvents& events) {
    say_running(request, events);
    return std::string("powered off");
  });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.text(), HasSubstr("clone 1: ended before it was safe: powered off"));
}

TEST_F(Restore, SaysThatASafeCloneResetItself) {
  const int code = restore(options(1), [](const CloneRequest& request, CloneEvents& events) {
    say_safe(request, events);
    return std::string("reset (triple fault, vcpu 1: rip 0x1)");
  });
  EXPECT_EQ(code, 0);
  EXPECT_THAT(err_.lines(), ElementsAre("clonevm: clone 1: reset (triple fault, vcpu 1: rip 0x1)"));
}

TEST_F(Restore, EndsACloneWhoseLinesMakeNoSense) {
  const int code =
      restore(options(1), [](const CloneRequest&, CloneEvents& events) -> Result<std::string> {
        events.safe("perfect", {});
        hang();
      });
  EXPECT_EQ(code, 1);
  EXPECT_THAT(err_.text(),
              HasSubstr("its process sent what can't be understood: event safe: state perfect"));
}

}  // namespace
}  // namespace clonesafe::supervisor
