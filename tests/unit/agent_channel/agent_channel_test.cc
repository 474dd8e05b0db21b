// The channel with a scripted agent at the other end of a socket pair.
#include "vmm_device/agent_channel/agent_channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <optional>

namespace clonesafe::agent_channel {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

constexpr std::string_view kHello =
    "{\"type\":\"hello\",\"version\":1,\"agent\":\"0.1.0\",\"kernel\":\"6.1.0\"}\n";

RestoreId id_of(std::uint8_t byte) {
  RestoreId id;
  id.fill(byte);
  return id;
}
std::string safe_line(const char* byte) {
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
    EXPECT_THAT(say(agent, kHello), HasSubstr("welcome"));
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

TEST_F(AgentChannelTest, AgentIsWelcomedWithTheRestoreItIsIn) {
  const UniqueFd agent = connect();
  EXPECT_EQ(say(agent, kHello),
            "{\"type\":\"welcome\",\"version\":1,\"host\":\"clonevm test\",\"restore_id\":"
            "\"11111111111111111111111111111111\",\"kind\":\"clone\"}\n");
  ASSERT_EQ(hellos_.size(), 1u);
  EXPECT_EQ(hellos_[0].kernel, "6.1.0");
}

TEST_F(AgentChannelTest, ItIsTold_WhenAnAgentThatNamedItselfIsGone) {
  connect().reset();  // said nothing: nobody
  run();
  EXPECT_EQ(lost_, 0);
  greeted().reset();
  run();
  EXPECT_EQ(lost_, 1);
  // One that breaks the protocol, and one whose place another one takes.
  const UniqueFd wild = greeted();
  say(wild, "no JSON\n");
  EXPECT_EQ(lost_, 2);
  const UniqueFd before = greeted();
  const UniqueFd after = greeted();
  EXPECT_EQ(lost_, 3);
  EXPECT_EQ(hellos_.size(), 4u);
}

TEST_F(AgentChannelTest, NewerAgentIsToldOurVersion) {
  const UniqueFd agent = connect();
  EXPECT_THAT(say(agent, R"({"type":"hello","version":7,"agent":"2","kernel":"9"})"
                         "\n"),
              HasSubstr("\"version\":1"));
}

TEST_F(AgentChannelTest, PageIsRegistered) {
  const UniqueFd agent = greeted();
  const std::string line =
      R"({"type":"register_page","address":"5000","nonce":"0f0e0d0c0b0a09080706050403020100"})"
      "\n";
  EXPECT_EQ(say(agent, line), "{\"type\":\"registered\",\"ok\":true}\n");
  ASSERT_EQ(pages_.size(), 1u);
  EXPECT_EQ(pages_[0].first, GuestAddress(0x5000));
  EXPECT_EQ(pages_[0].second[0], 15);
  page_status_ = fail("not in memory");
  EXPECT_EQ(say(agent, line),
            "{\"type\":\"registered\",\"ok\":false,\"error\":\"not in memory\"}\n");
}

TEST_F(AgentChannelTest, PageThatIsNoPageIsRefusedWithoutAsking) {
  const UniqueFd agent = greeted();
  EXPECT_THAT(
      say(agent,
          R"({"type":"register_page","address":"5008","nonce":"0f0e0d0c0b0a09080706050403020100"})"
          "\n"),
      HasSubstr("not the start of a page"));
  EXPECT_TRUE(pages_.empty());
}

TEST_F(AgentChannelTest, HostThatKeepsNoSecretsSaysSo) {
  const UniqueFd agent = greeted();
  EXPECT_EQ(say(agent, R"({"type":"register_secrets","id":"1","pages":[]})"
                       "\n"),
            "{\"type\":\"secrets_registered\",\"id\":\"1\",\"ok\":false,\"error\":"
            "\"this host keeps no pages out of snapshots\"}\n");
  channel_->check_secrets();
  EXPECT_EQ(hear(agent), "{\"type\":\"check_secrets\"}\n");
}

TEST_F(AgentChannelTest, SecretsAreRegistered) {
  std::vector<RegisterPage> pages;
  Status outcome;
  channel_ = std::make_unique<AgentChannel>(
      io_, "clonevm test",
      AgentCallbacks{.on_register_secrets = [&](const std::vector<RegisterPage>& list) {
        pages = list;
        return outcome;
      }});
  const UniqueFd agent = connect();
  EXPECT_THAT(say(agent, kHello), HasSubstr("\"secret_pages\":512"));
  const std::string line = R"({"type":"register_secrets","id":"a","pages":[{"address":"5000",)"
                           R"("nonce":"0f0e0d0c0b0a09080706050403020100"}]})"
                           "\n";
  EXPECT_EQ(say(agent, line), "{\"type\":\"secrets_registered\",\"id\":\"a\",\"ok\":true}\n");
  ASSERT_EQ(pages.size(), 1u);
  EXPECT_EQ(pages[0].address, GuestAddress(0x5000));
  EXPECT_EQ(pages[0].nonce[0], 15);
  outcome = fail("not there");
  EXPECT_THAT(say(agent, line), HasSubstr("\"ok\":false,\"error\":\"not there\""));
}

TEST_F(AgentChannelTest, ReportIsTakenOnlyForTheCurrentRestore) {
  const UniqueFd agent = greeted();
  EXPECT_EQ(say(agent, safe_line("22")), "");
  EXPECT_TRUE(reports_.empty());
  say(agent, safe_line("11"));
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].restore_id, id_of(0x11));

