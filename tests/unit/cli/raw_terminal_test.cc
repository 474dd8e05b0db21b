#include "vmm_device/cli/raw_terminal.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cstring>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::cli {
namespace {

class RawTerminalTest : public testing::Test {
 protected:
  RawTerminalTest() {
    int ends[2];
    EXPECT_EQ(::openpty(&ends[0], &ends[1], nullptr, nullptr, nullptr), 0);
    keyboard_.reset(ends[0]);
    terminal_.reset(ends[1]);
    before_ = mode();
    EXPECT_NE(before_.c_lflag & (ICANON | ECHO | ISIG), 0u);
  }
  termios mode() const {
    termios now{};
    EXPECT_EQ(::tcgetattr(terminal_.get(), &now), 0);
    return now;
  }
  bool is_as_before() const {
    const termios now = mode();
    return now.c_iflag == before_.c_iflag && now.c_oflag == before_.c_oflag &&
           now.c_lflag == before_.c_lflag && now.c_cflag == before_.c_cflag &&
           std::memcmp(now.c_cc, before_.c_cc, sizeof now.c_cc) == 0;
  }

  UniqueFd keyboard_;
  UniqueFd terminal_;
  termios before_{};
};

TEST_F(RawTerminalTest, PassesEveryKeyAndIsUndoneAtTheEnd) {
  {
    const auto raw = RawTerminal::make(terminal_.get());
    ASSERT_TRUE(raw) << raw.error().message();
    EXPECT_TRUE(raw->is_raw());
    EXPECT_EQ(mode().c_lflag & (ICANON | ECHO | ISIG), 0u);
    // ^C, without a line's end.
    ASSERT_EQ(::write(keyboard_.get(), "\x03", 1), 1);
    char key = 0;
    ASSERT_EQ(::read(terminal_.get(), &key, 1), 1);
    EXPECT_EQ(key, 3);
  }
  EXPECT_TRUE(is_as_before());
}

TEST_F(RawTerminalTest, IsUndoneWhenASignalEndsTheProcess) {
  for (const int signal : {SIGQUIT, SIGABRT, SIGSEGV}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const rlimit no_core{0, 0};
      ::setrlimit(RLIMIT_CORE, &no_core);
      ::signal(signal, SIG_DFL);  // a sanitizer has its own
      const auto raw = RawTerminal::make(terminal_.get());
      if (!raw || !raw->is_raw()) ::_exit(0);
      ::raise(signal);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    // It ended as it would have without the handler.
    ASSERT_TRUE(WIFSIGNALED(status)) << signal;
    EXPECT_EQ(WTERMSIG(status), signal);
    EXPECT_TRUE(is_as_before()) << signal;
  }
}

TEST_F(RawTerminalTest, LeavesWhatIsNoTerminalAlone) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd out(ends[0]), in(ends[1]);
  for (const int fd : {out.get(), -1}) {
    const auto raw = RawTerminal::make(fd);
    ASSERT_TRUE(raw);
    EXPECT_FALSE(raw->is_raw());
  }
}

}  // namespace
}  // namespace clonesafe::cli
