#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_USERS_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_USERS_H_

#include <map>
#include <string>
#include <string_view>

#include "libclonesafe/base/error.h"
#include "proxy/config/config.h"
#include "proxy/core/stream.h"
#include "proxy/protocols/postgres/conversation.h"
#include "proxy/wire/scram/secret.h"

namespace clonesafe::proxy {
struct SessionHost;
}

namespace clonesafe::proxy::postgres {

// Who may use a service, and with what: lines of "user" "secret", as PgBouncer has them; a quote in
// one is doubled, and a line may be a comment (; or #). A secret is a password, "md5" with 32
// digits, or a verifier "SCRAM-SHA-256$...". Wiped when it goes.
class Users {
 public:
  // `name` is the file's, for messages.
  static Result<Users> parse(std::string_view text, const std::string& name);
  // Reads the file anew: what it held before the machine was cloned may be out of date.
  static Result<Users> read(const std::string& path);

  // Null if there is no such user.
  const wire::scram::SecretText* find(std::string_view user) const;

 private:
  std::map<std::string, wire::scram::SecretText, std::less<>> secrets_;
};

inline bool knows_users(const PostgresConfig& config) {
  return !config.users_file.empty() || !config.users_command.words.empty();
}

// Who may use the service, as its file or its command has it now. Why it can't be had is in the
// log, with `application`, which is refused then; where it lies is not its business, and not in the
// refusal.
Awaitable<Answer<Users>> fetch_users(SessionHost& host, Endpoint application);

// Whether the file can be read, or the command could be run: what can be told at the start.
Status check_users(const PostgresConfig& config);

bool is_md5(std::string_view secret);
bool is_verifier(std::string_view secret);

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_USERS_H_
