#include "tests/support/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::support {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 20s;

ChildProcess shell(const std::string& script) {
  return ChildProcess::start({.command = {"/bin/sh", "-c", script}}).value();
}

TEST(ChildProcess, GivesItsExitCode) {
  auto child = shell("exit 3");
  EXPECT_EQ(child.name(), "sh");
  EXPECT_EQ(child.wait(kPatience).value(), 3);
  EXPECT_FALSE(child.running());
  EXPECT_EQ(child.exit_code(), 3);
  EXPECT_EQ(child.pid(), 0);
}

TEST(ChildProcess, GivesTheSignalThatEndedIt) {
  auto child = shell("exec sleep 1000");
  EXPECT_TRUE(child.running());
  EXPECT_FALSE(child.wait(0ms));
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(kPatience).value(), 128 + SIGTERM);
}

TEST(ChildProcess, ThatCannotBeRunEndsWith127) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  auto child =
      ChildProcess::start({.command = {"/nowhere/program"}, .errors = input.get()}).value();
  input.reset();
  EXPECT_EQ(child.wait(kPatience).value(), 127);
  char text[100] = {};
  EXPECT_GT(::read(output.get(), text, sizeof text - 1), 0);
  EXPECT_STREQ(text, "cannot run /nowhere/program\n");
}

TEST(ChildProcess, SeesItsEnvironmentAndWritesWhereItIsTold) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  auto child = ChildProcess::start({.command = {"/bin/sh", "-c", "echo $WORD; cat; echo $HOME >&2"},
                                    .environment = {"WORD=hello", "HOME=/elsewhere"},
                                    .output = input.get(),
                                    .errors = input.get()})
                   .value();
  input.reset();
  EXPECT_EQ(child.wait(kPatience).value(), 0);
  char text[100] = {};
  EXPECT_GT(::read(output.get(), text, sizeof text - 1), 0);
  EXPECT_STREQ(text, "hello\n/elsewhere\n");
}

TEST(ChildProcess, EndsWithItsOwner) {
  pid_t pid = 0;
  {
    ChildProcess first = shell("exec sleep 1000");
    const ChildProcess moved = std::move(first);
    pid = moved.pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1) << "it was not reaped";
}

}  // namespace
}  // namespace clonesafe::support
