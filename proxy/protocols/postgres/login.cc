#include "proxy/protocols/postgres/login.h"

#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <optional>

#include "clonesafe/clonesafe.h"
#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/server_messages.h"
#include "proxy/wire/scram/client.h"
#include "proxy/wire/scram/password.h"

namespace clonesafe::proxy::postgres {
namespace {

namespace pg = wire::postgres;
namespace scram = wire::scram;
using namespace boost::asio::experimental::awaitable_operators;

// A message's type, size and last zero.
constexpr std::size_t kMessageOverhead = 6;

std::unexpected<Refusal> lost(const Error& error) {
  return refuse(sqlstate::kConnectionFailure, error.message());
}
std::unexpected<Refusal> no_login(const std::string& why) {
  return refuse(sqlstate::kInvalidAuthorization, why);
}

// A server's answers to what the proxy says itself.
class ServerConversation {
 public:
  ServerConversation(std::shared_ptr<Stream> stream, Framer framer, std::string_view received,
                     Backend& backend)
      : conversation_(std::move(stream), std::move(framer), received), backend_(backend) {}

  Awaitable<Answer<void>> send(std::string_view text) {
    if (auto sent = co_await conversation_.send(text); !sent) co_return lost(sent.error());
    co_return Answer<void>();
  }

  // The next message that isn't said at any time; an error of the server's is a refusal.
  Awaitable<Answer<Message>> next() {
    for (;;) {
      const auto message = co_await conversation_.next();
      if (!message) co_return lost(message.error());
      if (message->is(ServerMessage::kNoticeResponse)) continue;
      if (message->is(ServerMessage::kParameterStatus)) {
        const auto parameter = pg::parse_parameter_status(message->body);
        if (!parameter) co_return lost(parameter.error());
        backend_.parameters[std::string(parameter->name)] = parameter->value;
        continue;
      }
      if (message->is(ServerMessage::kErrorResponse)) {
        const auto fields = pg::parse_error_fields(message->body);
        if (!fields) co_return lost(fields.error());
        co_return refuse(fields->sqlstate, std::string(fields->message));
      }
      co_return *message;
    }
  }

  // Up to ReadyForQuery; answers to what the proxy said itself go nowhere.
  Awaitable<Answer<void>> until_ready() {
    for (;;) {
      const auto message = co_await next();
      if (!message) co_return std::unexpected(message.error());
      if (message->is(ServerMessage::kReadyForQuery)) {
        const auto status = pg::parse_ready_for_query(message->body);
        if (!status) co_return lost(status.error());
        backend_.status = *status;
        co_return Answer<void>();
      }
      if (!message->is(ServerMessage::kBackendKeyData)) continue;
      const auto data = pg::parse_backend_key_data(message->body, pg::kVersion30);
      if (!data) co_return lost(data.error());
      backend_.process = data->process;
      backend_.key = data->key;
    }
  }

  // A server may say no more before its answers are read, and then takes no more either.
  Awaitable<Answer<void>> say(const Replay& replay) {
    if (replay.messages.empty()) co_return Answer<void>();
    const auto [sent, ready] =
        co_await (send(replay.messages) && until_ready_again(replay.ready_count));
    co_return sent ? ready : sent;
  }

  // For the session.
  void hand_over() {
    backend_.stream = conversation_.stream();
    backend_.rest = conversation_.take_rest();
    backend_.framer = conversation_.take_framer();
  }

 private:
  Awaitable<Answer<void>> until_ready_again(std::size_t times) {
    for (std::size_t i = 0; i < times; ++i) {
      auto ready = co_await until_ready();
      if (!ready) co_return ready;
    }
    co_return Answer<void>();
  }

  Conversation conversation_;
  Backend& backend_;
};

class Login {
 public:
  Login(SessionHost& host, std::shared_ptr<Stream> stream, const Application& application,
        const Parameters& parameters)
      : host_(host),
        application_(application),
        parameters_(parameters),
        server_(std::move(stream), Framer(Framer::From::kServer), {}, backend_) {}

  Awaitable<Answer<Backend>> run(const Replay& replay) {
    std::string out;
    std::vector<pg::Parameter> parameters;
    for (const auto& [name, value] : parameters_)
      parameters.push_back({.name = name, .value = value});
    if (auto added = pg::append_startup(out, pg::kVersion30, parameters); !added)
      co_return lost(added.error());
    auto done = co_await server_.send(out);
    if (done) done = co_await authenticate();
    if (done) done = co_await server_.until_ready();
    if (done) done = co_await server_.say(replay);
    if (!done) co_return std::unexpected(std::move(done).error());
    server_.hand_over();
    co_return std::move(backend_);
  }

 private:
  Awaitable<Answer<pg::Authentication>> next_request() {
    const auto message = co_await server_.next();
    if (!message) co_return std::unexpected(message.error());
    if (!message->is(ServerMessage::kAuthentication))
      co_return refuse(sqlstate::kProtocolViolation, "the server asks for no authentication");
    const auto request = pg::parse_authentication(message->body);
    if (!request) co_return refuse(sqlstate::kProtocolViolation, request.error().message());
    co_return *request;
  }

  Awaitable<Answer<void>> authenticate() {
    for (;;) {
      const auto request = co_await next_request();
      if (!request) co_return std::unexpected(request.error());
      if (request->kind == pg::Authentication::Kind::kOk) co_return Answer<void>();
      if (auto fetched = co_await fetch_secret(); !fetched) co_return fetched;
      auto answered = co_await answer(*request);
      if (!answered) co_return answered;
    }
  }

