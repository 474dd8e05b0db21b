// Programs that give secrets: what they are given, what their ends are, and what is left of them.
#include "proxy/secrets/commands.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <fstream>
#include <regex>

#include "proxy/secrets/request.h"
#include "tests/support/child_process.h"
#include "tests/unit/proxy/command_fixture.h"
#include "tests/unit/proxy/network.h"

namespace clonesafe::proxy {
namespace {

using testing::IsEmpty;
using testing::UnorderedElementsAre;

// Its output; an error behind "!".
Awaitable<std::string> ask(const Commands& commands, Loop& loop, const CommandConfig& command) {
  const auto output = co_await commands.run(loop, command);
  co_return output ? std::string(output->view()) : "!" + output.error().message();
}

class CommandTest : public ProxyTest {
 protected:
  CommandConfig script(const std::string& text, Milliseconds timeout = Milliseconds(20'000)) {
    const std::string name = "script" + std::to_string(++scripts_);
    return command_of({make_script(folder_, name, text)}, timeout);
  }
  std::string ask(const Commands& commands, const CommandConfig& command) {
    return run(proxy::ask(commands, loop_, command));
  }
  // Of a process that knows this one alone.
  std::string ask(const CommandConfig& command) { return ask(*start({command}), command); }

  Folder folder_;
  int scripts_ = 0;
};

void expect_no_children(const Commands& commands) {
  EXPECT_TRUE(support::eventually(kLong, [&] { return children_of(commands.process()).empty(); }))
      << "a process is left";
}

TEST_F(CommandTest, OutputIsGivenAsItIs) {
  EXPECT_EQ(ask(script("printf 'a\\n\\0b'")), std::string("a\n\0b", 4));
  EXPECT_EQ(ask(script("exit 0")), "");
  EXPECT_EQ(ask(command_of({"/bin/echo", "a b", "", "$HOME"})), "a b  $HOME\n");
  // One that closes its output goes on until it ends.
  EXPECT_EQ(ask(script("echo a; exec >&-; exit 4")), "!exit status 4");
}

TEST_F(CommandTest, OneMebibyteIsTheMost) {
  const std::string whole = ask(script("head -c 1048576 /dev/zero | tr '\\0' x"));
  EXPECT_EQ(whole, std::string(1 << 20, 'x')) << whole.size();
  EXPECT_EQ(ask(script("head -c 1048577 /dev/zero")), "!more than 1 MiB");
}

TEST_F(CommandTest, EachFailureIsNamed) {
  EXPECT_EQ(ask(script("echo secret; exit 3")), "!exit status 3");
  EXPECT_EQ(ask(script("echo secret; kill -9 $$")), "!ended by signal 9");
  EXPECT_EQ(ask(command_of({folder_ / "none"})), "!can't be run: No such file or directory");
  std::ofstream(folder_ / "text") << "echo secret\n";
  EXPECT_EQ(ask(command_of({folder_ / "text"})), "!can't be run: Permission denied");
}

TEST_F(CommandTest, NoOtherIsRun) {
  const CommandConfig known = command_of({"/bin/echo", "a"});
  const auto commands = start({known});
  EXPECT_EQ(ask(*commands, command_of({"/bin/echo", "b"})),
            "!it wasn't there when the proxy was started");
  // Nor does the process take a number that it has not.
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd mine(ends[0]);
  UniqueFd theirs(ends[1]);
  ASSERT_TRUE(send_request(commands->socket(), 1, theirs.get()));
  theirs.reset();
  EXPECT_EQ(wait_for_news(mine), Seen::kEnd);
  EXPECT_EQ(ask(*commands, known), "a\n");
}

TEST_F(CommandTest, ProgramHasNothingOfTheProxys) {
  ::setenv("CLONESAFE_SECRET", "secret", 1);
  EXPECT_EQ(ask(command_of({"/usr/bin/env"})),
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLANG=C.UTF-8\n");
  EXPECT_EQ(ask(command_of({"/bin/cat"})), "");
  EXPECT_EQ(ask(command_of({"/bin/pwd"})), "/\n");
  // The last is the folder that it lists.
  EXPECT_EQ(ask(command_of({"/bin/ls", "/proc/self/fd"})), "0\n1\n2\n3\n");
  EXPECT_EQ(ask(command_of({"/bin/grep", "-E", "^(CapPrm|CapEff|NoNewPrivs|SigIgn|SigBlk)",
                            "/proc/self/status"})),
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
            "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n");
}

TEST_F(CommandTest, ProcessThatRunsThemHasNoRightsAndNoDescriptors) {
  const bool is_root = ::geteuid() == 0;
  const auto commands = start({command_of({"/usr/bin/id", "-u"})}, is_root ? "nobody" : "");
  const pid_t process = commands->process();
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
    EXPECT_EQ(status_of(process, set), "0000000000000000") << set;
  EXPECT_EQ(status_of(process, "NoNewPrivs"), "1");
  EXPECT_THAT(descriptors_of(process), UnorderedElementsAre("0", "1", "2", "3"));
  EXPECT_EQ(std::filesystem::read_symlink("/proc/" + std::to_string(process) + "/fd/1"),
            "/dev/null");
  if (is_root) {
    EXPECT_NE(ask(*commands, command_of({"/usr/bin/id", "-u"})), "0\n");
    EXPECT_FALSE(status_of(process, "Uid").starts_with("0\t"));
  }
}

TEST_F(CommandTest, UserThatNobodyKnowsIsAnErrorAtTheStart) {
  Config config{.user = "nobody-of-this-name"};
  ServiceConfig& service = config.services.emplace_back();
  service.protocol = Protocol::kPostgres;
  service.postgres.users_command = command_of({"/bin/true"});
  const auto started = start_commands(config);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message(),
            "the process that runs commands: user 'nobody-of-this-name' is not known");
}

// Of a script whose SLEEP is one that no other process does.
TEST_F(CommandTest, WholeGroupEndsWithItsProgram) {
  const struct {
    std::string script;
    std::string output;
    Milliseconds timeout{20'000};
  } cases[] = {{.script = "SLEEP & echo a", .output = "a\n"},
               {.script = "SLEEP & exit 3", .output = "!exit status 3"},
               {.script = "SLEEP & exec yes", .output = "!more than 1 MiB"},
               {.script = "SLEEP & SLEEP",
                .output = "!took longer than 1000 ms",
                .timeout = Milliseconds(1'000)}};
  for (const auto& [text, output, timeout] : cases) {
    const std::string sleep = unique_sleep();
    const CommandConfig command =
        script(std::regex_replace(text, std::regex("SLEEP"), sleep), timeout);
    const auto commands = start({command});
    EXPECT_EQ(ask(*commands, command), output);
    EXPECT_EQ(running(sleep), 0) << text;
    expect_no_children(*commands);
  }
}

TEST_F(CommandTest, ProgramWhoseOutputNobodyWaitsForIsEnded) {
  const std::string sleep = unique_sleep();
  const CommandConfig command = script(sleep + " & " + sleep);
  const auto commands = start({command});
  {
    Loop loop;
    boost::asio::co_spawn(loop.io(), proxy::ask(*commands, loop, command), boost::asio::detached);
    loop.io().poll();
    ASSERT_TRUE(support::eventually(kLong, [&] { return running(sleep) == 2; }));
  }
  EXPECT_TRUE(support::eventually(kLong, [&] { return running(sleep) == 0; }));
  expect_no_children(*commands);
}

TEST_F(CommandTest, ManyAtOnceAreAllAnswered) {
  const CommandConfig command = command_of({"/bin/echo", "a"});
  const auto commands = start({command});
  constexpr int kAll = 60;
  int answered = 0;
  for (int i = 0; i < kAll; ++i) {
    boost::asio::co_spawn(loop_.io(), proxy::ask(*commands, loop_, command),
                          [&](const std::exception_ptr&, const std::string& output) {
                            if (output == "a\n") ++answered;
                          });
  }
  while (answered != kAll && loop_.io().run_one_for(kLong) != 0) {
  }
  EXPECT_EQ(answered, kAll);
  expect_no_children(*commands);
}

TEST_F(CommandTest, WithoutItsProcessThereIsAnError) {
  const CommandConfig command = command_of({"/bin/echo", "a"});
  const auto commands = start({command});
  ASSERT_EQ(::kill(commands->process(), SIGKILL), 0);
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(commands->process()), &ended, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(ask(*commands, command), "!the process that runs it has ended");
}

TEST_F(CommandTest, ProcessThatDiesMeanwhileLeavesNoLoginWaiting) {
  const std::string sleep = unique_sleep();
  const CommandConfig command = script(sleep + " & " + sleep, Milliseconds(1'000));
  const auto commands = start({command});
  ASSERT_EQ(::kill(commands->process(), SIGSTOP), 0);
  std::string error;
  boost::asio::co_spawn(
      loop_.io(), proxy::ask(*commands, loop_, command),
      [&](const std::exception_ptr&, const std::string& output) { error = output; });
  loop_.io().poll();
  ASSERT_EQ(::kill(commands->process(), SIGKILL), 0);
  while (error.empty() && loop_.io().run_one_for(kLong) != 0) {
  }
  EXPECT_EQ(error, "!the process that runs it gave no answer");
}

// However the proxy ends.
TEST_F(CommandTest, AllEndsWithTheProxy) {
  const std::string sleep = unique_sleep();
  const CommandConfig command = script(sleep + " & " + sleep);
  const std::string number = folder_ / "number";
  const pid_t proxy = ::fork();
  if (proxy == 0) {
    const auto commands = start({command});
    std::ofstream(number) << commands->process() << "\n";
    Loop loop;
    boost::asio::co_spawn(loop.io(), proxy::ask(*commands, loop, command), boost::asio::detached);
    loop.io().run();
    ::_exit(0);
  }
  ASSERT_TRUE(support::eventually(kLong, [&] { return running(sleep) == 2; }));
  pid_t process = 0;
  std::ifstream(number) >> process;
  EXPECT_TRUE(is_alive(process));
  ASSERT_EQ(::kill(proxy, SIGKILL), 0);
  ASSERT_EQ(::waitpid(proxy, nullptr, 0), proxy);
  EXPECT_TRUE(support::eventually(kLong, [&] { return !is_alive(process); }));
  EXPECT_TRUE(support::eventually(kLong, [&] { return running(sleep) == 0; }));
}

TEST_F(CommandTest, SignalsThatAreForTheProxyEndItNot) {
  const CommandConfig command = command_of({"/bin/echo", "a"});
  const auto commands = start({command});
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::kill(commands->process(), signal);
  EXPECT_EQ(ask(*commands, command), "a\n");
}

}  // namespace
}  // namespace clonesafe::proxy
