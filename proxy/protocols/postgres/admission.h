#ifndef CLONESAFE_PROXY_PROTOCOLS_POSTGRES_ADMISSION_H_
#define CLONESAFE_PROXY_PROTOCOLS_POSTGRES_ADMISSION_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proxy/protocols/postgres/conversation.h"
#include "proxy/protocols/postgres/session_state.h"
#include "proxy/protocols/postgres/users.h"
#include "proxy/session/session.h"
#include "proxy/wire/postgres/startup.h"
#include "proxy/wire/scram/server.h"
#include "proxy/wire/scram/verifier.h"

namespace clonesafe::proxy::postgres {

// An application that was let in, or that may be.
struct Application {
  std::shared_ptr<Stream> stream;
  Framer framer{Framer::From::kClient};
  std::string rest;  // what it sent already
  Endpoint from;
  std::string user;
  Parameters parameters;  // of its StartupMessage, with user
  // Of its login, where only a verifier is known: logs in where the same verifier is.
  std::optional<wire::scram::Credential> credential;
};

// What comes before an application's session: TLS, its StartupMessage, and who it is; or a request
// to cancel what another session does, which is passed on to that one's server of now.
class Admission {
 public:
  Admission(SessionHost& host, std::unique_ptr<Stream> stream, const Client& client)
      : host_(host), stream_(std::move(stream)), client_(client) {}

  // An error was told to the application already, if there was one to be told, and logged if it has
  // no words. Without one and
  // without an application it was a request to cancel.
  Awaitable<Result<std::optional<Application>>> admit();
  // A snapshot was announced whose image shall hold no secret: what an application is being asked
  // for is known again when it answers.
  void forget();
  // Ends what is waited for.
  void reset() {
    if (stream_) stream_->reset();
    if (shared_) shared_->reset();
  }

 private:
  Awaitable<Status> start_tls(std::string_view received);
  Awaitable<Status> answer_tls_request(std::string_view behind);
  Awaitable<Result<Application>> greet(const wire::postgres::StartupPacket& packet,
                                       std::string_view rest);
  Awaitable<Answer<void>> authenticate(Conversation& conversation, Application& application);
  Awaitable<Answer<void>> know(const std::string& user);
  Awaitable<Answer<void>> ask_scram(Conversation& conversation, Application& application);
  Awaitable<Answer<void>> ask_md5(Conversation& conversation, const std::string& user);
  // What the application said first, and what it was told of, which is no secret.
  struct Exchange {
    std::string mechanism;
    std::string first;
    std::string nonce;
    std::string salt;
  };
  Awaitable<Answer<std::string>> answer_first(const std::string& user, const Exchange& exchange);
  Result<wire::scram::Verifier> verifier(const std::string& user, std::string_view salt) const;
  Awaitable<void> cancel(std::uint32_t process, std::string key);
  // Tells the application, and gives the error for the log.
  Awaitable<Error> refused(Refusal refusal);

  SessionHost& host_;
  std::unique_ptr<Stream> stream_;  // as long as it may get a TLS session
  std::shared_ptr<Stream> shared_;
  const Client& client_;
  bool encrypted_ = false;
  bool known_ = false;  // whether there is a secret, and which
  std::optional<wire::scram::SecretText> secret_;
  std::optional<wire::scram::Server> server_;
};

}  // namespace clonesafe::proxy::postgres

#endif  // CLONESAFE_PROXY_PROTOCOLS_POSTGRES_ADMISSION_H_
