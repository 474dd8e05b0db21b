#include "guest_agent/control/control_server.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

class FakeClient : public ControlClient {
 public:
  uid_t user() const override { return 7; }
  pid_t pid() const override { return 42; }
  bool may_drive() const override { return drives; }
  void keep(std::function<void()> tell) override { ended = std::move(tell); }
  void push(std::string line) override { pushed.push_back(std::move(line)); }
  bool drives = false;
  std::function<void()> ended;
  std::vector<std::string> pushed;
};

class ControlRequests : public testing::Test {
 protected:
  std::string answer_to(std::string_view request) {
    std::string answer = "none yet";
    answer_request(request, client_, commands_,
                   [&answer](const ControlServer::Answer& given) { answer = given.line; });
    return answer;
  }
  bool refused(std::string_view request) { return answer_to(request).starts_with("{\"error\":"); }

  ManualTimers timers_;
  Watchers watchers_{timers_, std::chrono::milliseconds(5000)};
  const ControlCommands commands_ = {
      .status = [] { return std::string("{\"state\":\"safe\"}"); },
      .allocate_secret =
          [](uid_t user, const ControlServer::Reply& reply) {
            reply({.line = "secret of " + std::to_string(user)});
          },
      .prepare =
          [](std::chrono::milliseconds deadline, const ControlServer::Reply& reply) {
            reply({.line = "prepared in " + std::to_string(deadline.count())});
          },
      .resume = [] { return std::string("resumed"); },
      .hooks = [] { return std::string("hooks"); },
      .watchers = watchers_};
  std::shared_ptr<FakeClient> client_ = std::make_shared<FakeClient>();
};

TEST_F(ControlRequests, WhatIsKnownIsAnsweredAndTheRestRefused) {
  EXPECT_EQ(answer_to(R"({"command":"status"})"), "{\"state\":\"safe\"}");
  EXPECT_EQ(answer_to(R"({"command":"allocate_secret"})"), "secret of 7");
  EXPECT_EQ(answer_to(R"({"command":"hooks"})"), "hooks");
  for (const char* const request :
       {"", "x", "[]", "{}", R"({"command":1})", R"({"command":"no"})", "[[[[[[[[[["}) {
    EXPECT_TRUE(refused(request)) << request;
  }
}

TEST_F(ControlRequests, RefusalHasACodeForPrograms) {
  EXPECT_EQ(refusal_line("no room"), "{\"error\":\"no room\"}");
  EXPECT_EQ(refusal_line("no room", "limit"), "{\"error\":\"no room\",\"code\":\"limit\"}");
}

TEST_F(ControlRequests, OnlyTheFewMayDrive) {
  for (const char* const request : {R"({"command":"prepare"})", R"({"command":"resume"})",
                                    R"({"command":"watch","tracked":true})"}) {
    client_->drives = false;
    EXPECT_TRUE(refused(request)) << request;
    client_->drives = true;
    EXPECT_FALSE(refused(request)) << request;
  }
  EXPECT_EQ(answer_to(R"({"command":"prepare","deadline_ms":7})"), "prepared in 7");
}

TEST_F(ControlRequests, AnybodyMayWatchOnce) {
  EXPECT_EQ(answer_to(R"({"command":"watch","name":"lazy"})"), R"({"watching":true})");
  ASSERT_EQ(watchers_.list().size(), 1U);
  EXPECT_EQ(watchers_.list()[0].name, "lazy (pid 42)");
  EXPECT_FALSE(watchers_.list()[0].tracked);
  EXPECT_TRUE(refused(R"({"command":"watch"})"));
  watchers_.run({.phase = HookPhase::kAfterRestore, .cause = "clone", .restore = {}},
                [](const auto&) {});
  EXPECT_EQ(client_->pushed.size(), 1U);
  client_->ended();
  EXPECT_EQ(watchers_.count(), 0U);
}

TEST_F(ControlRequests, TrackedWatcherAcknowledgesAndSomebodyWaitsForIt) {
  client_->drives = true;
  answer_to(R"({"command":"watch","tracked":true})");
  watchers_.run({.phase = HookPhase::kAfterRestore, .cause = "clone", .restore = {}},
                [](const auto&) {});
  std::string waited;
  answer_request(R"({"command":"wait","timeout_ms":50})", client_, commands_,
                 [&waited](const ControlServer::Answer& given) { waited = given.line; });
  EXPECT_EQ(waited, "");
  EXPECT_TRUE(refused(R"({"command":"ack","id":"9"})"));
  EXPECT_TRUE(refused(R"({"command":"ack"})"));
  EXPECT_EQ(answer_to(R"({"command":"ack","id":"1"})"), R"({"acknowledged":true})");
  EXPECT_EQ(waited, R"({"acknowledged":true,"tracked":1,"missing":[]})");
}

TEST_F(ControlRequests, MembersOfTheWrongKindAreRefused) {
  client_->drives = true;
  for (const char* const request :
       {R"({"command":"watch","tracked":1})", R"({"command":"watch","name":7})",
        R"({"command":"watch","name":"\u001b[31m"})", R"({"command":"wait","timeout_ms":-1})",
        R"({"command":"wait","timeout_ms":600001})", R"({"command":"wait","timeout_ms":1.5})",
        R"({"command":"prepare","deadline_ms":"1"})", R"({"command":"ack","id":1})",
        R"({"command":"ack","id":"1","error":{}})"}) {
    EXPECT_TRUE(refused(request)) << request << answer_to(request);
  }
  EXPECT_TRUE(refused(R"({"command":"watch","name":")" + std::string(65, 'x') + "\"}"));
  EXPECT_EQ(watchers_.count(), 0U);
}

}  // namespace
}  // namespace clonesafe::agent
