#include "proxy/health/probe.h"

#include <array>
#include <string_view>

#include "proxy/core/bytes.h"
#include "proxy/wire/http1/head_reader.h"
#include "proxy/wire/postgres/error_response.h"
#include "proxy/wire/postgres/protocol.h"
#include "proxy/wire/postgres/startup.h"

namespace clonesafe::proxy {
namespace {

namespace http1 = wire::http1;
namespace pg = wire::postgres;

constexpr std::size_t kMaxAnswer = 8192;

// For the log: what a peer sent must not drive a terminal.
std::string printable(std::string_view text) {
  std::string line;
  for (const char c : text.substr(0, 100)) line += c < ' ' || c > '~' ? '?' : c;
  return line;
}

Awaitable<Status> send(Stream& stream, std::string_view text) {
  co_return co_await stream.write(bytes_of(text));
}

// More of an answer, behind what is there.
Awaitable<Status> read_more(Stream& stream, std::string& answer) {
  std::array<std::byte, 1024> buffer;
  if (answer.size() >= kMaxAnswer) co_return fail("an answer without an end");
  const auto count = co_await stream.read(buffer);
  if (!count) co_return fail(count.error());
  if (*count == 0) co_return fail("the server closed the connection");
  answer += view_of(std::span(buffer).first(*count));
  co_return Status();
}

Awaitable<Status> probe_http(Stream& stream, const CheckConfig& config, const std::string& host) {
  const std::string request = "GET " + config.path + " HTTP/1.1\r\nHost: " + host +
                              "\r\nUser-Agent: clonesafe-proxy\r\nConnection: close\r\n\r\n";
  if (auto sent = co_await send(stream, request); !sent) co_return sent;
  std::string answer;
  http1::HeadReader reader({.size = kMaxAnswer});
  for (;;) {
    const auto head =
        reader.read_response(answer, {.method = http1::Method::kGet, .offered_upgrade = false});
    if (!head) co_return fail(head.error());
    if (*head == nullptr) {
      if (auto more = co_await read_more(stream, answer); !more) co_return more;
      continue;
    }
    const std::uint32_t status = (*head)->status;
    if ((*head)->interim()) {
      answer.erase(0, (*head)->size);
      continue;
    }
    const bool good = config.status == 0 ? status >= 200 && status < 400 : status == config.status;
    co_return good ? Status() : fail("status " + std::to_string(status));
  }
}

Awaitable<Status> probe_redis(Stream& stream) {
  if (auto sent = co_await send(stream, "*1\r\n$4\r\nPING\r\n"); !sent) co_return sent;
  std::string answer;
  while (answer.find("\r\n") == std::string::npos) {
    if (auto more = co_await read_more(stream, answer); !more) co_return more;
  }
  // One that wants a password first is well, too.
  if (answer.starts_with("+PONG\r\n") || answer.starts_with("-NOAUTH ")) co_return Status();
  co_return fail("PING was answered by '" + printable(answer.substr(0, answer.find("\r\n"))) + "'");
}

// Of an ErrorResponse: whether the server takes no sessions now.
Status judge_postgres_error(std::string_view body) {
  const auto fields = pg::parse_error_fields(body);
  if (!fields) return fail(fields.error());
  const std::string_view sqlstate = fields->sqlstate;
  // Anything else is about who asks.
  if (!sqlstate.starts_with("57P") && sqlstate != "53300") return {};
  return fail(std::string(sqlstate) + " " + printable(fields->message));
}

Awaitable<Status> probe_postgres(Stream& stream) {
  std::string request;
  const std::vector<pg::Parameter> parameters = {{.name = "user", .value = "clonesafe_check"}};
  if (auto added = pg::append_startup(request, pg::kVersion30, parameters); !added) co_return added;
  if (auto sent = co_await send(stream, request); !sent) co_return sent;
  constexpr std::size_t kHeader = 5;
  std::string answer;
  std::size_t size = kHeader;
  while (answer.size() < size) {
    if (auto more = co_await read_more(stream, answer); !more) co_return more;
    if (answer.size() < kHeader) continue;
    std::size_t length = 0;
    for (std::size_t i = 1; i < kHeader; ++i)
      length = length << 8 | static_cast<unsigned char>(answer[i]);
    if (length < kHeader - 1 || length > kMaxAnswer)
      co_return fail("what answered is no PostgreSQL server");
    size = 1 + length;
  }
  const std::string_view body = std::string_view(answer).substr(kHeader, size - kHeader);
  if (answer[0] == 'E') co_return judge_postgres_error(body);
  if (answer[0] == 'R') co_return Status();
  co_return fail("what answered is no PostgreSQL server");
}

}  // namespace

Awaitable<Status> probe(Stream& stream, const CheckConfig& config, const std::string& host) {
  switch (config.kind) {
    case CheckConfig::Kind::kTcp:
    case CheckConfig::Kind::kTls:
      co_return Status();
    case CheckConfig::Kind::kHttp:
      co_return co_await probe_http(stream, config, host);
    case CheckConfig::Kind::kRedis:
      co_return co_await probe_redis(stream);
    case CheckConfig::Kind::kPostgres:
      co_return co_await probe_postgres(stream);
  }
  co_return Status();
}

}  // namespace clonesafe::proxy
