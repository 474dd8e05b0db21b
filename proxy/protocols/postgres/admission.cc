#include "proxy/protocols/postgres/admission.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "clonesafe/clonesafe.h"
#include "proxy/protocols/postgres/shared.h"
#include "proxy/tls/tls_stream.h"
#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/server_messages.h"
#include "proxy/wire/scram/message.h"
#include "proxy/wire/scram/password.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace pg = wire::postgres;
namespace scram = wire::scram;
using Kind = pg::StartupPacket::Kind;

constexpr std::string_view kAlpn = "postgresql";
constexpr std::size_t kReadSize = 4096;
// SSLRequest, GSSENCRequest, StartupMessage, and one for good measure.
constexpr int kMaxPackets = 4;
// As PostgreSQL makes its own.
constexpr std::uint32_t kIterations = 4096;
constexpr std::size_t kSaltSize = 16;

Result<std::string> random_bytes(std::size_t size) {
  std::string bytes(size, '\0');
  if (const int code = cs_random_private(bytes.data(), bytes.size()); code != 0)
    return fail("no random number: libclonesafe: error " + std::to_string(code));
  return bytes;
}

std::unexpected<Refusal> internal(const Error& error) {
  return refuse("XX000", error.message());
}

std::unexpected<Refusal> wrong_password(const std::string& user) {
  return refuse(sqlstate::kInvalidPassword,
                "password authentication failed for user \"" + user + '"');
}

}  // namespace

Awaitable<Error> Admission::refused(Refusal refusal) {
  const std::string message = error_message("FATAL", refusal.sqlstate, refusal.message);
  Stream& stream = shared_ ? *shared_ : *stream_;
  [[maybe_unused]] const auto told = co_await stream.write(bytes_of(message));
  stream.close();
  co_return Error(refusal.logged ? std::string() : refusal.message);
}

Awaitable<Status> Admission::start_tls(std::string_view received) {
  auto session = host_.listen_tls->session();
  if (!session) co_return fail(session.error());
  auto tls = TlsStream::make(std::move(stream_), std::move(*session), host_.loop.timer(),
                             bytes_of(received));
  if (!tls) co_return fail(tls.error());
  TlsStream& stream = **tls;
  stream_ = std::move(*tls);
  if (auto shaken = co_await stream.handshake(); !shaken) {
    ++host_.counts.failed_tls_handshakes;
    co_return shaken;
  }
  ++host_.counts.tls_handshakes;
  encrypted_ = true;
  // Direct TLS has no other sign that both sides mean this protocol.
  if (!received.empty() && stream.alpn() != kAlpn)
    co_return fail("direct TLS without the protocol 'postgresql' in ALPN");
  co_return Status();
}

Awaitable<Status> Admission::answer_tls_request(std::string_view behind) {
  // Whoever is in between could have put it there.
  if (!behind.empty()) co_return fail("bytes behind the request for encryption");
  if (encrypted_) co_return fail("a request for encryption on an encrypted connection");
  const bool accepted = host_.listen_tls != nullptr;
  if (auto sent = co_await stream_->write(bytes_of(accepted ? "S" : "N")); !sent) co_return sent;
  if (!accepted) co_return Status();
  co_return co_await start_tls({});
}

Awaitable<Result<std::optional<Application>>> Admission::admit() {
  pg::StartupFramer framer;
  std::array<std::byte, kReadSize> buffer{};
  std::string_view input;
  for (int packets = 0; packets < kMaxPackets;) {
    auto packet = framer.next(input);
    if (!packet) {
      Refusal refusal{std::string(sqlstate::kProtocolViolation), packet.error().message()};
      co_return fail(co_await refused(std::move(refusal)));
    }
    if (!*packet) {
      const auto count = co_await stream_->read(buffer);
      if (!count) co_return fail(count.error());
      if (*count == 0) co_return fail("the application closed the connection");
      input = view_of(std::span(buffer).first(*count));
      continue;
    }
    ++packets;
    Status done;
    switch ((*packet)->kind) {
      case Kind::kTlsRequest:
        done = co_await answer_tls_request(input);
        break;
      case Kind::kTlsRecord:
        if (encrypted_ || host_.listen_tls == nullptr) {
          done = fail("TLS without a request for it");
        } else {
          const std::string_view received = std::exchange(input, {});
          done = co_await start_tls(received);
        }
        break;
      case Kind::kGssRequest:
        if (input.empty()) {
          done = co_await stream_->write(bytes_of("N"));
        } else {
          done = fail("bytes behind the request for encryption");
        }
        break;
      case Kind::kCancel:
        co_await cancel((*packet)->process, std::string((*packet)->key));
        co_return std::nullopt;
      case Kind::kStartup: {
        auto application = co_await greet(**packet, input);
        if (!application) co_return fail(application.error());
        co_return std::move(*application);
      }
    }
    if (!done) co_return fail(done.error());
  }
  Refusal refusal{std::string(sqlstate::kProtocolViolation), "too many requests for encryption"};
  co_return fail(co_await refused(std::move(refusal)));
}

