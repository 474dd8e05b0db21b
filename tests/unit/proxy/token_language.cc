#include "tests/unit/proxy/token_language.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <thread>

#include "proxy/core/farewell.h"
#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/body_reader.h"
#include "proxy/wire/postgres/rows.h"
#include "proxy/wire/postgres/server_messages.h"
#include "proxy/wire/postgres/startup.h"
#include "tests/unit/proxy/postgres_client.h"

namespace clonesafe::proxy {
namespace {

namespace pg = wire::postgres;

constexpr int kPatienceMs = 20'000, kTickMs = 50;

class Tcp final : public TokenLanguage {
 public:
  std::string request(const std::string& token) const override { return "ask " + token + "\n"; }
  std::optional<Answer> answer(TokenPeer& peer) const override {
    auto line = peer.until("\n");
    if (!line) return std::nullopt;
    return Answer{.token = line->substr(0, line->size() - 1)};
  }
  std::optional<std::string> next(TokenPeer& peer) const override {
    const auto line = peer.until("\n");
    if (!line || line->size() < 5) return std::nullopt;
    return line->substr(4, line->size() - 5);
  }
  std::string reply(const std::string& token) const override { return token + "\n"; }
};

// The number behind `field` in a head; 0: it isn't there.
std::size_t length_in(const std::string& head) {
  const std::string field = "Content-Length: ";
  const std::size_t at = head.find(field);
  return at == std::string::npos ? 0 : std::stoul(head.substr(at + field.size()));
}

class Http final : public TokenLanguage {
 public:
  std::string request(const std::string& token) const override {
    const std::string rest = " /" + token + " HTTP/1.1\r\nHost: a\r\n";
    return token.starts_with('r') ? "GET" + rest + "\r\n"
                                  : "POST" + rest + "Content-Length: 4\r\n\r\nbody";
  }
  std::optional<Answer> answer(TokenPeer& peer) const override {
    const auto head = peer.until("\r\n\r\n");
    if (!head) return std::nullopt;
    const auto body = peer.take(length_in(*head));
    if (!body) return std::nullopt;
    const bool ok = head->starts_with("HTTP/1.1 200 ");
    return Answer{.token = ok ? *body : std::string(),
                  .ends = head->find("Connection: close") != std::string::npos};
  }
  std::optional<std::string> next(TokenPeer& peer) const override {
    const auto head = peer.until("\r\n\r\n");
    if (!head || !peer.take(length_in(*head))) return std::nullopt;
    const std::size_t begin = head->find('/') + 1;
    return head->substr(begin, head->find(' ', begin) - begin);
  }
  std::string reply(const std::string& token) const override {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(token.size()) + "\r\n\r\n" +
           token;
  }
};

class Redis final : public TokenLanguage {
 public:
  std::string request(const std::string& token) const override {
    const std::string name = token.starts_with('r') ? "GET" : "GETSET";
    const std::string value = token.starts_with('r') ? "" : "$1\r\nx\r\n";
    return "*" + std::to_string(value.empty() ? 2 : 3) + "\r\n" + bulk(name) + bulk(token) + value;
  }
  std::optional<Answer> answer(TokenPeer& peer) const override {
    const auto line = peer.until("\r\n");
    if (!line) return std::nullopt;
    if (!line->starts_with('$')) return Answer();
    const auto value = peer.take(std::stoul(line->substr(1)) + 2);
    if (!value) return std::nullopt;
    return Answer{.token = value->substr(0, value->size() - 2)};
  }
  std::optional<std::string> next(TokenPeer& peer) const override {
    const auto count = peer.until("\r\n");
    if (!count) return std::nullopt;
    std::string token;
    for (unsigned long word = 0, all = std::stoul(count->substr(1)); word < all; ++word) {
      const auto size = peer.until("\r\n");
      const auto text = size ? peer.take(std::stoul(size->substr(1)) + 2) : std::nullopt;
      if (!text) return std::nullopt;
      if (word == 1) token = text->substr(0, text->size() - 2);
    }
    return token;
  }
  std::string reply(const std::string& token) const override { return bulk(token); }

 private:
  static std::string bulk(const std::string& text) {
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
  }
};

class Postgres final : public TokenLanguage {
 public:
  bool log_in(TokenPeer& peer) const override {
    std::string startup;
    if (!pg::append_startup(startup, pg::kVersion30, {{.name = "user", .value = "postgres"}}) ||
        !peer.say(startup))
      return false;
    const auto told = answer(peer);
    return told && !told->ends;
  }
  std::string request(const std::string& token) const override {
    return query_message("SELECT '" + token + "'");
  }
  // Up to ReadyForQuery.
  std::optional<Answer> answer(TokenPeer& peer) const override {
    Answer answer;
    while (auto message = receive(peer)) {
      if (message->type == 'Z') return answer;
      if (message->type == 'D') answer.token += value_of(message->body);
      if (message->type != 'E') continue;
      answer.token.clear();
      if (!message->body.starts_with("SFATAL")) continue;
      answer.ends = true;
      return answer;
    }
    return std::nullopt;
  }
  bool welcome(TokenPeer& peer) const override {
    const auto size = peer.take(4);
    if (!size || !peer.take(pg::load_u32(*size) - 4)) return false;
    std::string out;
    pg::append_authentication_ok(out);
    const bool added = pg::append_backend_key_data(out, {.process = 1, .key = "key!"}).has_value();
    pg::append_ready_for_query(out, pg::TransactionStatus::kIdle);
    return added && peer.say(out);
  }
  std::optional<std::string> next(TokenPeer& peer) const override {
    const auto message = receive(peer);
    if (!message || message->type != 'Q') return std::nullopt;
    const std::size_t begin = message->body.find('\'') + 1;
    return message->body.substr(begin, message->body.find('\'', begin) - begin);
  }
  std::string reply(const std::string& token) const override {
    std::string out;
    const std::array<pg::Value, 1> row{token};
    if (!pg::append_data_row(out, row) || !pg::append_command_complete(out, "SELECT 1")) return {};
    pg::append_ready_for_query(out, pg::TransactionStatus::kIdle);
    return out;
  }

