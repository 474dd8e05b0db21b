// One TLS session in two copies of a process, as in two clones: what each would send is sealed with
// the same key and number. The guard must keep both silent; without it the wire tells the XOR of
// what they have to say.
#include <openssl/ssl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "proxy/tls/tls_stream.h"
#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

const std::string kFirstSecret = "the first clone's secret: 0123456789";
const std::string kOtherSecret = "another one: abcdefghijklmnopqrstuv!";

class TlsCloneTest : public ProxyTest, public testing::WithParamInterface<int> {
 protected:
  // A session whose server is in `server_`, over a stream that has a guard or not.
  std::unique_ptr<TlsStream> session(bool guarded) {
    make_certificate(folder_, "server.test");
    const auto client = TlsContext::client({.ca_file = folder_ / "server.test.pem",
                                            .server_name = "server.test",
                                            .lowest_version = GetParam()});
    const auto server = TlsContext::server(
        {.certificate = folder_ / "server.test.pem", .key = folder_ / "server.test.key"});
    EXPECT_TRUE(client && server);
    Pair pair = make_pair(guarded);
    wire_ = std::move(pair.other);
    server_ = server->session().value();
    SSL_set_fd(server_.get(), wire_.get());
    SSL_set_max_proto_version(server_.get(), GetParam());
    std::thread peer([this] { EXPECT_EQ(SSL_accept(server_.get()), 1); });
    auto stream = TlsStream::make(std::move(pair.stream), client->session().value(), loop_.timer());
    EXPECT_TRUE(stream);
    const auto shaken = run((*stream)->handshake());
    EXPECT_TRUE(shaken) << shaken.error().message();
    peer.join();
    return std::move(*stream);
  }
  // What a clone of this process puts on the wire when it does this.
  std::string in_clone(const std::function<void()>& act) {
    const pid_t child = ::fork();
    if (child == 0) {
      loop_.io().notify_fork(boost::asio::execution_context::fork_child);
      act();
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    return arrived(wire_);
  }

  Folder folder_;
  UniqueFd wire_;
  SslPointer server_;
};

// Everything that may make a session speak.
void speak(TlsStream& stream, Loop& loop, const std::string& text) {
  boost::asio::co_spawn(
      loop.io(),
      [&]() -> Awaitable<void> {
        [[maybe_unused]] const auto written = co_await stream.write(bytes_of(text));
        [[maybe_unused]] const auto finished = co_await stream.finish();
      },
      [](std::exception_ptr) {});
  loop.io().restart();
  loop.io().poll();
  stream.close();
}

TEST_P(TlsCloneTest, ClonesOfASessionAreSilent) {
  const auto stream = session(true);
  EXPECT_EQ(in_clone([&] { speak(*stream, loop_, kFirstSecret); }), "");
  EXPECT_EQ(in_clone([&] { speak(*stream, loop_, kOtherSecret); }), "");
  EXPECT_EQ(in_clone([&] { stream->close(); }), "") << "not even a goodbye";
  // The source goes on.
  EXPECT_TRUE(run(stream->write(bytes_of("still here"))));
  std::string got(100, '\0');
  got.resize(static_cast<std::size_t>(
      std::max(0, SSL_read(server_.get(), got.data(), static_cast<int>(got.size())))));
  EXPECT_EQ(got, "still here");
}

TEST_P(TlsCloneTest, WithoutTheGuardTheWireTellsWhatTheySay) {
  const auto stream = session(false);
  const std::string first = in_clone([&] { speak(*stream, loop_, kFirstSecret); });
  const std::string other = in_clone([&] { speak(*stream, loop_, kOtherSecret); });
  ASSERT_EQ(first.size(), other.size());
  std::string difference;
  for (std::size_t i = 0; i < first.size(); ++i)
    difference.push_back(static_cast<char>(first[i] ^ other[i]));
  std::string expected;
  for (std::size_t i = 0; i < kFirstSecret.size(); ++i)
    expected.push_back(static_cast<char>(kFirstSecret[i] ^ kOtherSecret[i]));
  EXPECT_NE(difference.find(expected), std::string::npos);
}

// A peer can make it speak: with a record that is no record.
TEST_P(TlsCloneTest, ACloneIsSilentWhateverThePeerSends) {
  const auto stream = session(true);
  const std::string garbage = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x');
  ASSERT_EQ(::send(wire_.get(), garbage.data(), garbage.size(), 0),
            static_cast<ssize_t>(garbage.size()));
  EXPECT_EQ(in_clone([&] {
              std::array<std::byte, 100> buffer;
              boost::asio::co_spawn(loop_.io(), stream->read(buffer),
                                    [](std::exception_ptr, Result<std::size_t>) {});
              loop_.io().restart();
              loop_.io().poll();
            }),
            "");
}

TEST_P(TlsCloneTest, CloneSealsNothing) {
  const auto stream = session(true);
  clone_this_machine();
  std::array<std::byte, 1> byte{};
  const auto refused = testing::HasSubstr("the TLS session is of a generation before this one");
  EXPECT_THAT(run(stream->write(bytes_of("a"))).error().message(), refused);
  EXPECT_THAT(run(stream->read(byte)).error().message(), refused);
  EXPECT_THAT(run(stream->finish()).error().message(), refused);
}

// It may be anybody's who is in between.
TEST_P(TlsCloneTest, EndThatTheServerDidNotSayIsAnError) {
  std::array<std::byte, 1> byte{};
  auto stream = session(false);
  ASSERT_EQ(SSL_shutdown(server_.get()), 0);
  EXPECT_EQ(run(stream->read(byte)).value_or(1), 0u);
  stream = session(false);
  ::shutdown(wire_.get(), SHUT_WR);
  EXPECT_THAT(run(stream->read(byte)).error().message(), testing::HasSubstr("close_notify"));
}

TEST_P(TlsCloneTest, NewHandshakeInASessionIsDeclined) {
  const auto stream = session(false);
  const bool has_them = GetParam() == TLS1_2_VERSION;
  SSL_clear_options(server_.get(), SSL_OP_NO_RENEGOTIATION);
  EXPECT_EQ(SSL_renegotiate(server_.get()) == 1, has_them);
  EXPECT_EQ(SSL_do_handshake(server_.get()), 1);
  EXPECT_EQ(SSL_write(server_.get(), "x", 1), 1);
  std::array<std::byte, 1> byte{};
  EXPECT_EQ(run(stream->read(byte)).value_or(0), 1u);
  EXPECT_TRUE(run(stream->write(bytes_of("y"))));
  const std::string alert = "\x15", data = "\x17";
  EXPECT_EQ(arrived(wire_).substr(0, 1), has_them ? alert : data);
}

// The generation moves between sealing and sending: the last moment that counts.
TEST_P(TlsCloneTest, WhatIsSealedAndNotSentStaysHere) {
  const auto stream = session(true);
  clone_this_machine();
  EXPECT_FALSE(run(stream->write(bytes_of(kFirstSecret))));
  EXPECT_EQ(arrived(wire_), "");
}

INSTANTIATE_TEST_SUITE_P(Versions, TlsCloneTest, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& version) {
                           return version.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
                         });

}  // namespace
}  // namespace clonesafe::proxy
