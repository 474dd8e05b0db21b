#include "guest_agent/helper/run_program.h"

#include <sys/socket.h>

#include <csignal>

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

class RunProgramTest : public testing::Test {
 protected:
  ProgramEnd run(const std::string& script, milliseconds time = std::chrono::minutes(1),
                 int cancel_fd = -1) {
    folder_.write("program", "#!/bin/sh\n" + script + "\n");
    std::filesystem::permissions(folder_ / "program", std::filesystem::perms(0755));
    return run_program({.path = folder_ / "program",
                        .environment = {"PATH=/bin:/usr/bin", "CLONESAFE_CAUSE=clone"},
                        .deadline = Clock::now() + time,
                        .cancel_fd = cancel_fd});
  }
  // Whether a process is there that is more than a corpse.
  static bool lives(const std::string& pid) {
    const auto stat = read_file("/proc/" + std::string(trim(pid)) + "/stat");
    return stat && stat->find(") Z ") == std::string::npos;
  }
  TemporaryFolder folder_;
};

TEST_F(RunProgramTest, SuccessHasNoErrorAndKeepsTheLastLine) {
  const ProgramEnd end = run("echo one; echo two >&2; echo; echo \"  \"");
  EXPECT_EQ(end.error, "");
  EXPECT_EQ(end.last_line, "two");
}

TEST_F(RunProgramTest, FailuresAreNamed) {
  EXPECT_EQ(run("exit 3").error, "exit code 3");
  EXPECT_EQ(run("kill -9 $$").error, "killed by signal 9");
  const ProgramEnd none =
      run_program({.path = folder_ / "none", .deadline = Clock::now() + milliseconds(1000)});
  EXPECT_NE(none.error.find("No such file"), std::string::npos) << none.error;
}

TEST_F(RunProgramTest, EnvironmentIsWhatWasGivenAndNothingElse) {
  ::setenv("CLONESAFE_TEST_LEAK", "1", 1);  // NOLINT(concurrency-mt-unsafe)
  run("env >" + folder_ / "env");
  ::unsetenv("CLONESAFE_TEST_LEAK");  // NOLINT(concurrency-mt-unsafe)
  const std::string environment = folder_.read("env");
  EXPECT_NE(environment.find("CLONESAFE_CAUSE=clone\n"), std::string::npos);
  EXPECT_EQ(environment.find("LEAK"), std::string::npos) << environment;
}

TEST_F(RunProgramTest, HasASessionNoInputAndDefaultSignals) {
  std::signal(SIGPIPE, SIG_IGN);
  run("read x; ps -o sid= -o pid= -p $$ >" + folder_ / "ids");
  std::istringstream ids(folder_.read("ids"));
  int session = 0, process = 1;
  ids >> session >> process;
  EXPECT_EQ(session, process);
  // (glibc leaves two signals of its own ignored.)
  const std::string ignored = run("grep SigIgn /proc/self/status").last_line;
  EXPECT_EQ(std::strtoull(ignored.substr(ignored.rfind('?') + 1).c_str(), nullptr, 16) &
                (1U << (SIGPIPE - 1)),
            0U)
      << ignored;
}

TEST_F(RunProgramTest, PastItsDeadlineItIsKilledWithItsChildren) {
  const ProgramEnd end =
      run("sleep 1000 & echo $! >" + folder_ / "child" + "; echo started; wait", milliseconds(300));
  EXPECT_EQ(end.error, "killed: its deadline is over");
  EXPECT_FALSE(end.cancelled);
  const auto ends = Clock::now() + std::chrono::seconds(10);
  while (lives(folder_.read("child")) && Clock::now() < ends) ::usleep(1000);
  EXPECT_FALSE(lives(folder_.read("child")));
}

TEST_F(RunProgramTest, BackgroundProcessThatHoldsTheOutputIsNotWaitedFor) {
  const auto start = Clock::now();
  const ProgramEnd end = run("setsid sleep 1000 & echo $! >" + folder_ / "child" + "; echo done");
  EXPECT_EQ(end.error, "");
  EXPECT_EQ(end.last_line, "done");
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(500));
  ::kill(std::atoi(folder_.read("child").c_str()), SIGKILL);
}

TEST_F(RunProgramTest, CancelledWhenTheOtherEndSpeaksOrIsGone) {
  for (const bool speak : {true, false}) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    UniqueFd agent(ends[0]);
    const UniqueFd helper(ends[1]);
    if (speak) {
      ASSERT_EQ(::send(agent.get(), "x", 1, 0), 1);
    } else {
      agent.reset();
    }
    const ProgramEnd end = run("sleep 1000", std::chrono::minutes(10), helper.get());
    EXPECT_TRUE(end.cancelled);
    EXPECT_EQ(end.error, "cancelled");
  }
}

TEST_F(RunProgramTest, FloodOfOutputIsBoundedAndMadePrintable) {
  const ProgramEnd end = run("yes | head -c 3000000; printf '\\n\\001\\033[31mred %0999d\\n' 7");
  EXPECT_EQ(end.error, "");
  EXPECT_EQ(end.last_line.size(), 200U);
  EXPECT_TRUE(end.last_line.starts_with("??[31mred 000")) << end.last_line;
}

}  // namespace
}  // namespace clonesafe::agent
