#ifndef CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_PLAYED_SERVER_H_
#define CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_PLAYED_SERVER_H_

#include <optional>
#include <string>
#include <thread>

#include "proxy/wire/postgres/error_response.h"
#include "proxy/wire/postgres/server_messages.h"
#include "tests/unit/proxy/network.h"
#include "tests/unit/proxy/postgres_server.h"

namespace clonesafe::proxy {

// What a server says.
inline std::string ready(char status) {
  std::string out;
  wire::postgres::append_ready_for_query(out,
                                         static_cast<wire::postgres::TransactionStatus>(status));
  return out;
}
inline std::string done(const std::string& tag) {
  std::string out;
  EXPECT_TRUE(wire::postgres::append_command_complete(out, tag));
  return out;
}
inline std::string error(const std::string& severity, const std::string& sqlstate) {
  std::string out;
  EXPECT_TRUE(wire::postgres::append_error(
      out, {.severity = severity, .sqlstate = sqlstate, .message = "no"}));
  return out;
}

inline const std::string kFlush("H\0\0\0\4", 5);
inline const std::string kParseComplete("1\0\0\0\4", 5), kBindComplete("2\0\0\0\4", 5),
    kCloseComplete("3\0\0\0\4", 5);

// One application's session, with a server that the test plays.
class PlayedPostgresTest : public ProxyTest {
 protected:
  explicit PlayedPostgresTest(PostgresConfig config = PostgresProxy::trusting()) {
    enter_network();
    listener_ = listen_on(kFar, port_);
    const std::uint32_t limit = config.pooling == PostgresPooling::kTransaction ? 1 : 0;
    proxy_.emplace(port_, std::move(config), std::nullopt, std::nullopt, Milliseconds(5'000),
                   limit);
    application_.emplace(proxy_->connect());
    std::thread server([this] { server_.emplace(accept()); });
    EXPECT_EQ(application_->log_in("postgres"), "");
    server.join();
  }
  // The next connection of the proxy's, which is let in.
  PostgresPeer accept() {
    PostgresPeer peer(accept_from(listener_));
    peer.welcome(++process_);
    return peer;
  }
  // The application sends it, and the server has it.
  void under_way(const std::string& messages) {
    application_->send(messages);
    EXPECT_EQ(receive(server_->fd(), messages.size()), messages);
  }
  void exchange(const std::string& sql, const std::string& tag, char status) {
    under_way(query_message(sql));
    server_->send(done(tag) + ready(status));
    EXPECT_EQ(application_->answer(), tag + " " + status);
  }
  // The session works, with another server.
  void expect_goes_on() {
    application_->send(query_message("SELECT 1"));
    const PostgresPeer next = accept();
    EXPECT_EQ(next.receive().type, 'Q');
    next.send(done("SELECT 1") + ready('I'));
    EXPECT_EQ(application_->answer(), "SELECT 1 I");
    EXPECT_TRUE(sees_nothing(server_->fd())) << "not a byte to the parent's";
  }

  int port_ = 0;
  std::uint32_t process_ = 0;
  UniqueFd listener_;
  std::optional<PostgresProxy> proxy_;
  std::optional<PostgresPeer> application_, server_;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_POSTGRES_PLAYED_SERVER_H_