  Awaitable<Answer<void>> fetch_secret() {
    if (users_ || !knows_users(host_.config.postgres)) co_return Answer<void>();
    auto users = co_await fetch_users(host_, application_.from);
    if (!users) {
      ++host_.counts.failed;
      co_return std::unexpected(std::move(users).error());
    }
    users_ = std::move(*users);
    co_return Answer<void>();
  }
  const scram::SecretText* secret() const {
    return users_ ? users_->find(application_.user) : nullptr;
  }

  Awaitable<Answer<void>> answer(const pg::Authentication& request) {
    using enum pg::Authentication::Kind;
    std::string out;
    const scram::SecretText* const known = secret();
    const bool has_password =
        known != nullptr && !is_md5(known->view()) && !is_verifier(known->view());
    switch (request.kind) {
      case kCleartextPassword:
        if (!host_.config.upstream.tls)
          co_return no_login("the server wants the password unencrypted");
        if (!has_password) co_return no_login("the proxy has no password of this user");
        if (auto added = pg::append_password(out, known->view()); !added)
          co_return no_login(added.error().message());
        break;
      case kMd5Password: {
        if (known == nullptr || is_verifier(known->view()))
          co_return no_login("the proxy has no password of this user");
        const auto made = is_md5(known->view())
                              ? Result<scram::SecretText>(scram::SecretText(known->view()))
                              : scram::md5_verifier(known->view(), application_.user);
        const auto response = made ? scram::md5_response(made->view(), request.salt)
                                   : Result<std::string>(fail(made.error()));
        if (!response) co_return no_login(response.error().message());
        if (auto added = pg::append_password(out, *response); !added)
          co_return no_login(added.error().message());
        break;
      }
      case kSasl:
        if (!request.offers(scram::kMechanism))
          co_return no_login("the server has no SASL mechanism that the proxy has");
        co_return co_await prove(has_password ? known : nullptr);
      default:
        co_return no_login("the server asks for " + pg::authentication_name(request.kind) +
                           ", which the proxy can't give");
    }
    auto sent = co_await server_.send(out);
    OPENSSL_cleanse(out.data(), out.size());
    co_return sent;
  }

  Result<scram::Client> make_client(const scram::SecretText* password) const {
    std::array<char, scram::kMinNonce> nonce{};
    if (cs_random_private(nonce.data(), nonce.size()) != 0) return fail("no random number");
    const std::string_view drawn(nonce.data(), nonce.size());
    if (password != nullptr) return scram::Client::with_password(password->view(), drawn);
    if (application_.credential)
      return scram::Client::with_credential(*application_.credential, drawn);
    return fail("the proxy has no password of this user");
  }

  Awaitable<Answer<void>> prove(const scram::SecretText* password) {
    auto client = make_client(password);
    if (!client) co_return no_login(client.error().message());
    const std::string first = client->first();
    const pg::SaslInitialResponse initial{.mechanism = client->mechanism(), .response = first};
    std::string out;
    if (auto added = pg::append_sasl_initial_response(out, initial); !added)
      co_return no_login(added.error().message());
    if (auto sent = co_await server_.send(out); !sent) co_return sent;
    auto request = co_await next_request();
    if (!request) co_return std::unexpected(request.error());
    if (request->kind != pg::Authentication::Kind::kSaslContinue)
      co_return refuse(sqlstate::kProtocolViolation, "the server left the SASL exchange");
    const auto final = client->final(request->data);
    if (!final) co_return no_login(final.error().message());
    out.clear();
    if (auto added = pg::append_sasl_response(out, *final); !added)
      co_return no_login(added.error().message());
    if (auto sent = co_await server_.send(out); !sent) co_return sent;
    request = co_await next_request();
    if (!request) co_return std::unexpected(request.error());
    if (request->kind != pg::Authentication::Kind::kSaslFinal)
      co_return refuse(sqlstate::kProtocolViolation, "the server left the SASL exchange");
    if (auto verified = client->verify(request->data); !verified)
      co_return no_login(verified.error().message());
    co_return Answer<void>();
  }

  SessionHost& host_;
  const Application& application_;
  const Parameters& parameters_;
  Backend backend_;
  ServerConversation server_;
  std::optional<Users> users_;
};

}  // namespace

Awaitable<Answer<Backend>> log_in(SessionHost& host, std::shared_ptr<Stream> stream,
                                  const Application& application, const Parameters& parameters,
                                  const Replay& replay) {
  Login login(host, std::move(stream), application, parameters);
  co_return co_await login.run(replay);
}

Awaitable<Answer<void>> say(Backend& backend, const Replay& replay) {
  ServerConversation server(backend.stream, std::move(backend.framer), backend.rest, backend);
  auto said = co_await server.say(replay);
  if (said) server.hand_over();
  co_return said;
}

Awaitable<void> say_goodbye(std::shared_ptr<Stream> stream) {
  std::string terminate;
  pg::append_terminate(terminate);
  [[maybe_unused]] const auto told = co_await stream->write(bytes_of(terminate));
  co_await part_from(stream);
}

Awaitable<Status> request_tls(Stream& stream) {
  std::string request;
  pg::append_tls_request(request);
  if (auto sent = co_await stream.write(bytes_of(request)); !sent) co_return sent;
  // Not a byte more: what follows unencrypted would be taken for the server's.
  std::array<std::byte, 1> byte{};
  const auto count = co_await stream.read(byte);
  if (!count) co_return fail(count.error());
  if (*count == 0) co_return fail("the server closed the connection when it was asked for TLS");
  const auto accepted =
      pg::accepts_encryption(pg::StartupPacket::Kind::kTlsRequest, static_cast<char>(byte[0]));
  if (!accepted) co_return fail(accepted.error());
  if (!*accepted) co_return fail("the server has no TLS");
  co_return Status();
}

}  // namespace clonesafe::proxy::postgres
