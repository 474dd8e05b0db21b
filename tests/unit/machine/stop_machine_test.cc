#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>

#include "tests/unit/snapshot/fixture.h"
#include "vmm_device/machine/api_server.h"

namespace clonesafe {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;
using namespace std::chrono_literals;

class StopMachine : public testing::Test {
 protected:
  enum class At { stop_ends, stop_is_answered_only, stop_is_not_answered };
  // A process with a control socket that is no machine.
  pid_t start(At at) {
    int ready[2];
    if (::pipe(ready) != 0) return -1;
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      asio::io_context io;
      auto server = ApiServer::create(io, path(), [&](const auto&, const auto& reply) {
        if (at == At::stop_is_not_answered) return;
        reply({{"ok", true}}, [&] {
          if (at == At::stop_ends) io.stop();
        });
      });
      if (!server || ::write(ready[1], "x", 1) != 1) ::_exit(1);
      const auto work = asio::make_work_guard(io);
      io.run();
      ::_exit(0);
    }
    char c;
    EXPECT_EQ(::read(ready[0], &c, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
    return pid;
  }
  std::filesystem::path path() const { return temporary_.path() / "vm.api"; }
  static int end_of(pid_t pid) {
    int status = -1;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return status;
  }
  snapshot::TemporaryDirectory temporary_;
};

TEST_F(StopMachine, ReturnsWhenTheProcessIsGone) {
  const pid_t pid = start(At::stop_ends);
  const auto stopped = stop_machine(path(), 60s);
  EXPECT_TRUE(stopped) << stopped.error().message();
  int status = -1;
  EXPECT_EQ(::waitpid(pid, &status, WNOHANG), pid) << "it still runs";
  EXPECT_EQ(status, 0);
}

TEST_F(StopMachine, KillsAProcessThatDoesNotEnd) {
  for (const At at : {At::stop_is_answered_only, At::stop_is_not_answered}) {
    const pid_t pid = start(at);
    const auto stopped = stop_machine(path(), 50ms);
    ASSERT_FALSE(stopped);
    EXPECT_THAT(stopped.error().message(), HasSubstr("did not stop within 50 ms, and was killed"));
    const int status = end_of(pid);
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    std::filesystem::remove(path());  // which a killed process leaves
  }
}

TEST_F(StopMachine, KillsOneThatHangs) {
  const pid_t pid = start(At::stop_ends);
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  int status = -1;
  ASSERT_EQ(::waitpid(pid, &status, WUNTRACED), pid);
  const auto stopped = stop_machine(path(), 50ms);
  ASSERT_FALSE(stopped);
  EXPECT_THAT(stopped.error().message(), HasSubstr("no answer within 50 ms"));
  EXPECT_EQ(WTERMSIG(end_of(pid)), SIGKILL);
}

TEST_F(StopMachine, NamesTheSocketThatIsNotThere) {
  const auto stopped = stop_machine(path(), 1s);
  ASSERT_FALSE(stopped);
  EXPECT_THAT(stopped.error().message(), HasSubstr(path().string()));
}

}  // namespace
}  // namespace clonesafe
