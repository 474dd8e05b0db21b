#include "proxy/wire/scram/verifier.h"

#include <cstring>

#include "proxy/wire/scram/base64.h"
#include "proxy/wire/scram/crypto.h"
#include "proxy/wire/scram/message.h"

namespace clonesafe::wire::scram {
namespace {

constexpr std::string_view kPrefix = "SCRAM-SHA-256$";
// PostgreSQL's own, for users that aren't there either.
constexpr std::size_t kDecoySaltSize = 16;
constexpr std::uint32_t kDecoyIterations = 4096;

// What is in front of `separator`, which goes too.
std::string_view take_until(std::string_view& text, char separator) {
  const auto end = text.find(separator);
  const auto part = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return part;
}

}  // namespace

Result<Verifier> parse_verifier(std::string_view text) {
  // Never shown in an error: it is a secret.
  const auto wrong = [](const char* what) { return fail(std::string("SCRAM verifier: ") + what); };
  if (!text.starts_with(kPrefix)) return wrong("it doesn't begin with SCRAM-SHA-256$");
  text.remove_prefix(kPrefix.size());
  Verifier verifier;
  const auto iterations = parse_iterations(take_until(text, ':'));
  if (!iterations) return wrong("its iterations are no number of at most 1000000");
  verifier.iterations = *iterations;
  auto salt = from_base64(take_until(text, '$'));
  if (!salt || salt->empty() || salt->size() > kMaxSalt)
    return wrong("its salt isn't base64 of 1 to 256 bytes");
  verifier.salt = std::move(*salt);
  const auto stored_key = parse_key(take_until(text, ':'));
  const auto server_key = parse_key(text);
  if (!stored_key || !server_key) return wrong("its keys aren't base64 of 32 bytes each");
  verifier.stored_key = *stored_key;
  verifier.server_key = *server_key;
  return verifier;
}

std::string format_verifier(const Verifier& verifier) {
  return std::string(kPrefix) + std::to_string(verifier.iterations) + ':' + base64(verifier.salt) +
         '$' + base64(verifier.stored_key.view()) + ':' + base64(verifier.server_key.view());
}

Result<Credential> derive_credential(const SecretText& password, std::string_view salt,
                                     std::uint32_t iterations) {
  if (salt.empty() || salt.size() > kMaxSalt || iterations == 0 || iterations > kMaxIterations)
    return fail("SCRAM: salt of " + std::to_string(salt.size()) + " bytes, " +
                std::to_string(iterations) + " iterations");
  const auto salted = pbkdf2_sha256(password.view(), salt, iterations);
  if (!salted) return fail(salted.error());
  const auto client_key = hmac_sha256(salted->view(), "Client Key");
  if (!client_key) return fail(client_key.error());
  const auto server_key = hmac_sha256(salted->view(), "Server Key");
  if (!server_key) return fail(server_key.error());
  return Credential{.salt = std::string(salt),
                    .iterations = iterations,
                    .client_key = *client_key,
                    .server_key = *server_key};
}

Result<Verifier> verifier_of(const Credential& credential) {
  const auto stored_key = sha256(credential.client_key.view());
  if (!stored_key) return fail(stored_key.error());
  return Verifier{.salt = credential.salt,
                  .iterations = credential.iterations,
                  .stored_key = *stored_key,
                  .server_key = credential.server_key};
}

Result<Verifier> decoy_verifier(std::string_view user, const Key& secret) {
  const auto salt = hmac_sha256(secret.view(), user);
  if (!salt) return fail(salt.error());
  return Verifier{.salt = std::string(salt->view().substr(0, kDecoySaltSize)),
                  .iterations = kDecoyIterations,
                  .decoy = true};
}

}  // namespace clonesafe::wire::scram
