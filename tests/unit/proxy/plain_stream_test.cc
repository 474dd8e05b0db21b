// What a socket's readiness may hide, with the real sockets.
#include <netinet/in.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <thread>

#include "proxy/core/within.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

class PlainStreamTest : public ProxyTest {
 protected:
  static void SetUpTestSuite() { enter_network(); }

  // Over TCP.
  Pair connected() {
    int port = 0;
    const UniqueFd listener = listen_on("127.0.0.1", port);
    UniqueFd other = connect_to("127.0.0.1", port);
    Socket socket(loop_.io());
    socket.assign(boost::asio::generic::stream_protocol(AF_INET, 0),
                  accept_from(listener).release());
    return {.stream = std::make_unique<PlainStream>(std::move(socket), Guard()),
            .other = std::move(other)};
  }
  // Over TCP, to another machine.
  Pair to_far() {
    int port = 0;
    const UniqueFd listener = listen_on(kFar, port);
    Socket socket(loop_.io());
    socket.assign(boost::asio::generic::stream_protocol(AF_INET, 0),
                  connect_to(kFar, port).release());
    return {.stream = std::make_unique<PlainStream>(std::move(socket), Guard(loop_.fence())),
            .other = accept_from(listener)};
  }
  // So many bytes, or what came before the end.
  Awaitable<std::string> read_bytes(Stream& stream, std::size_t count) {
    std::string text;
    while (text.size() < count) {
      const auto got = co_await stream.read(loop_.scratch());
      if (!got) co_return text + " and then: " + got.error().message();
      if (*got == 0) co_return text + " and then the end";
      text += text_of(loop_.scratch().first(*got));
    }
    co_return text;
  }
  // A read that has begun to wait, and gets its bytes only after `meanwhile`.
  std::string read_while_waiting(Stream& stream, std::size_t count,
                                 const std::function<void()>& meanwhile) {
    boost::asio::post(loop_.io(), [&] { boost::asio::post(loop_.io(), meanwhile); });
    return run(read_bytes(stream, count));
  }
};

TEST_F(PlainStreamTest, TheEndThatCameWithTheLastBytesIsSeen) {
  auto pair = connected();
  const std::string seen = read_while_waiting(*pair.stream, 100, [&] {
    send_all(pair.other, "last words");
    ::shutdown(pair.other.get(), SHUT_WR);
  });
  EXPECT_EQ(seen, "last words and then the end");
}

TEST_F(PlainStreamTest, BytesBehindUrgentDataAreSeen) {
  auto pair = connected();
  const std::string seen = read_while_waiting(*pair.stream, 10, [&] {
    send_all(pair.other, "first");
    ASSERT_EQ(::send(pair.other.get(), "!", 1, MSG_OOB), 1);
    send_all(pair.other, "after");
  });
  EXPECT_EQ(seen, "firstafter");
}

