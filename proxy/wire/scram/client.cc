#include "proxy/wire/scram/client.h"

#include <algorithm>

#include "proxy/wire/scram/base64.h"
#include "proxy/wire/scram/crypto.h"

namespace clonesafe::wire::scram {

Result<Client> Client::create(std::string_view nonce, ClientOptions options) {
  if (nonce.size() < kMinNonce)
    return fail("SCRAM: nonce of " + std::to_string(nonce.size()) + " bytes, at least " +
                std::to_string(kMinNonce) + " are needed");
  return Client(base64(nonce), std::move(options));
}

Result<Client> Client::with_password(std::string_view password, std::string_view nonce,
                                     ClientOptions options) {
  auto client = create(nonce, std::move(options));
  if (!client) return client;
  auto prepared = prepare_password(password);
  if (!prepared) return fail(std::move(prepared).error());
  client->password_ = std::move(*prepared);
  return client;
}

Result<Client> Client::with_credential(const Credential& credential, std::string_view nonce,
                                       ClientOptions options) {
  auto client = create(nonce, std::move(options));
  if (!client) return client;
  client->credential_ = credential;
  return client;
}

// RFC 5802, section 6: "y" says that this client would have bound, had the server offered it.
std::string_view Client::header() const {
  if (binds()) return kBindingFlag;
  return options_.end_point ? "y,," : "n,,";
}

std::string Client::first() const {
  return std::string(header()) + first_bare();
}

Result<std::string> Client::final(std::string_view server_first) {
  if (state_ != State::kFirst) return fail("SCRAM: a server-first-message out of order");
  auto message = prove(server_first);
  state_ = message ? State::kFinal : State::kFailed;
  return message;
}

Result<std::string> Client::prove(std::string_view server_first) {
  const auto first = parse_server_first(server_first);
  if (!first) return fail(first.error());
  if (!first->nonce.starts_with(nonce_) || first->nonce.size() == nonce_.size())
    return fail("SCRAM server-first-message: its nonce doesn't go on from the client's");
  if (first->iterations < options_.min_iterations)
    return fail("SCRAM server-first-message: " + std::to_string(first->iterations) +
                " iterations, at least " + std::to_string(options_.min_iterations) + " are wanted");
  if (!credential_) {
    auto derived = derive_credential(password_, first->salt, first->iterations);
    if (!derived) return fail(std::move(derived).error());
    credential_ = std::move(*derived);
  } else if (credential_->salt != first->salt || credential_->iterations != first->iterations) {
    return fail("SCRAM: the server's salt or iterations aren't those of the key at hand");
  }

  std::string message =
      "c=" + base64(std::string(header()) + (binds() ? *options_.end_point : "")) +
      ",r=" + std::string(first->nonce);
  const std::string signed_text = first_bare() + ',' + std::string(server_first) + ',' + message;
  const auto stored_key = sha256(credential_->client_key.view());
  if (!stored_key) return fail(stored_key.error());
  auto proof = hmac_sha256(stored_key->view(), signed_text);
  if (!proof) return fail(std::move(proof).error());
  *proof ^= credential_->client_key;
  const auto server_signature = hmac_sha256(credential_->server_key.view(), signed_text);
  if (!server_signature) return fail(server_signature.error());
  server_signature_ = *server_signature;
  return message + ",p=" + base64(proof->view());
}

Status Client::verify(std::string_view server_final) {
  if (state_ != State::kFinal) return fail("SCRAM: a server-final-message out of order");
  state_ = State::kFailed;
  Attributes attributes("server-final-message", server_final);
  if (attributes.next_name() == 'e') {
    const auto reason = attributes.take('e');
    if (!reason) return fail(reason.error());
    std::string shown(reason->substr(0, 64));
    std::ranges::replace_if(shown, [](char c) { return c < ' ' || c >= 0x7f; }, '?');
    return fail("SCRAM: the server refuses: " + shown);
  }
  const auto signature = attributes.take('v');
  if (!signature) return fail(signature.error());
  if (auto skipped = attributes.skip_extensions(); !skipped) return skipped;
  if (auto finished = attributes.finish(); !finished) return finished;
  const auto key = parse_key(*signature);
  if (!key) return attributes.refuse("a signature that isn't base64 of 32 bytes");
  if (*key != *server_signature_)
    return fail("SCRAM: the server's signature is wrong: it doesn't know the password");
  state_ = State::kDone;
  return {};
}

}  // namespace clonesafe::wire::scram
