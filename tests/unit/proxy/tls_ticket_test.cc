// TLS sessions that are gone on with: within a generation, and never in a clone.
#include <openssl/ssl.h>

#include <atomic>
#include <thread>

#include "proxy/tls/tickets.h"
#include "proxy/tls/tls_stream.h"
#include "proxy/upstream/upstream.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/proxy_fixture.h"

namespace clonesafe::proxy {
namespace {

// What a server sees of one connection.
struct Greeting {
  bool takes_tickets = false;  // it has the extension by which TLS 1.2 asks for one
  bool offers_ticket = false;
  bool offers_early_data = false;
  bool resumed = false;
};

// A server that gives tickets, one connection after the other.
class TicketServer {
 public:
  TicketServer(const Folder& folder, int version) : listener_(listen_on(kFar, port_)) {
    make_certificate(folder, "server.test");
    context_.reset(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_set_max_proto_version(context_.get(), version);
    EXPECT_EQ(
        SSL_CTX_use_certificate_chain_file(context_.get(), (folder / "server.test.pem").c_str()),
        1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey_file(context_.get(), (folder / "server.test.key").c_str(),
                                          SSL_FILETYPE_PEM),
              1);
    // It would take early data, and has no memory of its tickets.
    SSL_CTX_set_max_early_data(context_.get(), 16'384);
    SSL_CTX_set_options(context_.get(), SSL_OP_NO_ANTI_REPLAY);
    SSL_CTX_set_client_hello_cb(context_.get(), look, this);
  }
  int port() const { return port_; }

  // Serves one: says a byte, and waits for the end.
  void serve() {
    const UniqueFd fd = accept_from(listener_);
    const SslPointer ssl(SSL_new(context_.get()));
    SSL_set_fd(ssl.get(), fd.get());
    EXPECT_EQ(SSL_accept(ssl.get()), 1);
    seen_.resumed = SSL_session_reused(ssl.get()) == 1;
    EXPECT_EQ(SSL_write(ssl.get(), "x", 1), 1);
    char byte = 0;
    EXPECT_LE(SSL_read(ssl.get(), &byte, 1), 0);
  }
  void give_no_more_tickets() { SSL_CTX_set_num_tickets(context_.get(), 0); }
  Greeting take() { return std::exchange(seen_, {}); }

 private:
  static int look(SSL* ssl, int*, void* self) {
    Greeting& seen = static_cast<TicketServer*>(self)->seen_;
    const unsigned char* bytes = nullptr;
    std::size_t size = 0;
    seen.takes_tickets =
        SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_session_ticket, &bytes, &size) == 1;
    seen.offers_ticket = (seen.takes_tickets && size != 0) ||
                         SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &bytes, &size) == 1;
    seen.offers_early_data =
        SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_early_data, &bytes, &size) == 1;
    return SSL_CLIENT_HELLO_SUCCESS;
  }

  int port_ = 0;
  UniqueFd listener_;
  std::unique_ptr<SSL_CTX, FreeSsl> context_;
  Greeting seen_;
};

class TlsTicketTest : public ProxyTest, public testing::WithParamInterface<int> {
 protected:
  static void SetUpTestSuite() { enter_network(); }

  void start(TicketUse use) {
    server_.emplace(folder_, GetParam());
    config_.addresses = {
        parse_address(std::string(kFar) + ":" + std::to_string(server_->port())).value()};
    context_.emplace(
        TlsContext::client(
            {.ca_file = folder_ / "server.test.pem", .server_name = "server.test", .tickets = use})
            .value());
    upstream_.emplace(loop_, config_, &*context_);
  }
  // Both ends of one connection, and what the server saw.
  Greeting connect() {
    std::thread server([this] { server_->serve(); });
    EXPECT_EQ(run(exchange()), "x");
    server.join();
    return server_->take();
  }
  Awaitable<std::string> exchange() {
    const Upstream::Wish wish{.hold = std::chrono::milliseconds(0)};
    auto connected = co_await upstream_->connect(wish);
    if (!connected) co_return connected.error().message();
    std::array<std::byte, 10> buffer{};
    const auto count = co_await (*connected)->read(buffer);
    // A goodbye, as a session makes it.
    [[maybe_unused]] const auto told = co_await (*connected)->finish();
    (*connected)->close();
    co_return count ? text_of(std::span(buffer).first(*count)) : count.error().message();
  }

