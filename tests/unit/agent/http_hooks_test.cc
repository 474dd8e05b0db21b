#include "guest_agent/hooks/http_hooks.h"

#include <netinet/in.h>

#include "tests/unit/agent/loop_fixture.h"

namespace clonesafe::agent {
namespace {

using std::chrono::milliseconds;

// A program's port, served by the test byte by byte.
class Port {
 public:
  Port() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 4), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    number = ntohs(address.sin_port);
  }
  // Answers whoever has sent a whole request.
  void serve() {
    if (UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        peer)
      peers_.emplace_back(std::move(peer), std::string());
    for (auto& [peer, request] : peers_) {
      char block[4096];
      const ssize_t size = ::recv(peer.get(), block, sizeof block, MSG_DONTWAIT);
      if (size <= 0) continue;
      request.append(block, static_cast<std::size_t>(size));
      if (!request.ends_with("}")) continue;
      requests.push_back(request);
      ::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  }

  std::uint16_t number = 0;
  std::string answer = "HTTP/1.1 204 No Content\r\n\r\n";
  std::vector<std::string> requests;

 private:
  UniqueFd listener_;
  std::vector<std::pair<UniqueFd, std::string>> peers_;
};

class HttpHooksTest : public LoopTest {
 protected:
  HttpHook hook(const std::string& name, const Port& port) {
    return {.name = name,
            .port = port.number,
            .before_snapshot = "/before",
            .after_restore = "/after?x=1",
            .deadline = std::chrono::minutes(1)};
  }
  static HookEvent event(HookPhase phase = HookPhase::kAfterRestore) {
    return {.phase = phase, .cause = "clone", .restore = {.restore_id = id(7), .generation = 42}};
  }
  std::vector<RepairResult> run(HttpHooks& hooks, HookPhase phase = HookPhase::kAfterRestore) {
    std::vector<RepairResult> results;
    bool done = false;
    hooks.run(event(phase), [&](std::vector<RepairResult> given) {
      results = std::move(given);
      done = true;
    });
    run_until([&] {
      for (Port* const port : {&one_, &two_}) port->serve();
      return done;
    });
    return results;
  }
  std::string detail_of(const std::string& answer) {
    one_.answer = answer;
    HttpHooks hooks(io_, {hook("app", one_)});
    const auto results = run(hooks);
    EXPECT_EQ(results.size(), 1U);
    return results.at(0).outcome == Outcome::kFailed ? results[0].detail : "no failure";
  }

  Port one_, two_;
};

TEST_F(HttpHooksTest, PostsTheEventToEachInOrder) {
  HttpHooks hooks(io_, {hook("one", one_), hook("two", two_)});
  EXPECT_TRUE(hooks.any(event()));
  auto results = run(hooks);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].name, "http one");
  EXPECT_EQ(results[0].outcome, Outcome::kOk) << results[0].detail;
  EXPECT_EQ(results[1].name, "http two");
  ASSERT_EQ(one_.requests.size(), 1U);
  EXPECT_TRUE(one_.requests[0].starts_with("POST /after?x=1 HTTP/1.1\r\n")) << one_.requests[0];
  EXPECT_NE(one_.requests[0].find("Host: 127.0.0.1:" + std::to_string(one_.number) + "\r\n"),
            std::string::npos);
  EXPECT_TRUE(one_.requests[0].ends_with(
      R"({"phase":"after-restore","cause":"clone","generation":"2a","reseed_epoch":"0",)"
      R"("restore_id":"07070707070707070707070707070707"})"))
      << one_.requests[0];
  results = run(hooks, HookPhase::kBeforeSnapshot);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].name, "http two");
  EXPECT_TRUE(one_.requests[1].starts_with("POST /before "));
}

TEST_F(HttpHooksTest, PhaseWithoutAPathIsNotTold) {
  HttpHook silent = hook("app", one_);
  silent.before_snapshot.clear();
  HttpHooks hooks(io_, {silent});
  EXPECT_FALSE(hooks.any(event(HookPhase::kBeforeSnapshot)));
  EXPECT_TRUE(run(hooks, HookPhase::kBeforeSnapshot).empty());
}

TEST_F(HttpHooksTest, AnythingButSuccessIsAFailureByName) {
  const std::string where = "127.0.0.1:" + std::to_string(one_.number) + "/after?x=1: ";
  EXPECT_EQ(detail_of("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), "no failure");
  EXPECT_EQ(detail_of("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), where + "answer 503");
  EXPECT_EQ(detail_of("HTTP/1.1 302 No\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
            where + "answer 302");
  EXPECT_TRUE(detail_of("SSH-2.0-whatever\r\n\r\n").starts_with(where));
  EXPECT_TRUE(detail_of("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n").starts_with(where));
  EXPECT_TRUE(detail_of("HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x')).starts_with(where));
}

TEST_F(HttpHooksTest, NobodyThereIsAFailureAndTheNextIsTold) {
  std::uint16_t nobody = 0;
  {
    const Port closed;
    nobody = closed.number;
  }
  HttpHook gone = hook("gone", one_);
  gone.port = nobody;
  HttpHooks hooks(io_, {gone, hook("two", two_)});
  const auto results = run(hooks);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].outcome, Outcome::kFailed);
  EXPECT_EQ(results[1].outcome, Outcome::kOk);
}

TEST_F(HttpHooksTest, SilenceEndsAtTheDeadline) {
  one_.answer = "";
  HttpHook slow = hook("slow", one_);
  slow.deadline = milliseconds(50);
  HttpHooks hooks(io_, {slow});
  const auto results = run(hooks);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_TRUE(results[0].detail.ends_with("no answer within 50 ms")) << results[0].detail;
}

TEST_F(HttpHooksTest, CancelledRunIsNobodysAndTheNextOneIsWhole) {
  one_.answer = "";
  HttpHooks hooks(io_, {hook("one", one_)});
  bool told = false;
  hooks.run(event(), [&](const auto&) { told = true; });
  run_until([&] {
    one_.serve();
    return one_.requests.size() == 1;
  });
  hooks.cancel();
  one_.answer = "HTTP/1.1 204 No Content\r\n\r\n";
  const auto results = run(hooks);
  EXPECT_FALSE(told);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].outcome, Outcome::kOk);
}

}  // namespace
}  // namespace clonesafe::agent
