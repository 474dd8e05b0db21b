#include "tests/unit/proxy/postgres_client.h"

#include <gtest/gtest.h>

#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/body_reader.h"
#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/error_response.h"
#include "proxy/wire/postgres/rows.h"
#include "proxy/wire/postgres/server_messages.h"
#include "proxy/wire/postgres/startup.h"
#include "proxy/wire/scram/client.h"
#include "proxy/wire/scram/password.h"
#include "tests/unit/proxy/network.h"

namespace clonesafe::proxy {
namespace {

namespace pg = wire::postgres;

std::string row_text(const std::string& body) {
  std::vector<pg::Value> values(pg::load_u16(body));
  EXPECT_TRUE(pg::parse_data_row(body, values));
  std::string text;
  for (const auto& value : values) {
    if (!text.empty()) text += '|';
    text += value.value_or("NULL");
  }
  return text;
}

}  // namespace

void PostgresPeer::send(const std::string& bytes) const {
  send_all(fd_, bytes);
}

PostgresMessage PostgresPeer::receive() const {
  const std::string header = proxy::receive(fd_, 5);
  if (header.size() < 5) return {};
  const std::size_t size = pg::load_u32(header.substr(1)) - 4;
  return {.type = header[0], .body = proxy::receive(fd_, size)};
}

std::string PostgresPeer::log_in(const std::string& user, const std::string& password,
                                 const std::string& database) {
  std::string out;
  EXPECT_TRUE(pg::append_startup(
      out, pg::kVersion30,
      {{.name = "user", .value = user}, {.name = "database", .value = database}}));
  send(out);
  auto client =
      wire::scram::Client::with_password(password.empty() ? "none" : password, "123456789012345678")
          .value();
  for (;;) {
    const PostgresMessage message = receive();
    if (message.type == 0) return "end";
    if (message.type == 'E')
      return "!" + std::string(pg::parse_error_fields(message.body)->sqlstate);
    if (message.type == 'K') key_ = message.body;
    if (message.type == 'Z') return "";
    if (message.type != 'R') continue;
    const auto request = pg::parse_authentication(message.body).value();
    out.clear();
    using Kind = pg::Authentication::Kind;
    if (request.kind == Kind::kSasl) {
      const std::string first = client.first();
      EXPECT_TRUE(pg::append_sasl_initial_response(
          out, {.mechanism = client.mechanism(), .response = first}));
    } else if (request.kind == Kind::kSaslContinue) {
      EXPECT_TRUE(pg::append_sasl_response(out, client.final(request.data).value()));
    } else if (request.kind == Kind::kSaslFinal) {
      EXPECT_TRUE(client.verify(request.data));
    } else if (request.kind == Kind::kMd5Password) {
      const auto verifier = wire::scram::md5_verifier(password, user).value();
      EXPECT_TRUE(pg::append_password(
          out, wire::scram::md5_response(verifier.view(), request.salt).value()));
    }
    if (!out.empty()) send(out);
  }
}

std::string PostgresPeer::answer() const {
  std::string text;
  for (;;) {
    const PostgresMessage message = receive();
    switch (message.type) {
      case 0:
        return text + "end";
      case 'D':
        text += row_text(message.body) + " ";
        break;
      case 'C':
        text += message.body.substr(0, message.body.size() - 1) + " ";
        break;
      case 'E':
        text += "!" + std::string(pg::parse_error_fields(message.body)->sqlstate) + " ";
        break;
      case 'A':
        text += "@" + std::string(pg::parse_notification(message.body)->channel) + " ";
        break;
      case 'Z':
        return text + message.body;
      default:
        break;
    }
  }
}

std::string PostgresPeer::query(const std::string& sql) const {
  send(query_message(sql));
  return answer();
}

void PostgresPeer::take_startup() const {
  const std::string length = proxy::receive(fd_, 4);
  ASSERT_EQ(length.size(), 4u);
  proxy::receive(fd_, pg::load_u32(length) - 4);
}

void PostgresPeer::refuse(const std::string& error) const {
  take_startup();
  send(error);
}

void PostgresPeer::welcome(std::uint32_t process) const {
  take_startup();
  std::string out;
  pg::append_authentication_ok(out);
  EXPECT_TRUE(pg::append_backend_key_data(out, {.process = process, .key = "key!"}));
  pg::append_ready_for_query(out, pg::TransactionStatus::kIdle);
  send(out);
}

std::string query_message(const std::string& sql) {
  std::string out;
  EXPECT_TRUE(pg::append_query(out, sql));
  return out;
}
std::string parse_message(const std::string& name, const std::string& sql) {
  std::string out;
  EXPECT_TRUE(pg::append_parse(out, {.statement = name, .query = sql}));
  return out;
}
std::string bind_message(const std::string& name) {
  std::string out;
  EXPECT_TRUE(pg::append_bind(out, "", name, {}));
  return out;
}
std::string execute_message() {
  std::string out;
  EXPECT_TRUE(pg::append_execute(out, {}));
  return out;
}
std::string sync_message() {
  std::string out;
  pg::append_sync(out);
  return out;
}

}  // namespace clonesafe::proxy
