#include "proxy/program/listeners.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;

class ListenersTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { enter_network(); }

  static ServiceConfig service(int port) {
    ServiceConfig config{.name = "test"};
    config.listen = {parse_address("127.0.0.1:" + std::to_string(port)).value()};
    return config;
  }
  static int free_port() {
    int port = 0;
    listen_on("127.0.0.1", port).reset();
    return port;
  }
};

TEST_F(ListenersTest, ThoseThatAreThereAreKept) {
  const ServiceConfig config = service(free_port());
  Listeners first = Listeners(2).with({config}).value();
  // Somebody is in the queue of one of them.
  const UniqueFd waiting = connect_to("127.0.0.1", config.listen[0].port);
  Listeners second = first.with({config}).value();
  first = Listeners(2);
  std::size_t accepted = 0;
  for (std::size_t thread = 0; thread < 2; ++thread) {
    const auto sockets = second.sockets(config, thread);
    ASSERT_TRUE(sockets);
    ASSERT_EQ(sockets->size(), 1U);
    if (UniqueFd(::accept4(sockets->front().get(), nullptr, nullptr, SOCK_CLOEXEC))) ++accepted;
  }
  EXPECT_EQ(accepted, 1U);
}

TEST_F(ListenersTest, OneThatCantBeHadLeavesTheOthersAlone) {
  const ServiceConfig good = service(free_port());
  const Listeners now = Listeners(1).with({good}).value();
  int port = 0;
  const UniqueFd taken = listen_on("127.0.0.1", port);
  const auto next = now.with({good, service(port)});
  ASSERT_FALSE(next);
  EXPECT_THAT(next.error().message(), HasSubstr("service 'test': listen at 127.0.0.1:"));
  EXPECT_TRUE(now.sockets(good, 0));
}

TEST_F(ListenersTest, SocketsOfTheServiceManagerAreUsed) {
  int port = 0;
  const UniqueFd given = listen_on("127.0.0.1", port);
  const ServiceConfig config = service(port);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(given.get(), 3);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "1", 1);
    Listeners inherited(2);
    if (!inherited.inherit()) ::_exit(1);
    // Without them it would be "address already in use".
    const auto listeners = inherited.with({config});
    if (!listeners) ::_exit(2);
    ::_exit(listeners->sockets(config, 1) && ::getenv("LISTEN_FDS") == nullptr ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace clonesafe::proxy
