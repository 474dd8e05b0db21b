// What every protocol's sessions have in common.
#include "proxy/session/session.h"

#include <boost/asio/detached.hpp>

#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

class WaitingSession final : public Session {
 public:
  explicit WaitingSession(SessionHost& host) : Session(host, {}), timer_(host.loop.timer()) {}
  void fenced() override {}
  void reset() override {}
  void park() override {}

  Awaitable<void> wait() {
    waits_ = true;
    due_ = co_await wait_for_spread(timer_);
    waits_ = false;
  }
  void cancel() { timer_.cancel(); }
  bool waits() const { return waits_; }
  bool due() const { return due_; }

 private:
  boost::asio::steady_timer timer_;
  bool waits_ = false;
  bool due_ = false;
};

// A connection that no application waits for is opened at a random time.
class SpreadTest : public ProxyTest {
 protected:
  using Milliseconds = std::chrono::milliseconds;

  void start(Milliseconds spread) {
    config_.upstream.spread = spread;
    boost::asio::co_spawn(loop_.io(), session_.wait(), boost::asio::detached);
    while (!session_.waits()) loop_.io().run_one();
  }
  void run_to_end() {
    while (session_.waits()) ASSERT_NE(loop_.io().run_one_for(std::chrono::seconds(20)), 0u);
  }

  ServiceConfig config_;
  Upstream upstream_{loop_, config_.upstream, nullptr};
  Pool pool_{config_.upstream, upstream_};
  SessionHost host_{.loop = loop_, .config = config_, .upstream = upstream_, .pool = pool_};
  WaitingSession session_{host_};
};

TEST_F(SpreadTest, IsWaitedFor) {
  start(Milliseconds(80'000'000));
  loop_.io().poll();
  EXPECT_TRUE(session_.waits());
  session_.cancel();
  run_to_end();
  EXPECT_FALSE(session_.due()) << "there was something else to do";
}

TEST_F(SpreadTest, IsOverAtItsEnd) {
  start(Milliseconds(1));
  run_to_end();
  EXPECT_TRUE(session_.due());
}

// All clones of one that waits would come at the time that it drew.
TEST_F(SpreadTest, CloneDrawsATimeOfItsOwn) {
  start(Milliseconds(1));
  clone_this_machine();
  run_to_end();
  EXPECT_FALSE(session_.due());
}

}  // namespace
}  // namespace clonesafe::proxy
