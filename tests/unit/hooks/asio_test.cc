// Boost.Asio programs that wait for changes.
#include "clonesafe/asio.hpp"

#include <gmock/gmock.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <thread>

#include "tests/unit/hooks/hook_fixture.h"

namespace clonesafe::laboratory {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

class AsioTest : public HookFixture {};

TEST_F(AsioTest, AWaitEndsWithTheChange) {
  asio::io_context io;
  ChangeNotifier notifier(io);
  std::vector<std::uint64_t> generations;
  notifier.async_wait_for_change([&](error_code error, Change change) {
    EXPECT_FALSE(error);
    EXPECT_EQ(change.kind, CS_KIND_RESTORE);
    EXPECT_EQ(change.old_generation, 1u);
    generations.push_back(change.new_generation);
  });
  io.poll();
  EXPECT_TRUE(generations.empty());
  change();
  EXPECT_EQ(poll(), 1);
  io.run();
  EXPECT_THAT(generations, ::testing::ElementsAre(2));
}

TEST_F(AsioTest, AChangeBetweenTwoWaitsIsNotLostAndCountsOnce) {
  asio::io_context io;
  ChangeNotifier notifier(io);
  change();
  EXPECT_EQ(poll(), 1);
  change();
  EXPECT_EQ(poll(), 1);
  int waits = 0;
  const auto count = [&](error_code error, Change change) {
    if (error) return;
    ++waits;
    EXPECT_EQ(change.new_generation, 3u);
  };
  notifier.async_wait_for_change(count);
  io.run();
  io.restart();
  notifier.async_wait_for_change(count);
  io.poll();
  EXPECT_EQ(waits, 1);
}

TEST_F(AsioTest, AWaitEndsWithItsNotifier) {
  asio::io_context io;
  error_code ended;
  {
    ChangeNotifier notifier(io);
    notifier.async_wait_for_change([&](error_code error, Change) { ended = error; });
    io.poll();
  }
  io.run();
  EXPECT_EQ(ended, asio::error::operation_aborted);
  change();
  EXPECT_EQ(poll(), 1);
  EXPECT_TRUE(hooks_report().empty());
}

TEST_F(AsioTest, FromTheWatcherThreadAfterTheOtherHooks) {
  asio::io_context io;
  ChangeNotifier notifier(io);
  std::future<Change> waited = notifier.async_wait_for_change(asio::use_future);
  const Hook other = after("other", Priority::kConnections);
  std::thread loop([&] { io.run(); });
  const Watch watch({.interval_ms = 1, .without_agent = 1});
  change();
  EXPECT_EQ(waited.get().new_generation, 2u);
  EXPECT_THAT(log_.take(), ::testing::ElementsAre("other"));
  loop.join();
}

}  // namespace
}  // namespace clonesafe::laboratory
