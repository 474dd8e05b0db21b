// Connections that end in every way, at any moment, in front of applications that go on.
#include <atomic>
#include <filesystem>
#include <iterator>
#include <optional>
#include <thread>
#include <vector>

#include "tests/unit/proxy/faulty_server.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"
#include "tests/unit/proxy/running_service.h"

namespace clonesafe::proxy {
namespace {

constexpr int kApplications = 6;

struct Storm {
  const char* name;
  Protocol protocol;
  bool shared = false;  // applications share connections
  bool bytewise = false;
};

std::ptrdiff_t descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(all, {});
}

class FaultsStormTest : public ProxyTest, public testing::WithParamInterface<Storm> {
 protected:
  static void SetUpTestSuite() {
    enter_network();
    before_ = descriptors();
  }
  static void TearDownTestSuite() { EXPECT_EQ(descriptors(), before_) << "some are left behind"; }
  FaultsStormTest() {
    ServiceConfig config{.name = "storm", .protocol = GetParam().protocol};
    config.postgres.authentication = PostgresAuthentication::kTrust;
    config.hold = Milliseconds(20'000);
    if (GetParam().shared) {
      config.postgres.pooling = PostgresPooling::kTransaction;
      config.upstream.max_connections = 2;
    }
    worker_.start(std::move(config), kFar, server_.port(), listen_on("127.0.0.1", port_));
  }

  void application(int number) {
    std::optional<TokenPeer> peer;
    const int count = GetParam().bytewise ? 40 : 150;
    for (int i = 0; i < count; ++i) {
      const bool repeatable = (number + i) % 2 == 0;
      const std::string token =
          (repeatable ? "r" : "w") + std::to_string(number) + "." + std::to_string(i);
      ask(peer, token);
      const bool once = !repeatable || GetParam().protocol == Protocol::kPostgres;
      EXPECT_LE(server_.times(token), once ? 1 : kApplications) << token << " was done twice";
    }
    // Now it is as it should be: whoever went on with the session sees it.
    server_.heal();
    for (int i = 0; i < 3 && !ask(peer, "r" + std::to_string(number) + ".end" + std::to_string(i));
         ++i)
      EXPECT_LT(i, 2) << "it does not get well";
  }

  // Whether there was an answer, which then was its own.
  bool ask(std::optional<TokenPeer>& peer, const std::string& token) {
    if (!peer) {
      peer.emplace(connect_to("127.0.0.1", port_));
      if (!language_->log_in(*peer)) return fail(peer);
    }
    if (!peer->say(language_->request(token), GetParam().bytewise)) return fail(peer);
    const auto answer = language_->answer(*peer);
    if (!answer) return fail(peer);
    const bool answered = !answer->token.empty();
    if (answered) {
      EXPECT_EQ(answer->token, token) << "another's answer";
      EXPECT_GE(server_.times(token), 1);
      ++answered_;
    } else {
      ++failed_;
    }
    if (answer->ends) peer.reset();
    return answered;
  }
  bool fail(std::optional<TokenPeer>& peer) {
    peer.reset();
    ++failed_;
    return false;
  }

  static inline std::ptrdiff_t before_ = 0;
  const std::unique_ptr<TokenLanguage> language_ = TokenLanguage::of(GetParam().protocol);
  FaultyServer server_{*language_, 1, GetParam().bytewise};
  int port_ = 0;
  RunningService worker_;
  std::atomic<int> answered_ = 0, failed_ = 0;
};

TEST_P(FaultsStormTest, EachAnswerIsItsRequestsAndNothingIsDoneTwice) {
  std::vector<std::jthread> applications;
  for (int number = 0; number < kApplications; ++number)
    applications.emplace_back([this, number] { application(number); });
  applications.clear();
  EXPECT_GT(answered_, kApplications * 10);
  EXPECT_GT(server_.faults(), kApplications * 2);
  EXPECT_GT(failed_, 0);
  worker_.wait_for_ends();
}

INSTANTIATE_TEST_SUITE_P(
    Protocols, FaultsStormTest,
    testing::Values(Storm{"tcp", Protocol::kTcp}, Storm{"http", Protocol::kHttp},
                    Storm{"redis", Protocol::kRedis}, Storm{"postgres", Protocol::kPostgres},
                    Storm{"postgres_shared", Protocol::kPostgres, true},
                    Storm{"tcp_bytewise", Protocol::kTcp, false, true},
                    Storm{"http_bytewise", Protocol::kHttp, false, true},
                    Storm{"redis_bytewise", Protocol::kRedis, false, true},
                    Storm{"postgres_bytewise", Protocol::kPostgres, false, true},
                    Storm{"postgres_shared_bytewise", Protocol::kPostgres, true, true}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace clonesafe::proxy
