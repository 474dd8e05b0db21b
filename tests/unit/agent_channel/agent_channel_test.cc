// The channel with a scripted agent at the other end of a socket pair.
#include "tests/unit/agent_channel/fixture.h"

namespace clonesafe::agent_channel {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

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