Awaitable<Result<Application>> Admission::greet(const pg::StartupPacket& packet,
                                                std::string_view rest) {
  Application application;
  pg::NegotiateProtocolVersion negotiation;
  for (const auto& [name, value] : packet.parameters) {
    if (pg::is_protocol_option(name)) {
      negotiation.unknown_options.push_back(name);
    } else {
      application.parameters.emplace_back(name, value);
    }
  }
  application.from = client_.from;
  application.user = packet.parameter("user").value_or("");
  std::string negotiated;
  if (packet.version != pg::kVersion30 || !negotiation.unknown_options.empty()) {
    if (auto added = pg::append_negotiate_protocol_version(negotiated, negotiation); !added)
      co_return fail(added.error());
  }
  shared_ = std::move(stream_);
  Conversation conversation(shared_, Framer(Framer::From::kClient, {.max_head = kMaxHead}), rest);
  if (host_.listen_tls != nullptr && !encrypted_ && client_.from.protocol().family() != AF_UNIX) {
    Refusal refusal{std::string(sqlstate::kInvalidAuthorization), "this service is for TLS only"};
    co_return fail(co_await refused(std::move(refusal)));
  }
  if (!negotiated.empty()) {
    if (auto sent = co_await conversation.send(negotiated); !sent) co_return fail(sent.error());
  }
  auto authenticated = co_await authenticate(conversation, application);
  if (!authenticated) co_return fail(co_await refused(std::move(authenticated).error()));
  application.stream = shared_;
  application.rest = conversation.take_rest();
  application.framer = conversation.take_framer();
  co_return application;
}

Awaitable<Answer<void>> Admission::authenticate(Conversation& conversation,
                                                Application& application) {
  const PostgresConfig& config = host_.config.postgres;
  if (config.authentication == PostgresAuthentication::kTrust) {
    if (client_.from_here) co_return Answer<void>();
    co_return refuse(sqlstate::kInvalidAuthorization,
                     "only applications of this machine are trusted");
  }
  if (auto known = co_await know(application.user); !known) co_return known;
  auto let_in = Answer<void>();
  if (secret_ && is_md5(secret_->view())) {
    let_in = co_await ask_md5(conversation, application.user);
  } else {
    let_in = co_await ask_scram(conversation, application);
  }
  forget();
  if (!let_in && let_in.error().sqlstate == sqlstate::kInvalidPassword)
    co_return wrong_password(application.user);
  co_return let_in;
}

void Admission::forget() {
  known_ = false;
  secret_.reset();
  server_.reset();
}

Awaitable<Answer<void>> Admission::know(const std::string& user) {
  // Its image could hold what comes now.
  if (host_.upstream.parked())
    co_return refuse(sqlstate::kCannotConnectNow, "a snapshot of the machine is being taken");
  const auto users = co_await fetch_users(host_, client_.from);
  if (!users) co_return std::unexpected(users.error());
  if (const scram::SecretText* const secret = users->find(user)) secret_.emplace(secret->view());
  known_ = true;
  co_return Answer<void>();
}

Awaitable<Answer<void>> Admission::ask_md5(Conversation& conversation, const std::string& user) {
  std::array<char, 4> salt{};
  if (const int code = cs_random(salt.data(), salt.size()); code != 0)
    co_return refuse("XX000", "no random number");
  std::string request;
  pg::append_authentication_md5(request, salt);
  if (auto sent = co_await conversation.send(request); !sent) co_return internal(sent.error());
  const auto message = co_await conversation.next();
  if (!message) co_return refuse(sqlstate::kProtocolViolation, message.error().message());
  const auto response = message->is(ClientMessage::kPassword)
                            ? pg::parse_password(message->body)
                            : Result<std::string_view>(fail("expected a password"));
  if (!response) co_return refuse(sqlstate::kProtocolViolation, response.error().message());
  if (!known_) {
    if (auto known = co_await know(user); !known) co_return known;
  }
  if (!secret_ || !is_md5(secret_->view()) ||
      !scram::check_md5_response(*response, secret_->view(), salt))
    co_return refuse(sqlstate::kInvalidPassword, "");
  co_return Answer<void>();
}

