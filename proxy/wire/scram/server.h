#ifndef CLONESAFE_PROXY_WIRE_SCRAM_SERVER_H_
#define CLONESAFE_PROXY_WIRE_SCRAM_SERVER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/scram/message.h"
#include "proxy/wire/scram/verifier.h"

namespace clonesafe::wire::scram {

// Lets one client in:
//
//   receive the mechanism and client-first-message; send server.first(them);
//   receive client-final-message; send server.final(it)
//
// `nonce` is at least kMinNonce bytes that nobody drew before: drawn after a restore. `end_point`
// is what tls_server_end_point() gives of this side's own certificate; SCRAM-SHA-256-PLUS has been
// offered exactly if it is there. An error is for good. Not thread-safe.
class Server {
 public:
  static Result<Server> create(Verifier verifier, std::string_view nonce,
                               std::optional<std::string> end_point = std::nullopt);

  Result<std::string> first(std::string_view mechanism, std::string_view client_first);
  Result<std::string> final(std::string_view client_final);
  // The error was that of a client whose messages are all right, but not its password.
  bool password_is_wrong() const { return password_is_wrong_; }

  // After final(): logs in where the same verifier is kept, for pass-through (the client's proof
  // gives its ClientKey away to who has the verifier).
  const std::optional<Credential>& credential() const { return credential_; }

  void set_nonce_for_testing(std::string nonce) { nonce_ = std::move(nonce); }

 private:
  enum class State : std::uint8_t { kFirst, kFinal, kDone, kFailed };

  Server(Verifier verifier, std::string nonce, std::optional<std::string> end_point)
      : verifier_(std::move(verifier)),
        nonce_(std::move(nonce)),
        end_point_(std::move(end_point)) {}
  Result<std::string> greet(std::string_view mechanism, std::string_view client_first);
  Result<std::string> check(std::string_view client_final);

  State state_ = State::kFirst;
  bool password_is_wrong_ = false;
  Verifier verifier_;
  std::string nonce_;  // base64; the client's and this one's after first()
  std::optional<std::string> end_point_;
  std::string binding_;  // base64: what the client has to send
  std::string first_messages_;
  std::optional<Credential> credential_;
};

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_PROXY_WIRE_SCRAM_SERVER_H_