 private:
  static std::string value_of(const std::string& body) {
    std::array<pg::Value, 1> values;
    return pg::parse_data_row(body, values) ? std::string(values[0].value_or("")) : "no row";
  }
  static std::optional<PostgresMessage> receive(TokenPeer& peer) {
    const auto header = peer.take(5);
    if (!header) return std::nullopt;
    auto body = peer.take(pg::load_u32(header->substr(1)) - 4);
    if (!body) return std::nullopt;
    return PostgresMessage{.type = header->front(), .body = std::move(*body)};
  }
};

}  // namespace

std::optional<TokenPeer> TokenPeer::accept(const UniqueFd& listener, const std::stop_token& stop) {
  pollfd entry{.fd = listener.get(), .events = POLLIN, .revents = 0};
  while (!stop.stop_requested()) {
    if (::poll(&entry, 1, kTickMs) == 1)
      return TokenPeer(UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)), stop);
  }
  return std::nullopt;
}

void TokenPeer::hurry(std::chrono::milliseconds limit) {
  limit_ = limit;
  const timeval time{.tv_sec = 0, .tv_usec = std::chrono::microseconds(limit).count()};
  EXPECT_EQ(::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time), 0);
}

bool TokenPeer::wait() const {
  pollfd entry{.fd = fd_.get(), .events = POLLIN, .revents = 0};
  if (limit_) return ::poll(&entry, 1, static_cast<int>(limit_->count())) == 1;
  if (stop_) {
    while (!stop_->stop_requested()) {
      if (::poll(&entry, 1, kTickMs) == 1) return true;
    }
    return false;
  }
  const bool waited = ::poll(&entry, 1, kPatienceMs) == 1;
  EXPECT_TRUE(waited) << "it waits for ever";
  return waited;
}

bool TokenPeer::more() {
  if (!wait()) return false;
  std::array<char, 4096> bytes;
  const ssize_t count = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
  if (count <= 0) return false;
  read_.append(bytes.data(), static_cast<std::size_t>(count));
  return true;
}

std::optional<std::string> TokenPeer::until(const std::string& end) {
  for (;;) {
    if (const std::size_t at = read_.find(end); at != std::string::npos)
      return take(at + end.size());
    if (!more()) return std::nullopt;
  }
}

std::optional<std::string> TokenPeer::take(std::size_t count) {
  while (read_.size() < count) {
    if (!more()) return std::nullopt;
  }
  std::string taken = read_.substr(0, count);
  read_.erase(0, count);
  return taken;
}

bool TokenPeer::say(const std::string& text, bool bytewise) const {
  if (bytewise) {
    const int on = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  const std::size_t step = bytewise ? 1 : text.size();
  for (std::size_t at = 0; at < text.size(); at += step) {
    if (::send(fd_.get(), text.data() + at, step, MSG_NOSIGNAL) != static_cast<ssize_t>(step))
      return false;
  }
  return true;
}

void TokenPeer::hang_up() const {
  ::shutdown(fd_.get(), SHUT_RDWR);
}
void TokenPeer::reset() {
  if (fd_) reset_socket(fd_.release());
}
void TokenPeer::vanish() {
  // What it said has arrived.
  for (int left = 1; fd_ && left != 0 && ::ioctl(fd_.get(), SIOCOUTQ, &left) == 0;)
    std::this_thread::yield();
  if (!fd_) return;
  // Nothing more arrives. What did and is acknowledged would be waited for as long as it takes.
  sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog all{.len = 1, .filter = &drop};
  EXPECT_EQ(::setsockopt(fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &all, sizeof all), 0);
  int unread = 0;
  EXPECT_EQ(::ioctl(fd_.get(), SIOCINQ, &unread), 0);
  if (unread != 0 || !read_.empty()) return reset();
  abandon_socket(fd_.release());
}

std::unique_ptr<TokenLanguage> TokenLanguage::of(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp:
      return std::make_unique<Tcp>();
    case Protocol::kHttp:
      return std::make_unique<Http>();
    case Protocol::kRedis:
      return std::make_unique<Redis>();
    case Protocol::kPostgres:
      return std::make_unique<Postgres>();
  }
  return nullptr;
}

}  // namespace clonesafe::proxy