Result<scram::Verifier> Admission::verifier(const std::string& user, std::string_view salt) const {
  if (!secret_) return scram::decoy_verifier(user, host_.postgres->decoy_secret());
  if (is_verifier(secret_->view())) return scram::parse_verifier(secret_->view());
  const auto password = scram::prepare_password(secret_->view());
  if (!password) return fail(password.error());
  const auto credential = scram::derive_credential(*password, salt, kIterations);
  if (!credential) return fail(credential.error());
  return scram::verifier_of(*credential);
}

// The same answer each time, as long as the secret is the same.
Awaitable<Answer<std::string>> Admission::answer_first(const std::string& user,
                                                       const Exchange& exchange) {
  if (!known_) {
    if (auto known = co_await know(user); !known) co_return std::unexpected(known.error());
  }
  auto made = verifier(user, exchange.salt);
  if (!made) co_return internal(made.error());
  auto server = scram::Server::create(std::move(*made), exchange.nonce);
  if (!server) co_return internal(server.error());
  auto answer = server->first(exchange.mechanism, exchange.first);
  if (!answer) co_return refuse(sqlstate::kProtocolViolation, answer.error().message());
  server_.emplace(std::move(*server));
  co_return std::move(*answer);
}

Awaitable<Answer<void>> Admission::ask_scram(Conversation& conversation, Application& application) {
  std::string out;
  const std::array<std::string_view, 1> mechanisms = {scram::kMechanism};
  if (auto added = pg::append_authentication_sasl(out, mechanisms); !added)
    co_return internal(added.error());
  if (auto sent = co_await conversation.send(out); !sent) co_return internal(sent.error());
  auto message = co_await conversation.next();
  if (!message) co_return refuse(sqlstate::kProtocolViolation, message.error().message());
  const auto initial = message->is(ClientMessage::kPassword)
                           ? pg::parse_sasl_initial_response(message->body)
                           : Result<pg::SaslInitialResponse>(fail("expected a SASL response"));
  if (!initial) co_return refuse(sqlstate::kProtocolViolation, initial.error().message());
  auto nonce = random_bytes(scram::kMinNonce);
  auto salt = random_bytes(kSaltSize);
  if (!nonce || !salt) co_return internal((nonce ? salt : nonce).error());
  const Exchange exchange{.mechanism = std::string(initial->mechanism),
                          .first = std::string(initial->response.value_or("")),
                          .nonce = std::move(*nonce),
                          .salt = std::move(*salt)};
  const auto first = co_await answer_first(application.user, exchange);
  if (!first) co_return std::unexpected(first.error());
  out.clear();
  if (auto added = pg::append_authentication_sasl_continue(out, *first); !added)
    co_return internal(added.error());
  if (auto sent = co_await conversation.send(out); !sent) co_return internal(sent.error());
  message = co_await conversation.next();
  if (!message) co_return refuse(sqlstate::kProtocolViolation, message.error().message());
  if (!message->is(ClientMessage::kPassword))
    co_return refuse(sqlstate::kProtocolViolation, "expected a SASL response");
  if (!server_) {
    const auto again = co_await answer_first(application.user, exchange);
    if (!again) co_return std::unexpected(again.error());
    if (*again != *first) co_return refuse(sqlstate::kInvalidPassword, "");
  }
  const auto final = server_->final(message->body);
  if (!final && server_->password_is_wrong()) co_return refuse(sqlstate::kInvalidPassword, "");
  if (!final) co_return refuse(sqlstate::kProtocolViolation, final.error().message());
  // Whoever has the password can read it again.
  if (secret_ && is_verifier(secret_->view())) application.credential = server_->credential();
  out.clear();
  if (auto added = pg::append_authentication_sasl_final(out, *final); !added)
    co_return internal(added.error());
  if (auto sent = co_await conversation.send(out); !sent) co_return internal(sent.error());
  co_return Answer<void>();
}

// Nobody is told what became of it, as with a server.
Awaitable<void> Admission::cancel(std::uint32_t process, std::string key) {
  const auto target = host_.postgres->find(process, key);
  // What that server does is its own generation's.
  if (!target || target->stale()) co_return;
  auto stream = co_await host_.upstream.connect_again(target->peer, client_.preface);
  if (!stream) co_return;
  std::string request;
  if (!pg::append_cancel_request(request, target->process, target->key)) co_return;
  if (target->stale()) co_return;
  if (!co_await (*stream)->write(bytes_of(request))) co_return;
  // The server has taken it when it closes.
  std::array<std::byte, 1> nothing{};
  [[maybe_unused]] const auto end = co_await (*stream)->read(nothing);
}

}  // namespace clonesafe::proxy::postgres
