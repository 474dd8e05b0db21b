// Connections that are shared, and when they are given up, so that others find a place at the
// server.
#include "proxy/protocols/postgres/server_pool.h"

#include <thread>

#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

using postgres::ServerPool;
using Milliseconds = std::chrono::milliseconds;
using Clock = ServerPool::Clock;

class PostgresServerPoolTest : public ProxyTest {
 protected:
  static constexpr Milliseconds kSome{100}, kHour{3'600'000}, kDay{24 * kHour};

  PostgresServerPoolTest() {
    config_.upstream.max_connections = 1;
    config_.upstream.idle = kDay;
  }
  std::unique_ptr<ServerPool::Loan> lent() {
    Pair pair = make_pair(false);
    server_ = std::move(pair.other);
    auto server = std::make_unique<postgres::SharedServer>();
    server->backend.stream = std::move(pair.stream);
    return std::make_unique<ServerPool::Loan>(
        ServerPool::Loan{.place = ServerPool::Place(pool_), .server = std::move(server)});
  }
  // So that it is older than that.
  static void wait_out(Milliseconds age) {
    const auto until = Clock::now() + age;
    while (Clock::now() <= until) std::this_thread::yield();
  }
  bool was_given_up() {
    loop_.io().restart();
    loop_.io().poll();
    return arrived(server_) == std::string("X\0\0\0\4", 5);
  }

  ServiceConfig config_;
  ServerPool pool_{loop_, config_, [] { return nullptr; }};
  UniqueFd server_;
};

// And not with the next look at all sockets, of which there is one a second.
TEST_F(PostgresServerPoolTest, IdleOneIsGivenUpAtTheFirstLookAfterItsTime) {
  config_.upstream.idle = kSome;
  pool_.give_back(lent());
  const auto now = Clock::now();
  pool_.look(now);
  EXPECT_FALSE(was_given_up());
  pool_.look(now + kSome + Milliseconds(1));
  EXPECT_TRUE(was_given_up());
}

TEST_F(PostgresServerPoolTest, IdleOneIsGivenUpAtTheEndOfItsLife) {
  config_.upstream.lifetime = kHour;
  pool_.give_back(lent());
  const auto now = Clock::now();
  pool_.look(now);
  EXPECT_FALSE(was_given_up());
  pool_.look(now + kHour + Milliseconds(1));
  EXPECT_TRUE(was_given_up());
}

TEST_F(PostgresServerPoolTest, OldOneIsNotLentAgain) {
  config_.upstream.max_connections = 2;
  pool_.give_back(lent());
  config_.upstream.lifetime = Milliseconds(1);
  wait_out(config_.upstream.lifetime);
  Pair application = make_pair(false);
  ServerPool::Waiter waiter(loop_);
  const auto loan = run(pool_.borrow(waiter, {}, *application.stream));
  ASSERT_TRUE(loan);
  EXPECT_FALSE(loan->server);
  EXPECT_TRUE(was_given_up());
}

// And not all of it once more.
TEST_F(PostgresServerPoolTest, WhoeverWaitedHasTheRestOfItsTimeToLogIn) {
  config_.hold = kHour;
  auto place = std::make_unique<ServerPool::Place>(pool_);
  Pair application = make_pair(false);
  ServerPool::Waiter waiter(loop_);
  const std::string key;
  bool served = false;
  boost::asio::co_spawn(loop_.io(), pool_.borrow(waiter, key, *application.stream),
                        [&](const std::exception_ptr&, auto loan) { served = loan != nullptr; });
  loop_.io().poll();
  const auto asked = Clock::now();
  wait_out(Milliseconds(1));
  place.reset();
  loop_.io().restart();
  loop_.io().poll();
  EXPECT_TRUE(served);
  EXPECT_LE(waiter.until(), asked + kHour);
}

// Nor with a connection that fits nobody before it.
TEST_F(PostgresServerPoolTest, NobodyIsServedBeforeThoseWhoWait) {
  config_.upstream.max_connections = 2;
  config_.hold = kHour;
  pool_.give_back(lent());
  const UniqueFd other = std::move(server_);
  pool_.give_back(lent());
  Pair application = make_pair(false);
  ServerPool::Waiter first(loop_), second(loop_);
  const std::string another_users = "another user's", key;
  std::string order;
  const auto borrow = [&](ServerPool::Waiter& waiter, const std::string& whose, char sign) {
    boost::asio::co_spawn(loop_.io(), pool_.borrow(waiter, whose, *application.stream),
                          [&order, sign](const std::exception_ptr&, auto) { order += sign; });
    loop_.io().restart();
    loop_.io().poll();
  };
  borrow(first, another_users, '1');
  borrow(second, key, '2');
  EXPECT_EQ(order, "");
  // One of the idle ones is ended for it.
  ::shutdown(other.get(), SHUT_RDWR);
  ::shutdown(server_.get(), SHUT_RDWR);
  while (order.empty() && loop_.io().run_one_for(std::chrono::seconds(20)) != 0) {
  }
  EXPECT_EQ(order[0], '1');
}

TEST_F(PostgresServerPoolTest, WhoeverLeftWhenItsTurnCameLeavesItToOthers) {
  config_.hold = kHour;
  auto place = std::make_unique<ServerPool::Place>(pool_);
  Pair application = make_pair(false);
  ServerPool::Waiter waiter(loop_), next(loop_);
  const std::string key;
  std::optional<bool> served;
  boost::asio::co_spawn(loop_.io(), pool_.borrow(waiter, key, *application.stream),
                        [&](const std::exception_ptr&, auto loan) { served = loan != nullptr; });
  loop_.io().poll();
  place.reset();
  waiter.cancel();
  EXPECT_TRUE(run(pool_.borrow(next, key, *application.stream)));
  EXPECT_EQ(served, false);
}

TEST_F(PostgresServerPoolTest, CloneAsksItsOwnServerWhatItTells) {
  pool_.keep_welcome("of these", {{"server_version", "15"}});
  ASSERT_TRUE(pool_.welcome("of these"));
  pool_.fence();
  EXPECT_FALSE(pool_.welcome("of these"));
}

TEST_F(PostgresServerPoolTest, OldOneOfAServerThatWasFullIsLeftToOthersForAWhile) {
  config_.upstream.lifetime = Milliseconds(1);
  const auto give_back_old = [this] {
    auto loan = lent();
    wait_out(config_.upstream.lifetime);
    pool_.give_back(std::move(loan));
    EXPECT_TRUE(was_given_up());
  };
  give_back_old();
  EXPECT_EQ(pool_.opens_from(), Clock::time_point()) << "nobody waits for its place";
  pool_.found_full();
  pool_.let_in(false);
  give_back_old();
  EXPECT_NE(pool_.opens_from(), Clock::time_point());
  pool_.fence();
  EXPECT_EQ(pool_.opens_from(), Clock::time_point()) << "what a parent found says nothing";
  pool_.found_full();
  pool_.let_in(true);
  give_back_old();
  EXPECT_EQ(pool_.opens_from(), Clock::time_point()) << "it is full no more";
}

}  // namespace
}  // namespace clonesafe::proxy