TEST_F(PlainStreamTest, BytesBehindADescriptorThatWasPassedAreSeen) {
  auto pair = make_pair(false);
  const std::string seen = read_while_waiting(*pair.stream, 2, [&] {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec part{.iov_base = const_cast<char*>("a"), .iov_len = 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = STDERR_FILENO;
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    ASSERT_EQ(::sendmsg(pair.other.get(), &message, 0), 1);
    send_all(pair.other, "b");
  });
  EXPECT_EQ(seen, "ab");
}

TEST_F(PlainStreamTest, AResetWakesWhoeverWaits) {
  auto pair = connected();
  const std::string seen = read_while_waiting(*pair.stream, 1, [&] {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(pair.other.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    pair.other.reset();
  });
  EXPECT_THAT(seen, testing::HasSubstr("Connection reset by peer"));
}

TEST_F(PlainStreamTest, ALongWriteWaitsForASlowReader) {
  auto pair = connected();
  const std::string much(std::size_t{16} << 20, 'x');
  std::thread reader([&] { EXPECT_EQ(receive(pair.other, much.size()), much); });
  EXPECT_TRUE(run(pair.stream->write(bytes_of(much))));
  reader.join();
}

TEST_F(PlainStreamTest, AWaitThatIsCancelledEnds) {
  auto pair = connected();
  EXPECT_FALSE(
      run(within(loop_, std::chrono::milliseconds(1), pair.stream->read(loop_.scratch()))));
  // And the next one has what comes.
  EXPECT_EQ(read_while_waiting(*pair.stream, 1, [&] { send_all(pair.other, "b"); }), "b");
}

TEST_F(PlainStreamTest, OneWithMuchToReadLeavesOthersTheirTurn) {
  constexpr std::size_t kMany = 1000;
  auto pair = connected();
  send_all(pair.other, std::string(kMany, 'x'));
  std::size_t count = 0, count_at_turn = 0;
  const auto read_all = [&]() -> Awaitable<bool> {
    boost::asio::post(loop_.io(), [&] { count_at_turn = count; });
    while (count < kMany) {
      const auto got = co_await pair.stream->read(loop_.scratch().first(1));
      if (!got || *got == 0) co_return false;
      ++count;
    }
    co_return true;
  };
  EXPECT_TRUE(run(read_all()));
  EXPECT_LT(count_at_turn, kMany / 2);
}

TEST_F(PlainStreamTest, AnEventLoopEndsWhenNobodyWaits) {
  auto pair = connected();
  EXPECT_EQ(read_while_waiting(*pair.stream, 1, [&] { send_all(pair.other, "a"); }), "a");
  // Somebody waits, and gives up.
  EXPECT_FALSE(
      run(within(loop_, std::chrono::milliseconds(1), pair.stream->read(loop_.scratch()))));
  loop_.io().restart();
  loop_.io().run_for(std::chrono::seconds(20));
  EXPECT_TRUE(loop_.io().stopped()) << "it ran out of time, not of work";
}

TEST_F(PlainStreamTest, CloneSaysNothing) {
  auto pair = to_far();
  clone_this_machine();
  EXPECT_FALSE(run(pair.stream->write(bytes_of("a"))));
  EXPECT_FALSE(run(pair.stream->finish()));
  EXPECT_FALSE(pair.stream->quiet()) << "it could be used";
  EXPECT_TRUE(sees_nothing(pair.other));
}

// What its socket has taken is the kernel's; the rest stays here.
TEST_F(PlainStreamTest, CloneDoesNotSendTheRestOfALongWrite) {
  auto pair = to_far();
  const std::string much(std::size_t{16} << 20, 'x');
  std::optional<bool> written;
  boost::asio::co_spawn(
      loop_.io(), pair.stream->write(bytes_of(much)),
      [&](const std::exception_ptr&, const Status& done) { written = done.has_value(); });
  loop_.io().poll();
  ASSERT_FALSE(written);
  clone_this_machine();
  std::size_t taken = 0;
  std::thread reader([&] { taken = receive(pair.other, much.size()).size(); });
  while (!written && loop_.io().run_one_for(std::chrono::seconds(20)) != 0) {
  }
  EXPECT_EQ(written, false);
  ::shutdown(pair.other.get(), SHUT_RD);
  reader.join();
  EXPECT_LT(taken, much.size());
}

TEST_F(PlainStreamTest, CloneTakesNothing) {
  auto waits = to_far();
  const std::string seen = read_while_waiting(*waits.stream, 1, [&] {
    clone_this_machine();
    send_all(waits.other, "a");
  });
  EXPECT_THAT(seen, testing::HasSubstr("of a generation before this one"));
  auto later = to_far();
  clone_this_machine();
  // Without waiting for what may never come.
  EXPECT_THAT(run(read_bytes(*later.stream, 1)),
              testing::HasSubstr("of a generation before this one"));
}

TEST(PlainStreamEndTest, AnEventLoopTakesThoseWhoWaitWithIt) {
  std::weak_ptr<int> held;
  {
    Loop loop;
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    const UniqueFd other(ends[1]);
    Socket socket(loop.io());
    socket.assign(boost::asio::generic::stream_protocol(AF_UNIX, 0), ends[0]);
    const auto wait = [&loop](Socket mine, std::shared_ptr<int>) -> Awaitable<void> {
      PlainStream stream(std::move(mine), Guard());
      [[maybe_unused]] const auto none = co_await stream.read(loop.scratch());
    };
    auto sentinel = std::make_shared<int>(0);
    held = sentinel;
    boost::asio::co_spawn(loop.io(), wait(std::move(socket), std::move(sentinel)),
                          boost::asio::detached);
    loop.io().poll();
    EXPECT_FALSE(held.expired());
  }
  EXPECT_TRUE(held.expired());
}

}  // namespace
}  // namespace clonesafe::proxy
