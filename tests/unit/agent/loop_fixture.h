#ifndef CLONESAFE_TESTS_UNIT_AGENT_LOOP_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_AGENT_LOOP_FIXTURE_H_

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/asio/io_context.hpp>
#include <chrono>

#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {

class LoopTest : public testing::Test {
 protected:
  // Runs the event loop until `done`; fails after five seconds.
  void run_until(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "nothing happened";
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(20));
    }
  }

  static sockaddr_un address_of(const std::string& path) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    return address;
  }
  static UniqueFd listen_at(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un address = address_of(path);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    return fd;
  }
  static UniqueFd connect_to(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un address = address_of(path);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }
  static void say(const UniqueFd& fd, const std::string& text) {
    EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // Whatever has arrived. `closed` tells of the end of the connection.
  static std::string hear(const UniqueFd& fd, bool* closed = nullptr) {
    std::string text;
    char block[4096];
    for (;;) {
      const ssize_t size = ::recv(fd.get(), block, sizeof(block), MSG_DONTWAIT);
      if (size > 0) {
        text.append(block, static_cast<std::size_t>(size));
        continue;
      }
      if (closed != nullptr) *closed = size == 0 || errno == ECONNRESET;
      return text;
    }
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
};

}  // namespace clonesafe::agent

#endif  // CLONESAFE_TESTS_UNIT_AGENT_LOOP_FIXTURE_H_
