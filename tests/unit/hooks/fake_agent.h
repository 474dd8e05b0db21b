#ifndef CLONESAFE_TESTS_UNIT_HOOKS_FAKE_AGENT_H_
#define CLONESAFE_TESTS_UNIT_HOOKS_FAKE_AGENT_H_

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "libclonesafe/base/unique_fd.h"

namespace clonesafe::laboratory {

// The agent's end of its socket, one client at a time, as the test says line by line.
class FakeAgent {
 public:
  explicit FakeAgent(std::string path) : path_(std::move(path)) {
    ::setenv("CLONESAFE_AGENT_SOCKET", path_.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    listen();
  }
  ~FakeAgent() {
    end();
    ::unsetenv("CLONESAFE_AGENT_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  }
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;

  void listen() {
    listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(::listen(listener_.get(), 8), 0);
  }
  // Waits for the next client.
  void accept() {
    client_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(client_);
  }
  void hang_up() { client_.reset(); }
  void end() {
    hang_up();
    listener_.reset();
    ::unlink(path_.c_str());
  }
  // Waits for a line. Empty: the client is gone.
  std::string hear() const {
    std::string line;
    char c = 0;
    while (::read(client_.get(), &c, 1) == 1 && c != '\n') line += c;
    return line;
  }
  void say(const std::string& line) const {
    const std::string text = line + "\n";
    EXPECT_EQ(::send(client_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // A client that asks to watch, is taken, and asks for the status.
  void take_watcher(
      const std::string& status = R"({"tier":"none","kind":"boot","generation":"0"})") {
    accept();
    EXPECT_EQ(hear(), R"({"command":"watch","name":"hooks_test","tracked":true})");
    say(R"({"watching":true})");
    EXPECT_EQ(hear(), R"({"command":"status"})");
    say(status);
  }
  static std::string event(const std::string& what, int id, const std::string& cause,
                           const std::string& generation = "2", char restore = '1') {
    return R"({"event":")" + what + R"(","id":")" + std::to_string(id) + R"(","cause":")" + cause +
           R"(","generation":")" + generation + R"(","reseed_epoch":"9","restore_id":")" +
           std::string(32, restore) + R"("})";
  }
  static std::string ack(int id) {
    return R"({"command":"ack","id":")" + std::to_string(id) + R"("})";
  }
  static std::string ack(int id, const std::string& error) {
    return R"({"command":"ack","id":")" + std::to_string(id) + R"(","error":")" + error + R"("})";
  }

 private:
  std::string path_;
  UniqueFd listener_;
  UniqueFd client_;
};

}  // namespace clonesafe::laboratory

#endif  // CLONESAFE_TESTS_UNIT_HOOKS_FAKE_AGENT_H_
