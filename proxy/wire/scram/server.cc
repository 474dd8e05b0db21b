#include "proxy/wire/scram/server.h"

#include "proxy/wire/scram/base64.h"
#include "proxy/wire/scram/crypto.h"

namespace clonesafe::wire::scram {

Result<Server> Server::create(Verifier verifier, std::string_view nonce,
                              std::optional<std::string> end_point) {
  if (nonce.size() < kMinNonce)
    return fail("SCRAM: nonce of " + std::to_string(nonce.size()) + " bytes, at least " +
                std::to_string(kMinNonce) + " are needed");
  return Server(std::move(verifier), base64(nonce), std::move(end_point));
}

Result<std::string> Server::first(std::string_view mechanism, std::string_view client_first) {
  if (state_ != State::kFirst) return fail("SCRAM: a client-first-message out of order");
  auto message = greet(mechanism, client_first);
  state_ = message ? State::kFinal : State::kFailed;
  return message;
}

Result<std::string> Server::greet(std::string_view mechanism, std::string_view client_first) {
  const bool plus = mechanism == kPlusMechanism;
  if ((!plus && mechanism != kMechanism) || (plus && !end_point_))
    return fail("SCRAM: a mechanism that wasn't offered");
  const auto first = parse_client_first(client_first);
  if (!first) return fail(first.error());
  std::string binding(first->header);
  if (plus) {
    if (first->header != kBindingFlag)
      return fail("SCRAM client-first-message: no binding to tls-server-end-point");
    binding += *end_point_;
  } else if (first->header == "y,,") {
    // The client saw a list without SCRAM-SHA-256-PLUS.
    if (end_point_)
      return fail("SCRAM: somebody took SCRAM-SHA-256-PLUS from the list of mechanisms");
  } else if (first->header != "n,,") {
    return fail("SCRAM client-first-message: a binding flag that the mechanism hasn't");
  }
  binding_ = base64(binding);
  nonce_.insert(0, first->nonce);
  std::string message =
      "r=" + nonce_ + ",s=" + base64(verifier_.salt) + ",i=" + std::to_string(verifier_.iterations);
  first_messages_ = std::string(first->bare) + ',' + message;
  return message;
}

Result<std::string> Server::final(std::string_view client_final) {
  if (state_ != State::kFinal) return fail("SCRAM: a client-final-message out of order");
  auto message = check(client_final);
  state_ = message ? State::kDone : State::kFailed;
  return message;
}

Result<std::string> Server::check(std::string_view client_final) {
  const auto final = parse_client_final(client_final);
  if (!final) return fail(final.error());
  if (final->nonce != nonce_) return fail("SCRAM client-final-message: another nonce");
  if (final->binding != binding_)
    return fail("SCRAM client-final-message: another channel binding");
  const std::string signed_text = first_messages_ + ',' + std::string(final->without_proof);
  auto client_key = hmac_sha256(verifier_.stored_key.view(), signed_text);
  if (!client_key) return fail(std::move(client_key).error());
  *client_key ^= final->proof;
  const auto stored_key = sha256(client_key->view());
  if (!stored_key) return fail(stored_key.error());
  const auto server_signature = hmac_sha256(verifier_.server_key.view(), signed_text);
  if (!server_signature) return fail(server_signature.error());
  const bool right = *stored_key == verifier_.stored_key;
  if (!right || verifier_.decoy) {
    password_is_wrong_ = true;
    return fail("SCRAM: the password is wrong");
  }
  credential_ = Credential{.salt = verifier_.salt,
                           .iterations = verifier_.iterations,
                           .client_key = *client_key,
                           .server_key = verifier_.server_key};
  return "v=" + base64(server_signature->view());
}

}  // namespace clonesafe::wire::scram
