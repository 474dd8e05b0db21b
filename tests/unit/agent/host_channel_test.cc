#include "guest_agent/control/host_channel.h"

#include "clonesafe/abi/host_protocol.h"
#include "tests/unit/agent/loop_fixture.h"

namespace clonesafe::agent {
namespace {

constexpr char kHello[] = "{\"type\":\"hello\"}\n";

// A host that says what the test wants, in place of vsock a Unix socket.
class HostChannelTest : public LoopTest {
 protected:
  void start() {
    Config::Host address;
    address.socket = folder_ / "host.sock";
    channel_ = std::make_unique<HostChannel>(io_, address, kHello);
    channel_->start({.said = [this](const HostMessage& message) { said_.push_back(message); },
                     .lost = [this] { ++lost_; }});
  }
  void accept() {
    run_until([this] {
      connection_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      return static_cast<bool>(connection_);
    });
  }
  void hear_line(std::string& text) {
    run_until([this, &text] {
      text += hear(connection_);
      return text.ends_with('\n');
    });
  }
  void connect_and_welcome() {
    accept();
    std::string hello;
    hear_line(hello);
    EXPECT_EQ(hello, kHello);
    const std::size_t before = said_.size();
    say(connection_, kWelcome);
    run_until([this, before] { return said_.size() == before + 1; });
  }
  void expect_refused(const std::string& text) {
    listen();
    start();
    connect_and_welcome();
    say(connection_, text);
    run_until([this] { return lost_ == 1; });
    EXPECT_EQ(said_.size(), 1U);
  }
  void listen() { listener_ = listen_at(folder_ / "host.sock"); }

  const std::string kWelcome =
      R"({"type":"welcome","version":1,"host":"h","kind":"boot","restore_id":")" + hex(id(1)) +
      "\"}\n";
  UniqueFd listener_;
  UniqueFd connection_;
  std::unique_ptr<HostChannel> channel_;
  std::vector<HostMessage> said_;
  int lost_ = 0;
};

TEST_F(HostChannelTest, HelloIsTheFirstLineAndLinesArriveInOrder) {
  listen();
  start();
  connect_and_welcome();
  EXPECT_TRUE(std::holds_alternative<Welcome>(said_[0]));
  for (int i = 0; i < 100; ++i) channel_->send("line " + std::to_string(i) + "\n");
  std::string heard;
  run_until([&] {
    heard += hear(connection_);
    return heard.ends_with("line 99\n");
  });
  EXPECT_EQ(heard.rfind("line 0\nline 1\n", 0), 0U);
}

TEST_F(HostChannelTest, LinesMayComeInPieces) {
  listen();
  start();
  connect_and_welcome();
  const std::string line = "{\"type\":\"abort\",\"id\":\"x\"}\n";
  say(connection_, line.substr(0, 5));
  io_.restart();
  io_.poll();
  say(connection_, line.substr(5) + line);
  run_until([this] { return said_.size() == 3; });
}

TEST_F(HostChannelTest, HostThatComesLateIsFound) {
  start();
  io_.run_for(std::chrono::milliseconds(20));
  listen();
  connect_and_welcome();
}

TEST_F(HostChannelTest, BrokenConnectionIsToldAndMadeAgain) {
  listen();
  start();
  connect_and_welcome();
  connection_.reset();
  run_until([this] { return lost_ == 1; });
  connect_and_welcome();
  EXPECT_EQ(said_.size(), 2U);
  std::string heard;
  channel_->send("to the new one\n");
  hear_line(heard);
  EXPECT_EQ(heard, "to the new one\n");
}

TEST_F(HostChannelTest, WhatIsSentWithoutAConnectionIsDropped) {
  start();
  channel_->send("lost\n");
  listen();
  accept();
  std::string heard;
  hear_line(heard);
  EXPECT_EQ(heard, kHello);
}

TEST_F(HostChannelTest, LineThatIsNotJsonEndsTheConnection) {
  expect_refused("nonsense\n");
}

TEST_F(HostChannelTest, UnknownTypeEndsTheConnection) {
  expect_refused("{\"type\":\"dance\"}\n");
}

TEST_F(HostChannelTest, EndlessLineEndsTheConnection) {
  expect_refused(std::string(CLONESAFE_HOST_LINE_MAX, 'x'));
}

TEST_F(HostChannelTest, HostThatDoesNotBeginWithAWelcomeIsNotListenedTo) {
  listen();
  start();
  accept();
  say(connection_, "{\"type\":\"abort\",\"id\":\"x\"}\n");
  run_until([this] {
    bool closed = false;
    hear(connection_, &closed);
    return closed;
  });
  EXPECT_TRUE(said_.empty());
  EXPECT_EQ(lost_, 0);
}

TEST_F(HostChannelTest, HostThatDoesNotReadCostsABoundedQueue) {
  listen();
  start();
  connect_and_welcome();
  const std::string line(60'000, 'x');
  for (int i = 0; i < 100; ++i) channel_->send(line);
  run_until([this] { return lost_ == 1; });
}

TEST_F(HostChannelTest, UnixSocketIsNotTakenForAWake) {
  listen();
  start();
  connect_and_welcome();
  EXPECT_FALSE(channel_->wakes());
}

}  // namespace
}  // namespace clonesafe::agent
