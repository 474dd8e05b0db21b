#ifndef CLONESAFE_PROXY_WIRE_SCRAM_VERIFIER_H_
#define CLONESAFE_PROXY_WIRE_SCRAM_VERIFIER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/wire/scram/secret.h"

namespace clonesafe::wire::scram {

inline constexpr std::size_t kMaxSalt = 256;  // bytes
// More takes a processor longer than a connection should: at 4096, PostgreSQL's own number, a login
// takes some milliseconds.
inline constexpr std::uint32_t kMaxIterations = 1'000'000;

// What a server keeps of a password: with it a client is checked, and the server's own proof made.
// No password can be read from it, but a server can be played with it.
struct Verifier {
  std::string salt;
  std::uint32_t iterations = 0;
  Key stored_key;
  Key server_key;
  // Of a user that isn't there: its login takes as long as another, and fails.
  bool decoy = false;
};

// "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey", as in PostgreSQL's pg_authid.
Result<Verifier> parse_verifier(std::string_view text);
std::string format_verifier(const Verifier& verifier);

// What logs a client in without its password: PBKDF2 is done, or a server half got ClientKey from a
// login. Of use only while the server has this salt and this number of iterations.
struct Credential {
  std::string salt;
  std::uint32_t iterations = 0;
  Key client_key;
  Key server_key;
};

// `password` as prepare_password() gives it.
Result<Credential> derive_credential(const SecretText& password, std::string_view salt,
                                     std::uint32_t iterations);
Result<Verifier> verifier_of(const Credential& credential);
// The salt of a user that isn't there has to be the same at each login, and not to be guessed:
// `secret` is random and kept.
Result<Verifier> decoy_verifier(std::string_view user, const Key& secret);

}  // namespace clonesafe::wire::scram

#endif  // CLONESAFE_PROXY_WIRE_SCRAM_VERIFIER_H_
