#ifndef CLONESAFE_TESTS_UNIT_AGENT_CHANNEL_FIXTURE_H_
#define CLONESAFE_TESTS_UNIT_AGENT_CHANNEL_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "vmm_device/agent_channel/agent_channel.h"

namespace clonesafe::agent_channel {

inline constexpr std::string_view kHello =
    "{\"type\":\"hello\",\"version\":1,\"agent\":\"0.1.0\",\"kernel\":\"6.1.0\"}\n";

inline RestoreId id_of(std::uint8_t byte) {
  RestoreId id;
  id.fill(byte);
  return id;
}
inline std::string safe_line(const char* byte) {
  std::string id;
  for (int i = 0; i < 16; ++i) id += byte;
  return R"({"type":"safe","restore_id":")" + id +
         R"(","generation":"1","reseed_epoch":"2","state":"safe","sources":[],"repairs":[]})" +
         "\n";
}

class AgentChannelTest : public testing::Test {
 protected:
  AgentChannelTest() {
    channel_->set_restore(id_of(0x11), RestoreKind::kClone);
    run();
  }
  void run() {
    io_.restart();
    io_.poll();
  }
  UniqueFd connect() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    EXPECT_TRUE(channel_->accept(UniqueFd(ends[1])));
    run();
    return UniqueFd(ends[0]);
  }
  // What the host answers to these bytes.
  std::string say(const UniqueFd& agent, std::string_view bytes) {
    EXPECT_EQ(::send(agent.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    run();
    return hear(agent);
  }
  std::string hear(const UniqueFd& agent) {
    run();
    std::string text(65536, '\0');
    const ssize_t count = ::recv(agent.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  }
  static bool closed(const UniqueFd& agent) {
    char byte = 0;
    const ssize_t count = ::recv(agent.get(), &byte, 1, MSG_DONTWAIT);
    return count == 0 || (count < 0 && errno == ECONNRESET);
  }
  UniqueFd greeted() {
    UniqueFd agent = connect();
    EXPECT_THAT(say(agent, kHello), testing::HasSubstr("welcome"));
    return agent;
  }
  AgentChannel::OnPrepared remember() {
    return [this](Result<Prepared> result) { answers_.push_back(std::move(result)); };
  }

  boost::asio::io_context io_;
  std::vector<std::pair<GuestAddress, Nonce>> pages_;
  Status page_status_;
  std::vector<SafeReport> reports_;
  std::vector<Hello> hellos_;
  int lost_ = 0;
  std::vector<Result<Prepared>> answers_;
  std::unique_ptr<AgentChannel> channel_ = std::make_unique<AgentChannel>(
      io_, "clonevm test",
      AgentCallbacks{.on_register_page =
                         [this](GuestAddress address, const Nonce& nonce) {
                           pages_.emplace_back(address, nonce);
                           return page_status_;
                         },
                     .on_safe = [this](const SafeReport& report) { reports_.push_back(report); },
                     .on_hello = [this](const Hello& hello) { hellos_.push_back(hello); },
                     .on_lost = [this] { ++lost_; }});
};

}  // namespace clonesafe::agent_channel

#endif  // CLONESAFE_TESTS_UNIT_AGENT_CHANNEL_FIXTURE_H_