  Folder folder_;
  UpstreamConfig config_;
  std::optional<TicketServer> server_;
  std::optional<TlsContext> context_;
  std::optional<Upstream> upstream_;
};

TEST_P(TlsTicketTest, NextConnectionGoesOnWithTheSession) {
  start(TicketUse::kFresh);
  const Greeting first = connect();
  EXPECT_TRUE(first.takes_tickets);
  EXPECT_FALSE(first.offers_ticket);
  for (int i = 0; i < 5; ++i) {
    const Greeting next = connect();
    EXPECT_TRUE(next.offers_ticket) << "connection " << i;
    EXPECT_TRUE(next.resumed) << "connection " << i;
    EXPECT_FALSE(next.offers_early_data);
  }
  EXPECT_EQ(upstream_->counts().tls_resumed, 5u);
  EXPECT_EQ(upstream_->counts().tls_handshakes, 6u);
}

// In TLS 1.2 the same one is good for all.
TEST_P(TlsTicketTest, NoTicketIsUsedTwice) {
  start(TicketUse::kFresh);
  connect();
  server_->give_no_more_tickets();
  // The first connection got two.
  EXPECT_TRUE(connect().offers_ticket);
  EXPECT_TRUE(connect().offers_ticket);
  EXPECT_EQ(connect().offers_ticket, GetParam() == TLS1_2_VERSION);
}

TEST_P(TlsTicketTest, CloneOffersNoTicketOfItsParent) {
  start(TicketUse::kFresh);
  connect();
  clone_this_machine();
  const Greeting own = connect();
  EXPECT_FALSE(own.offers_ticket);
  EXPECT_FALSE(own.resumed);
  EXPECT_TRUE(connect().resumed) << "by its own";
}

TEST_P(TlsTicketTest, SourceAfterItsSnapshotGoesOn) {
  start(TicketUse::kFresh);
  connect();
  resume_this_machine();
  EXPECT_TRUE(connect().resumed);
}

TEST_P(TlsTicketTest, SharedOnesAreOfferedByClones) {
  start(TicketUse::kShared);
  connect();
  clone_this_machine();
  EXPECT_TRUE(connect().resumed);
}

TEST_P(TlsTicketTest, OffIsOff) {
  start(TicketUse::kOff);
  EXPECT_FALSE(connect().takes_tickets);
  const Greeting next = connect();
  EXPECT_FALSE(next.takes_tickets);
  EXPECT_FALSE(next.offers_ticket);
  EXPECT_EQ(upstream_->counts().tls_resumed, 0u);
}

TEST_P(TlsTicketTest, ImageOfAnAnnouncedSnapshotHoldsNone) {
  start(TicketUse::kFresh);
  connect();
  upstream_->forget_tickets();
  EXPECT_FALSE(connect().offers_ticket);
}

// The proxy's own listener gives none: there is no key of theirs that clones could share, and no
// cache.
TEST_P(TlsTicketTest, ListenerKeepsNoSession) {
  make_certificate(folder_, "server.test");
  const TlsContext server = TlsContext::server({.certificate = folder_ / "server.test.pem",
                                                .key = folder_ / "server.test.key"})
                                .value();
  const std::unique_ptr<SSL_CTX, FreeSsl> client(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_max_proto_version(client.get(), GetParam());
  static std::atomic<int> tickets = 0;
  tickets = 0;
  SSL_CTX_set_session_cache_mode(client.get(), SSL_SESS_CACHE_CLIENT);
  SSL_CTX_sess_set_new_cb(client.get(), [](SSL*, SSL_SESSION* session) {
    if (SSL_SESSION_is_resumable(session) == 1) ++tickets;
    return 0;
  });
  SslSessionPointer kept;
  for (int i = 0; i < 2; ++i) {
    Pair pair = make_pair(false);
    const SslPointer ssl(SSL_new(client.get()));
    SSL_set_fd(ssl.get(), pair.other.get());
    if (kept) SSL_set_session(ssl.get(), kept.get());
    std::thread peer([&] {
      EXPECT_EQ(SSL_connect(ssl.get()), 1);
      char byte = 0;
      EXPECT_EQ(SSL_read(ssl.get(), &byte, 1), 1);
    });
    auto stream =
        TlsStream::make(std::move(pair.stream), server.session().value(), loop_.timer()).value();
    EXPECT_TRUE(run(stream->handshake()));
    EXPECT_TRUE(run(stream->write(bytes_of("x"))));
    peer.join();
    EXPECT_EQ(SSL_session_reused(ssl.get()), 0);
    kept.reset(SSL_get1_session(ssl.get()));
    SSL_set_shutdown(ssl.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  }
  EXPECT_EQ(tickets, 0);
}

INSTANTIATE_TEST_SUITE_P(Versions, TlsTicketTest, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& version) {
                           return version.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
                         });

}  // namespace
}  // namespace clonesafe::proxy
