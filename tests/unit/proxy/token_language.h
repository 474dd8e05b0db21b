// Requests that carry a token, and answers that carry it back: whoever gets another's, or one
// twice, sees it.
#ifndef CLONESAFE_TESTS_UNIT_PROXY_TOKEN_LANGUAGE_H_
#define CLONESAFE_TESTS_UNIT_PROXY_TOKEN_LANGUAGE_H_

#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "libclonesafe/base/unique_fd.h"
#include "proxy/config/config.h"

namespace clonesafe::proxy {

// One end of a connection, and what was read of it too early.
class TokenPeer {
 public:
  // An application, which never waits for long, or the test has failed.
  explicit TokenPeer(UniqueFd fd) : fd_(std::move(fd)) {}
  // A server, which waits until it is stopped.
  TokenPeer(UniqueFd fd, std::stop_token stop) : fd_(std::move(fd)), stop_(std::move(stop)) {}
  // The next one that connects; nothing: it was stopped.
  static std::optional<TokenPeer> accept(const UniqueFd& listener, const std::stop_token& stop);
  // What takes longer ends in vain.
  void hurry(std::chrono::milliseconds limit);

  // Nothing: the connection ended.
  std::optional<std::string> until(const std::string& end);
  std::optional<std::string> take(std::size_t count);
  // False: it ended. `bytewise`: each byte is a segment.
  bool say(const std::string& text, bool bytewise = false) const;
  // Wakes whoever uses it.
  void hang_up() const;
  // Ends it: with a reset, or, as a machine that lost its power, without a word.
  void reset();
  void vanish();

 private:
  bool wait() const;
  bool more();

  UniqueFd fd_;
  std::optional<std::stop_token> stop_;
  std::optional<std::chrono::milliseconds> limit_;
  std::string read_;
};

// How a protocol says that. A token begins with 'r', and is then asked for by a request that may be
// repeated, or with 'w': by one that must not be.
class TokenLanguage {
 public:
  static std::unique_ptr<TokenLanguage> of(Protocol protocol);
  virtual ~TokenLanguage() = default;

  // As an application.
  virtual bool log_in(TokenPeer& /*peer*/) const { return true; }
  virtual std::string request(const std::string& token) const = 0;
  struct Answer {
    std::string token;  // without one: an error in the protocol's way
    bool ends = false;  // the connection
  };
  // Nothing: the connection ended instead.
  virtual std::optional<Answer> answer(TokenPeer& peer) const = 0;

  // As a server.
  virtual bool welcome(TokenPeer& /*peer*/) const { return true; }
  // The token of the next request; nothing: there is none any more.
  virtual std::optional<std::string> next(TokenPeer& peer) const = 0;
  virtual std::string reply(const std::string& token) const = 0;
};

}  // namespace clonesafe::proxy

#endif  // CLONESAFE_TESTS_UNIT_PROXY_TOKEN_LANGUAGE_H_