  channel_->resumed(id_of(0x33), RestoreKind::kResume);
  EXPECT_EQ(hear(agent),
            "{\"type\":\"resumed\",\"restore_id\":\"33333333333333333333333333333333\","
            "\"kind\":\"resume\"}\n");
  say(agent, safe_line("11"));
  EXPECT_EQ(reports_.size(), 1u) << "a report for the restore before";
  say(agent, safe_line("33"));
  EXPECT_EQ(reports_.size(), 2u);
  EXPECT_FALSE(closed(agent));
}

TEST_F(AgentChannelTest, PrepareIsAnswered) {
  const UniqueFd agent = greeted();
  channel_->prepare("s1", 10s, remember());
  EXPECT_EQ(hear(agent), "{\"type\":\"prepare\",\"id\":\"s1\",\"deadline_ms\":10000}\n");
  say(agent, R"({"type":"prepared","id":"other","ok":true,"steps":[]})"
             "\n");
  EXPECT_TRUE(answers_.empty()) << "an answer to something else";
  say(agent, R"({"type":"prepared","id":"s1","ok":false,"error":"hook failed","steps":[]})"
             "\n");
  ASSERT_EQ(answers_.size(), 1u);
  ASSERT_TRUE(answers_[0]);
  EXPECT_FALSE(answers_[0]->ok);
  EXPECT_EQ(answers_[0]->error, "hook failed");
  channel_->abort("s1");
  EXPECT_EQ(hear(agent), "{\"type\":\"abort\",\"id\":\"s1\"}\n");
  // Another can follow.
  channel_->prepare("s2", 10s, remember());
  EXPECT_THAT(hear(agent), HasSubstr("s2"));
}

TEST_F(AgentChannelTest, PrepareWithoutAnAgentFails) {
  channel_->prepare("s1", 10s, remember());
  run();
  const UniqueFd mute = connect();
  channel_->prepare("s2", 10s, remember());
  run();
  ASSERT_EQ(answers_.size(), 2u);
  EXPECT_EQ(answers_[0].error().message(), "no agent is connected");
  EXPECT_EQ(answers_[1].error().message(), "no agent is connected");
}

TEST_F(AgentChannelTest, PrepareThatIsNotAnsweredFailsAtItsDeadline) {
  const UniqueFd agent = greeted();
  channel_->prepare("s1", 5ms, remember());
  io_.restart();
  while (answers_.empty() && io_.run_one_for(5s) > 0) {
  }
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].error().message(), "the agent did not answer prepare within 5 ms");
  say(agent, R"({"type":"prepared","id":"s1","ok":true,"steps":[]})"
             "\n");
  EXPECT_EQ(answers_.size(), 1u) << "called twice";
}

TEST_F(AgentChannelTest, PrepareFailsWhenTheAgentGoesAway) {
  UniqueFd agent = greeted();
  channel_->prepare("s1", 10s, remember());
  run();
  channel_->prepare("s2", 10s, remember());
  run();
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(answers_[0].error().message(), "a snapshot is being prepared already");
  agent.reset();
  run();
  ASSERT_EQ(answers_.size(), 2u);
  EXPECT_EQ(answers_[1].error().message(), "the agent went away");
}

TEST_F(AgentChannelTest, BrokenProtocolEndsTheConnection) {
  for (const std::string& line :
       {std::string("\n"), std::string("x\n"), std::string("{\"type\":\"reboot\"}\n"),
        std::string("{\"type\":\"safe\"}\n"), std::string(kHello),
        std::string(CLONESAFE_HOST_LINE_MAX, ' ')}) {
    const UniqueFd agent = greeted();
    say(agent, line);
    EXPECT_TRUE(closed(agent)) << line.substr(0, 40);
  }
  for (const std::string& line :
       {safe_line("11"), std::string(R"({"type":"hello","version":0,"agent":"","kernel":""})"
                                     "\n")}) {
    const UniqueFd agent = connect();
    say(agent, line);
    EXPECT_TRUE(closed(agent)) << line;
  }
  EXPECT_TRUE(reports_.empty());
  const UniqueFd again = greeted();
  EXPECT_FALSE(closed(again));
}

TEST_F(AgentChannelTest, NewConnectionTakesThePlaceOfTheOld) {
  const UniqueFd old = greeted();
  const UniqueFd agent = greeted();
  EXPECT_TRUE(closed(old));
  say(agent, safe_line("11"));
  EXPECT_EQ(reports_.size(), 1u);
}

TEST_F(AgentChannelTest, AgentThatDoesNotListenIsNotReadFromForever) {
  const UniqueFd agent = greeted();
  const std::string line =
      R"({"type":"register_page","address":"5000","nonce":"0f0e0d0c0b0a09080706050403020100"})"
      "\n";
  std::size_t sent = 0;
  while (sent < 100'000'000) {
    const ssize_t count =
        ::send(agent.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    run();
    if (count != static_cast<ssize_t>(line.size())) break;
    sent += line.size();
  }
  EXPECT_LT(sent, 10'000'000u) << "answers pile up";
  EXPECT_FALSE(pages_.empty());
}

TEST_F(AgentChannelTest, NothingIsCalledAfterTheChannelIsGone) {
  const UniqueFd agent = greeted();
  channel_->prepare("s1", 10s, remember());
  run();
  channel_.reset();
  run();
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_FALSE(answers_[0]);
  EXPECT_TRUE(reports_.empty());
}

}  // namespace
}  // namespace clonesafe::agent_channel
