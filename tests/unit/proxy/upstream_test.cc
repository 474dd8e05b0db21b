// How an upstream is reached that many want at once, or that is down: who goes first, who waits,
// and who is told at once.
#include "proxy/upstream/upstream.h"

#include <boost/asio/detached.hpp>

#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

using testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

TEST(TokenBucket, GivesSoManyAtOnceAndThenSoManyASecond) {
  TokenBucket bucket(10, 3);
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(bucket.next(begin), begin);
    bucket.take(begin);
  }
  EXPECT_EQ(bucket.next(begin), begin + milliseconds(100));
  bucket.take(begin + milliseconds(100));
  EXPECT_EQ(bucket.next(begin + milliseconds(100)), begin + milliseconds(200));
  // After a rest no more than that.
  const Clock::time_point later = begin + std::chrono::hours(1);
  for (int i = 0; i < 3; ++i) bucket.take(later);
  EXPECT_EQ(bucket.next(later), later + milliseconds(100));
  bucket.refill();
  EXPECT_EQ(bucket.next(later), later);
}

TEST(TokenBucket, WithoutARateThereIsNoLimit) {
  TokenBucket bucket(0, 0);
  const Clock::time_point now = Clock::now();
  for (int i = 0; i < 1'000; ++i) bucket.take(now);
  EXPECT_EQ(bucket.next(now), now);
}

TEST(Breaker, OpensAfterSoManyFailuresInARowAndLetsOneTry) {
  const std::optional<BreakerConfig> config =
      BreakerConfig{.failures = 2, .open = milliseconds(50)};
  Breaker breaker(config);
  const Clock::time_point now = Clock::now();
  EXPECT_FALSE(breaker.failed(now, breaker.begin()));
  breaker.begin();
  breaker.succeeded();
  EXPECT_FALSE(breaker.failed(now, breaker.begin())) << "they were not in a row";
  EXPECT_FALSE(breaker.refuses(now));
  EXPECT_TRUE(breaker.failed(now, breaker.begin()));
  EXPECT_TRUE(breaker.refuses(now));
  EXPECT_FALSE(breaker.failed(now + milliseconds(40), false)) << "one that was under way";
  const Clock::time_point due = now + milliseconds(50);
  EXPECT_FALSE(breaker.refuses(due));
  const bool decides = breaker.begin();
  EXPECT_TRUE(breaker.refuses(due)) << "one at a time";
  EXPECT_FALSE(breaker.failed(due, decides)) << "it was open already";
  EXPECT_TRUE(breaker.refuses(due + milliseconds(49)));
  EXPECT_FALSE(breaker.refuses(due + milliseconds(50)));
  breaker.begin();
  breaker.succeeded();
  EXPECT_FALSE(breaker.open());
}

TEST(Retries, ThoseThatFailTogetherPauseOnce) {
  Retries retries;
  const Clock::time_point now = Clock::now();
  retries.failed(now, false);
  const auto first = retries.next();
  EXPECT_LE(first, now + milliseconds(50));
  if (first > now) {
    for (int i = 0; i < 100; ++i) retries.failed(now, false);
    EXPECT_EQ(retries.next(), first);
  }
  EXPECT_TRUE(retries.due(first));
  retries.try_one();
  EXPECT_FALSE(retries.due(first + std::chrono::hours(1))) << "one of them tries";
  retries.failed(first, true);
  EXPECT_TRUE(retries.due(first + milliseconds(100)));
  retries.succeeded();
  EXPECT_FALSE(retries.failing());
}

class UpstreamTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { enter_network(); }

  // Of an address where somebody listens, or nobody.
  Upstream& upstream(UpstreamConfig config, bool listens, const std::string& host = kFar,
                     const TlsContext* tls = nullptr, Upstream::RequestTls request_tls = nullptr) {
    listener_ = listen_on(host, port_);
    if (!listens) listener_.reset();
    config_ = std::make_shared<UpstreamConfig>(std::move(config));
    config_->addresses = {parse_address(host + ":" + std::to_string(port_)).value()};
    upstream_ = std::make_shared<Upstream>(loop_, *config_, tls, request_tls);
    return *upstream_;
  }

  // What became of somebody's wish.
  struct Wanted {
    bool over = false;
    std::shared_ptr<Stream> stream;
    std::string error;
  };
  std::shared_ptr<Wanted> want(milliseconds hold, const bool* urgent = nullptr) {
    auto wanted = std::make_shared<Wanted>();
    boost::asio::co_spawn(loop_.io(), want_for(config_, upstream_, wanted, hold, urgent),
                          boost::asio::detached);
    return wanted;
  }
  // Whoever waits at the test's end keeps what he waits for.
  Awaitable<void> want_for(std::shared_ptr<UpstreamConfig> /*config*/,
                           std::shared_ptr<Upstream> upstream, std::shared_ptr<Wanted> wanted,
                           milliseconds hold, const bool* urgent) {
    const Upstream::Wish wish{.hold = hold, .urgent = urgent};
    auto connected = co_await upstream->connect(wish);
    wanted->over = true;
    order_.push_back(wanted.get());
    if (connected) {
      wanted->stream = std::move(*connected);
    } else {
      wanted->error = connected.error().message();
    }
  }
  // Until this is true.
  template <typename Condition>
  void run_until(Condition condition) {
    loop_.io().restart();
    while (!condition() && loop_.io().run_one_for(std::chrono::seconds(20)) != 0) {
    }
    EXPECT_TRUE(condition()) << "it waits for ever";
  }
  // All that can be done without waiting.
  void run_what_is_ready() {
    loop_.io().restart();
    loop_.io().poll();
  }
  std::uint64_t attempts() const {
    return upstream_->counts().connects.count + upstream_->counts().failed_connects;
  }

  static constexpr milliseconds kLong{600'000};
  int port_ = 0;
  UniqueFd listener_;
  std::shared_ptr<UpstreamConfig> config_;
  std::shared_ptr<Upstream> upstream_;
  std::vector<Wanted*> order_;
};

// It takes connections and says nothing, so that an attempt lasts.
TEST_F(UpstreamTest, ThoseThatWaitTryTogether) {
  const TlsContext tls = TlsContext::client({.verify = false}).value();
  upstream({.connect_timeout = milliseconds(20)}, true, kFar, &tls);
  std::vector<std::shared_ptr<Wanted>> all;
  for (int i = 0; i < 10; ++i) all.push_back(want(milliseconds(400)));
  run_until([&] { return attempts() == 10; });
  // Each had its first attempt; from now on one of them tries for all.
  std::uint64_t most = 0;
  run_until([&] {
    most = std::max(most, upstream_->traffic().open);
    return attempts() >= 13 || std::ranges::all_of(all, [](const auto& one) { return one->over; });
  });
  EXPECT_EQ(most, 1u);
  run_until([&] { return std::ranges::all_of(all, [](const auto& one) { return one->over; }); });
}

TEST_F(UpstreamTest, AllAreServedWhenOneOfThemGetsThrough) {
  upstream({}, false);
  std::vector<std::shared_ptr<Wanted>> all;
  for (int i = 0; i < 10; ++i) all.push_back(want(kLong));
  run_until([&] { return attempts() == 10; });
  listener_ = listen_on(kFar, port_);
  run_until([&] { return std::ranges::all_of(all, [](const auto& one) { return one->over; }); });
  for (const auto& one : all) EXPECT_TRUE(one->stream) << one->error;
}

TEST_F(UpstreamTest, WaitsNoLongerThanItWasTold) {
  upstream({}, false);
  const auto first = want(kLong);
  const auto second = want(milliseconds(0));
  run_until([&] { return second->over; });
  EXPECT_THAT(second->error, HasSubstr("Connection refused"));
  EXPECT_FALSE(first->over);
}

TEST_F(UpstreamTest, BreakerRefusesAtOnceUntilOneGotThrough) {
  upstream({.breaker = BreakerConfig{.failures = 3, .open = milliseconds(200)}}, false);
  const auto waits = want(kLong);
  run_until([&] { return waits->over; });
  EXPECT_THAT(waits->error, HasSubstr("circuit breaker"));
  EXPECT_EQ(attempts(), 3u);
  EXPECT_TRUE(upstream_->breaker_open());
  const auto next = want(kLong);
  run_what_is_ready();
  EXPECT_THAT(next->error, HasSubstr("circuit breaker"));
  EXPECT_EQ(attempts(), 3u) << "it was tried";
  EXPECT_EQ(upstream_->counts().breaker_opened, 1u);
  EXPECT_EQ(upstream_->counts().breaker_refused, 2u);
  listener_ = listen_on(kFar, port_);
  std::shared_ptr<Wanted> trial;
  while (!trial || !trial->stream) {
    trial = want(milliseconds(0));
    run_until([&] { return trial->over; });
  }
  EXPECT_FALSE(upstream_->breaker_open());
}

TEST_F(UpstreamTest, CloneKnowsNothingOfItsParentsFailures) {
  upstream({.breaker = BreakerConfig{.failures = 1, .open = kLong}}, false);
  const auto refused = want(kLong);
  run_until([&] { return refused->over; });
  EXPECT_TRUE(upstream_->breaker_open());
  listener_ = listen_on(kFar, port_);
  clone_this_machine();
  const auto own = want(milliseconds(0));
  run_until([&] { return own->over; });
  EXPECT_TRUE(own->stream) << own->error;
  EXPECT_FALSE(upstream_->breaker_open());
}

// It doesn't wait for the end of its parent's pause.
TEST_F(UpstreamTest, CloneOfOneThatWaitsTriesAtOnce) {
  upstream({}, false);
  const auto waits = want(kLong);
  run_until([&] { return attempts() == 6; });
  run_what_is_ready();
  const auto before = attempts();
  listener_ = listen_on(kFar, port_);
  clone_this_machine();
  upstream_->turn_generation();
  // A loopback connection is there as soon as it is asked for.
  for (int i = 0; i < 3; ++i) run_what_is_ready();
  ASSERT_TRUE(waits->over) << "it waits for its parent's pause";
  EXPECT_TRUE(waits->stream);
  EXPECT_EQ(attempts(), before + 1);
}

// Nobody is told what became of it: it was its parent's.
TEST_F(UpstreamTest, CloneDoesNotWaitForItsParentsAttempt) {
  const TlsContext tls = TlsContext::client({.verify = false}).value();
  upstream({.connect_timeout = kLong}, false, kFar, &tls);
  const auto parents = want(kLong);
  run_until([&] { return attempts() == 1; });
  // It takes connections and says nothing, so that the second attempt is under way.
  listener_ = listen_on(kFar, port_);
  run_until([&] { return upstream_->traffic().open == 1; });
  clone_this_machine();
  upstream_->turn_generation();
  const bool no = false;
  const auto own = want(kLong, &no);
  for (int i = 0; i < 3; ++i) run_what_is_ready();
  EXPECT_EQ(upstream_->traffic().open, 2u);
  EXPECT_FALSE(parents->over || own->over);
}

TEST_F(UpstreamTest, WhatBecameOfItsParentsAttemptSaysNothingToAClone) {
  const TlsContext tls = TlsContext::client({.verify = false}).value();
  upstream(
      {.connect_timeout = milliseconds(50), .breaker = BreakerConfig{.failures = 1, .open = kLong}},
      true, kFar, &tls);
  const auto waits = want(kLong);
  run_until([&] { return upstream_->traffic().open == 1; });
  clone_this_machine();
  upstream_->turn_generation();
  run_until([&] { return attempts() == 1; });
  EXPECT_FALSE(upstream_->breaker_open());
}

TEST_F(UpstreamTest, WhatNobodyWaitsForEndsInAClone) {
  upstream({.max_connections = 1}, true);
  const bool no = false;
  const auto first = want(kLong), warm = want(kLong, &no);
  run_until([&] { return first->over; });
  clone_this_machine();
  upstream_->turn_generation();
  run_until([&] { return warm->over; });
  EXPECT_EQ(warm->error, "the machine was cloned");
  EXPECT_EQ(attempts(), 1u);
}

TEST_F(UpstreamTest, OneThatWaitsHasAPlaceInTheClone) {
  upstream({.max_connections = 1}, false);
  const auto waits = want(kLong);
  run_until([&] { return attempts() == 2; });
  listener_ = listen_on(kFar, port_);
  clone_this_machine();
  upstream_->turn_generation();
  run_until([&] { return waits->over; });
  ASSERT_TRUE(waits->stream) << waits->error;
  const auto other = want(milliseconds(10));
  run_until([&] { return other->over; });
  EXPECT_THAT(other->error, HasSubstr("max_connections"));
}

// The machine is cloned between the moment at which it is given, and that at which it is taken.
TEST_F(UpstreamTest, ConnectionThatIsGivenIsNoneOfTheParents) {
  upstream({.max_connections = 1}, true);
  const auto first = want(kLong), second = want(kLong);
  run_until([&] { return first->over; });
  run_what_is_ready();
  ASSERT_TRUE(upstream_->give(first->stream, {}));
  clone_this_machine();
  run_until([&] { return second->over; });
  ASSERT_TRUE(second->stream) << second->error;
  EXPECT_NE(second->stream, first->stream);
  EXPECT_FALSE(second->stream->stale());
}

TEST_F(UpstreamTest, NothingIsGivenWhileItIsParked) {
  upstream({.max_connections = 1}, true);
  const auto first = want(kLong), second = want(kLong);
  run_until([&] { return first->over; });
  run_what_is_ready();
  upstream_->park();
  EXPECT_FALSE(upstream_->give(first->stream, {}));
  upstream_->unpark();
  EXPECT_TRUE(upstream_->give(first->stream, {}));
}

// Where there is no memory.
TEST_F(UpstreamTest, AttemptThatIsGivenUpIsAFailedOneToAllWhoWait) {
  const TlsContext tls = TlsContext::client({.verify = false}).value();
  upstream({}, true, kFar, &tls, [](Stream&) -> Awaitable<Status> {
    throw std::bad_alloc();
    co_return Status();
  });
  const auto first = want(milliseconds(0)), second = want(milliseconds(0));
  run_until([&] { return first->over && second->over; });
  EXPECT_THAT(first->error, HasSubstr("bad_alloc"));
  EXPECT_THAT(second->error, HasSubstr("bad_alloc"));
}

// A connection that no application waits for is opened at a random time.
class SpreadTest : public UpstreamTest {
 protected:
  SpreadTest() : timer_(loop_.timer()) {}

  void begin(milliseconds spread) {
    upstream({.spread = spread}, false);
    boost::asio::co_spawn(loop_.io(), wait(), boost::asio::detached);
    run_until([&] { return waits_; });
  }
  Awaitable<void> wait() {
    waits_ = true;
    due_ = co_await upstream_->wait_for_spread(timer_);
    waits_ = false;
  }

  boost::asio::steady_timer timer_;
  bool waits_ = false, due_ = false;
};

TEST_F(SpreadTest, IsWaitedForUntilThereIsSomethingElseToDo) {
  begin(milliseconds(80'000'000));
  run_what_is_ready();
  EXPECT_TRUE(waits_);
  timer_.cancel();
  run_until([&] { return !waits_; });
  EXPECT_FALSE(due_);
}

TEST_F(SpreadTest, IsOverAtItsEnd) {
  begin(milliseconds(1));
  run_until([&] { return !waits_; });
  EXPECT_TRUE(due_);
}

// All clones of one that waits would come at the time that it drew.
TEST_F(SpreadTest, CloneDrawsATimeOfItsOwn) {
  begin(milliseconds(1));
  clone_this_machine();
  run_until([&] { return !waits_; });
  EXPECT_FALSE(due_);
}

TEST_F(UpstreamTest, WhatIsWaitedForIsConnectedFirst) {
  upstream({.connect_rate = 20, .connect_burst = 1}, true);
  const bool no = false;
  const auto first = want(kLong);
  const auto warm = want(kLong, &no);
  const auto other_warm = want(kLong, &no);
  const auto urgent = want(kLong);
  run_until([&] { return first->over; });
  EXPECT_EQ(order_.size(), 1u) << "more than the rate lets";
  run_until([&] { return order_.size() == 4; });
  EXPECT_THAT(order_,
              testing::ElementsAre(first.get(), urgent.get(), warm.get(), other_warm.get()));
}

TEST_F(UpstreamTest, WhoBecomesUrgentGoesFirst) {
  upstream({.connect_rate = 10, .connect_burst = 1}, true);
  const bool no = false;
  bool later = false;
  const auto first = want(kLong);
  const auto warm = want(kLong, &no);
  const auto other = want(kLong, &later);
  run_until([&] { return first->over; });
  later = true;
  run_until([&] { return order_.size() == 3; });
  EXPECT_THAT(order_, testing::ElementsAre(first.get(), other.get(), warm.get()));
}

TEST_F(UpstreamTest, WhoGetsNoTurnInTimeIsToldWhy) {
  upstream({.connect_rate = 1, .connect_burst = 1}, true);
  const auto first = want(kLong);
  const auto second = want(milliseconds(10));
  run_until([&] { return second->over; });
  EXPECT_TRUE(first->stream);
  EXPECT_THAT(second->error, HasSubstr("connect_rate"));
}

TEST_F(UpstreamTest, CloneHasAFullBurst) {
  upstream({.connect_rate = 1, .connect_burst = 2}, true);
  const auto first = want(kLong), second = want(kLong);
  run_until([&] { return order_.size() == 2; });
  clone_this_machine();
  const auto third = want(milliseconds(10)), fourth = want(milliseconds(10));
  run_until([&] { return order_.size() == 4; });
  EXPECT_TRUE(third->stream) << third->error;
  EXPECT_TRUE(fourth->stream) << fourth->error;
}

TEST_F(UpstreamTest, ThereAreSoManyConnectionsAndTheRestWaitInTurn) {
  upstream({.max_connections = 2}, true);
  const auto first = want(kLong), second = want(kLong), third = want(kLong), fourth = want(kLong);
  run_until([&] { return order_.size() == 2; });
  run_what_is_ready();
  EXPECT_EQ(order_.size(), 2u);
  EXPECT_EQ(upstream_->traffic().open, 2u);
  first->stream.reset();
  run_until([&] { return third->over; });
  EXPECT_FALSE(fourth->over);
  second->stream->close();
  run_until([&] { return fourth->over; });
  EXPECT_TRUE(third->stream && fourth->stream);
  EXPECT_EQ(upstream_->traffic().open, 2u);
}

TEST_F(UpstreamTest, WhoGetsNoPlaceInTimeIsToldWhyAndIsNoMoreInTheWay) {
  upstream({.max_connections = 1}, true);
  const auto first = want(kLong), hasty = want(milliseconds(10)), patient = want(kLong);
  run_until([&] { return hasty->over; });
  EXPECT_THAT(hasty->error, HasSubstr("max_connections"));
  EXPECT_EQ(upstream_->counts().limit_refused, 1u);
  first->stream.reset();
  run_until([&] { return patient->over; });
  EXPECT_TRUE(patient->stream);
}

TEST_F(UpstreamTest, PlaceOfAConnectThatFailedIsFree) {
  upstream({.max_connections = 1}, false);
  const auto first = want(milliseconds(0));
  run_until([&] { return first->over; });
  listener_ = listen_on(kFar, port_);
  const auto second = want(kLong);
  run_until([&] { return second->over; });
  EXPECT_TRUE(second->stream) << second->error;
}

TEST_F(UpstreamTest, CloneDoesNotCountItsParentsConnections) {
  upstream({.max_connections = 1}, true);
  const auto parents = want(kLong), waits = want(kLong);
  run_until([&] { return parents->over; });
  clone_this_machine();
  upstream_->turn_generation();
  run_until([&] { return waits->over; });
  EXPECT_TRUE(waits->stream);
  const auto next = want(milliseconds(10));
  // The parent's place is no place in the clone.
  parents->stream.reset();
  run_until([&] { return next->over; });
  EXPECT_THAT(next->error, HasSubstr("max_connections"));
}

// Its other end was cloned along.
TEST_F(UpstreamTest, CloneCountsConnectionsInsideTheMachine) {
  upstream({.max_connections = 1}, true, "127.0.0.1");
  const auto first = want(kLong);
  run_until([&] { return first->over; });
  clone_this_machine();
  const auto next = want(milliseconds(10));
  run_until([&] { return next->over; });
  EXPECT_THAT(next->error, HasSubstr("max_connections"));
  first->stream.reset();
  const auto later = want(kLong);
  run_until([&] { return later->over; });
  EXPECT_TRUE(later->stream);
}

TEST_F(UpstreamTest, NobodyIsConnectedOrRefusedWhileItIsParked) {
  upstream({}, true);
  upstream_->park();
  const auto waits = want(milliseconds(1));
  // Its time is over before that of this one, which is of the same event loop.
  bool later = false;
  boost::asio::steady_timer timer = loop_.timer();
  timer.expires_after(milliseconds(5));
  timer.async_wait([&](const boost::system::error_code&) { later = true; });
  run_until([&] { return later; });
  EXPECT_FALSE(waits->over);
  upstream_->unpark();
  run_until([&] { return waits->over; });
  EXPECT_TRUE(waits->stream) << waits->error;
}

}  // namespace
}  // namespace clonesafe::proxy
