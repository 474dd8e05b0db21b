#ifndef CLONESAFE_PROXY_WIRE_SCRAM_CLIENT_H_
#define CLONESAFE_PROXY_WIRE_SCRAM_CLIENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/scram/message.h"
#include "proxy/wire/scram/password.h"
#include "proxy/wire/scram/verifier.h"

namespace clonesafe::wire::scram {

struct ClientOptions {
  // Fewer would make a password easy to guess for who plays the server (RFC 7677 wants 4096). More
  // than kMaxIterations is refused too.
  std::uint32_t min_iterations = 4096;
  // What tls_server_end_point() gives of the server's certificate; nothing without TLS.
  std::optional<std::string> end_point;
  // The server's list of mechanisms has SCRAM-SHA-256-PLUS. If it has, and there is an end point,
  // the login is bound to the TLS session; if somebody took it from the list, the server notices.
  bool plus_offered = false;
};

// Logs in once:
//
//   send client.mechanism() with client.first(); receive server-first-message;
//   send client.final(it); receive server-final-message; client.verify(it)
//
// Only after verify() is the server one that knows the password. `nonce` is at least kMinNonce
// bytes that nobody drew before: drawn after a restore. An error is for good. Not thread-safe.
class Client {
 public:
  static Result<Client> with_password(std::string_view password, std::string_view nonce,
                                      ClientOptions options = {});
  // Without PBKDF2; refused if the server has another salt or number of iterations by now.
  static Result<Client> with_credential(const Credential& credential, std::string_view nonce,
                                        ClientOptions options = {});

  std::string_view mechanism() const { return binds() ? kPlusMechanism : kMechanism; }
  std::string first() const;
  Result<std::string> final(std::string_view server_first);
  Status verify(std::string_view server_final);

  // After final(): for the next login, to the same server.
  const std::optional<Credential>& credential() const { return credential_; }

  // As a user's name and a nonce's text have to be in an example.
  void set_names_for_testing(std::string user, std::string nonce) {
    user_ = std::move(user);
    nonce_ = std::move(nonce);
  }

 private:
  enum class State : std::uint8_t { kFirst, kFinal, kDone, kFailed };

  Client(std::string nonce, ClientOptions options)
      : nonce_(std::move(nonce)), options_(std::move(options)) {}
  static Result<Client> create(std::string_view nonce, ClientOptions options);
  bool binds() const { return options_.plus_offered && options_.end_point; }
  std::string_view header() const;
  std::string first_bare() const { return "n=" + user_ + ",r=" + nonce_; }
  Result<std::string> prove(std::string_view server_first);

  State state_ = State::kFirst;
  std::string user_;   // none: PostgreSQL has it from the StartupMessage
  std::string nonce_;  // base64
  ClientOptions options_;
  SecretText password_;
  std::optional<Credential> credential_;
  std::optional<Key> server_signature_;
};

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_PROXY_WIRE_SCRAM_CLIENT_H_
