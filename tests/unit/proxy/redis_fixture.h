// Redis sessions: a real redis-server as the upstream, or one that the test plays.
#ifndef CLONESAFE_TESTS_UNIT_PROXY_REDIS_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_REDIS_FIXTURE_H_

#include <fstream>
#include <iterator>

#include "tests/support/child_process.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/running_service.h"

namespace clonesafe::proxy {

class RedisTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { enter_network(); }
  RedisTest() {
    start_server();
    start_proxy(server_port_);
  }
  void start_proxy(int upstream_port) {
    port_ = 0;
    worker_.start({.name = "cache", .protocol = Protocol::kRedis}, kFar, upstream_port,
                  listen_on("127.0.0.1", port_));
  }
  void start_server() {
    listen_on(kFar, server_port_).reset();
    run_server();
  }
  void run_server() {
    std::filesystem::remove(folder_ / "log");
    auto server = support::ChildProcess::start(
        {.command = {"redis-server", "--bind", kFar, "--port", std::to_string(server_port_),
                     "--save", "", "--dir", folder_ / "", "--logfile", folder_ / "log",
                     "--protected-mode", "no"}});
    ASSERT_TRUE(server) << server.error().message();
    server_.emplace(std::move(*server));
    ASSERT_TRUE(support::eventually(std::chrono::seconds(20), [this] {
      std::ifstream log(folder_ / "log");
      const std::string text{std::istreambuf_iterator<char>(log), {}};
      return text.find("Ready to accept connections") != std::string::npos;
    }));
  }

  // From now on the test is the server.
  UniqueFd play_server() {
    int port = 0;
    UniqueFd listener = listen_on(kFar, port);
    start_proxy(port);
    return listener;
  }

  struct Client {
    UniqueFd fd;
    // Sends a line; nothing is waited for.
    void say(const std::string& line) const { send_all(fd, line + "\r\n"); }
    // What comes, exactly this; or what came instead.
    void hear(const std::string& expected) const {
      EXPECT_EQ(receive(fd, expected.size()), expected);
    }
    void ask(const std::string& line, const std::string& expected) const {
      SCOPED_TRACE(line);
      say(line);
      hear(expected);
    }
  };
  // The application sends it, and the server that the test plays has it.
  static UniqueFd under_way(const Client& application, const std::string& commands,
                            const UniqueFd& upstream) {
    send_all(application.fd, commands);
    UniqueFd server = accept_from(upstream);
    EXPECT_EQ(receive(server, commands.size()), commands);
    return server;
  }
  Client client() const { return {.fd = connect_to("127.0.0.1", port_)}; }
  Client direct() const { return {.fd = connect_to(kFar, server_port_)}; }
  void clone() {
    clone_this_machine();
    worker_->fence();
  }
  static std::string bulk(const std::string& text) {
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
  }

  Folder folder_;
  int server_port_ = 0, port_ = 0;
  std::optional<support::ChildProcess> server_;
  RunningService worker_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_REDIS_FIXTURE_H_
