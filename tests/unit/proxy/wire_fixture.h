#ifndef CLONESAFE_TESTS_UNIT_PROXY_WIRE_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_WIRE_FIXTURE_H_

#include <sys/socket.h>

#include <string>
#include <vector>

#include "tests/support/child_process.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/wire.h"

namespace clonesafe::proxy {

inline bool after(std::uint32_t one, std::uint32_t other) {
  return static_cast<std::int32_t>(one - other) > 0;
}

inline int error_of(const UniqueFd& fd) {
  int error = 0;
  socklen_t size = sizeof error;
  EXPECT_EQ(::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
  return error;
}

inline void set(const UniqueFd& fd, int level, int option, int value) {
  ASSERT_EQ(::setsockopt(fd.get(), level, option, &value, sizeof value), 0);
}

// Gone, or on its way there: what a closed socket of before would be.
inline void reset_when_closed(const UniqueFd& fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

// What a clone's connections of before say on the wire: nothing, whatever state they are in and
// whatever their peers do. The parent, which goes on with them, is played by segments that the test
// makes.
class WireTest : public ProxyTest {
 protected:
  WireTest() { wire_.forget(); }
  ~WireTest() override { wire_.lose(nullptr); }

  // What the guest said on a connection of this port, in words.
  std::vector<std::string> said(std::uint16_t port, std::size_t since) {
    std::vector<std::string> all;
    for (const Segment& one : wire_.since(since)) {
      if (!one.from_guest || one.source != port) continue;
      all.push_back(std::string(one.syn() ? "SYN " : "") + (one.fin() ? "FIN " : "") +
                    (one.rst() ? "RST " : "") + std::to_string(one.payload.size()) + " bytes");
    }
    return all;
  }
  std::vector<std::string> said_until_now(std::uint16_t port, std::size_t since) {
    wire_.mark();
    return said(port, since);
  }

  // The parent goes on: what was lost of its segments comes once more, and then more text.
  void parent_goes_on(std::uint16_t port, const std::string& text) {
    std::uint32_t seq = 0, ack = 0;
    const Segment* last = nullptr;
    const auto seen = wire_.since(0);
    bool begun = false, answered = false;
    for (const Segment& one : seen) {
      if (one.guest_port() != port || one.rst()) continue;
      if (one.from_guest) {
        if (!begun || after(one.next_seq(), seq)) seq = one.next_seq();
        begun = true;
        if (!one.syn()) last = &one;
      } else {
        if (!answered || after(one.next_seq(), ack)) ack = one.next_seq();
        answered = true;
      }
    }
    ASSERT_NE(last, nullptr);
    wire_.lose(nullptr);
    for (const Segment& one : seen) {
      if (one.from_guest && one.source == port && !one.payload.empty())
        wire_.deliver(false, one.packet);
    }
    wire_.deliver(false, next_segment(*last, seq, ack, text));
  }

  // A script of the shell's, in the namespace of the thread.
  static void run_script(const std::string& script) {
    auto program = support::ChildProcess::start({.command = {"sh", "-ec", script}});
    ASSERT_TRUE(program);
    ASSERT_EQ(program->wait(std::chrono::seconds(20)).value_or(-1), 0) << script;
  }

  Wire& wire_ = Wire::get();
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_WIRE_FIXTURE_H_
