#include "proxy/wire/postgres/server_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/error_response.h"
#include "proxy/wire/postgres/rows.h"
#include "tests/unit/proxy_wire_postgres/pieces.h"

namespace clonesafe::wire::postgres {
namespace {

using namespace std::string_view_literals;
using testing::ElementsAre;
using testing::HasSubstr;

template <typename Append>
std::string server_body(char type, Append append) {
  return body_of(Framer::From::kServer, type, append);
}

TEST(ServerMessages, ParameterStatusIsWhatWasWritten) {
  const auto body = server_body(
      'S', [](auto& out) { ASSERT_TRUE(append_parameter_status(out, {"TimeZone", "Etc/UTC"})); });
  EXPECT_EQ(*parse_parameter_status(body), (Parameter{"TimeZone", "Etc/UTC"}));
  EXPECT_FALSE(parse_parameter_status("TimeZone\0"sv));
  EXPECT_FALSE(parse_parameter_status("a\0b\0c"sv));
}

TEST(ServerMessages, KeysAreOfTheProtocolsLength) {
  for (const std::size_t size : {std::size_t{4}, std::size_t{5}, std::size_t{32}, kMaxKeySize}) {
    const std::string key(size, '\xff');
    const auto body = server_body('K', [&](auto& out) {
      ASSERT_TRUE(append_backend_key_data(out, {.process = 7, .key = key}));
    });
    EXPECT_EQ(parse_backend_key_data(body, kVersion32)->key, key);
    EXPECT_EQ(parse_backend_key_data(body, kVersion32)->process, 7U);
    EXPECT_EQ(parse_backend_key_data(body, kVersion30).has_value(), size == 4);
  }
  const std::string header(4, '\0');
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, kMaxKeySize + 1}) {
    EXPECT_FALSE(parse_backend_key_data(header + std::string(size, 'k'), kVersion32));
    std::string out;
    EXPECT_FALSE(append_backend_key_data(out, {.process = 7, .key = std::string(size, 'k')}));
    EXPECT_EQ(out, "");
  }
}

TEST(ServerMessages, ReadyForQueryHasThreeStates) {
  for (const auto status :
       {TransactionStatus::kIdle, TransactionStatus::kOpen, TransactionStatus::kFailed}) {
    const auto body = server_body('Z', [&](auto& out) { append_ready_for_query(out, status); });
    EXPECT_EQ(*parse_ready_for_query(body), status);
  }
  EXPECT_THAT(parse_ready_for_query("X").error().message(),
              HasSubstr("ReadyForQuery, byte 1 of its body: transaction status 'X'"));
  EXPECT_FALSE(parse_ready_for_query(""));
}

TEST(ServerMessages, CommandCompleteHasACommand) {
  const auto body =
      server_body('C', [](auto& out) { ASSERT_TRUE(append_command_complete(out, "INSERT 0 5")); });
  EXPECT_EQ(*parse_command_complete(body), "INSERT 0 5");
  EXPECT_EQ(command_of("INSERT 0 5"), "INSERT");
  EXPECT_EQ(command_of("CREATE TABLE"), "CREATE TABLE");
  EXPECT_EQ(command_of("SET"), "SET");
  EXPECT_EQ(command_of(""), "");
}

TEST(ServerMessages, NotificationsNegotiationAndCopy) {
  auto body = server_body('A', [](auto& out) {
    ASSERT_TRUE(append_notification(out, {.process = 3, .channel = "news", .payload = "p"}));
  });
  EXPECT_EQ(parse_notification(body)->process, 3U);
  EXPECT_EQ(parse_notification(body)->channel, "news");
  EXPECT_EQ(parse_notification(body)->payload, "p");

  body = server_body('v', [](auto& out) {
    ASSERT_TRUE(append_negotiate_protocol_version(out, {.unknown_options = {"_pq_.a", "_pq_.b"}}));
  });
  EXPECT_EQ(parse_negotiate_protocol_version(body, 2)->version, kVersion30);
  EXPECT_THAT(parse_negotiate_protocol_version(body, 2)->unknown_options,
              ElementsAre("_pq_.a", "_pq_.b"));
  EXPECT_THAT(parse_negotiate_protocol_version(body, 1).error().message(),
              HasSubstr("2 unknown options, 1 were asked for"));

  // What PostgreSQL 15 answers to protocol 3.9999 and an option.
  const auto sent = "\0\3\0\0\0\0\0\1_pq_.foo\0"sv;
  EXPECT_EQ(parse_negotiate_protocol_version(sent, 1)->version, kVersion30);
  EXPECT_THAT(parse_negotiate_protocol_version(sent, 1)->unknown_options, ElementsAre("_pq_.foo"));
  EXPECT_THAT(parse_negotiate_protocol_version("\0\0\0\2\0\0\0\0"sv, 0).error().message(),
              HasSubstr("version 2 isn't one of protocol 3"));

  EXPECT_EQ(parse_copy_response("\1\0\2\0\1\0\1"sv)->columns, 2);
  EXPECT_TRUE(parse_copy_response("\1\0\2\0\1\0\1"sv)->binary);
  EXPECT_FALSE(parse_copy_response("\2\0\0"sv));
  EXPECT_FALSE(parse_copy_response("\0\0\2\0\1"sv));
}

TEST(Authentication, IsWhatWasWritten) {
  using Kind = Authentication::Kind;
  EXPECT_EQ(parse_authentication(server_body('R', append_authentication_ok))->kind, Kind::kOk);
  EXPECT_EQ(parse_authentication(server_body('R', append_authentication_cleartext))->kind,
            Kind::kCleartextPassword);
  const std::array<char, 4> salt = {'\0', 'a', '\xff', 'b'};
  auto body = server_body('R', [&](auto& out) { append_authentication_md5(out, salt); });
  EXPECT_EQ(parse_authentication(body)->kind, Kind::kMd5Password);
  EXPECT_EQ(parse_authentication(body)->salt, salt);

  const auto mechanisms = std::to_array<std::string_view>({"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"});
  body = server_body('R',
                     [&](auto& out) { ASSERT_TRUE(append_authentication_sasl(out, mechanisms)); });
  EXPECT_TRUE(parse_authentication(body)->offers("SCRAM-SHA-256"));
  EXPECT_TRUE(parse_authentication(body)->offers("SCRAM-SHA-256-PLUS"));
  EXPECT_FALSE(parse_authentication(body)->offers("SCRAM-SHA"));
  EXPECT_FALSE(parse_authentication(body)->offers(""));

  body = server_body(
      'R', [](auto& out) { ASSERT_TRUE(append_authentication_sasl_continue(out, "r=x")); });
  EXPECT_EQ(parse_authentication(body)->kind, Kind::kSaslContinue);
  EXPECT_EQ(parse_authentication(body)->data, "r=x");
  body = server_body('R',
                     [](auto& out) { ASSERT_TRUE(append_authentication_sasl_final(out, "v=x")); });
  EXPECT_EQ(parse_authentication(body)->kind, Kind::kSaslFinal);
}

TEST(Authentication, RefusesWrongOnesAndNamesOthers) {
  EXPECT_FALSE(parse_authentication("\0\0\0"sv));
  EXPECT_FALSE(parse_authentication("\0\0\0\0x"sv));
  EXPECT_FALSE(parse_authentication("\0\0\0\5abc"sv));
  EXPECT_FALSE(parse_authentication("\0\0\0\5abcde"sv));
  EXPECT_THAT(parse_authentication("\0\0\0\x0a\0"sv).error().message(),
              HasSubstr("no SASL mechanism is offered"));
  EXPECT_FALSE(parse_authentication("\0\0\0\x0aSCRAM"sv));
  EXPECT_FALSE(parse_authentication("\0\0\0\x0aSCRAM\0"sv));
  EXPECT_FALSE(parse_authentication("\0\0\0\x0aSCRAM\0\0x"sv));
  EXPECT_EQ(authentication_name(parse_authentication("\0\0\0\7"sv)->kind), "GSSAPI");
  EXPECT_EQ(authentication_name(parse_authentication("\0\0\0\x09"sv)->kind), "SSPI");
  EXPECT_EQ(authentication_name(parse_authentication("\0\0\0\x63"sv)->kind), "method 99");
}

TEST(ErrorResponse, IsWhatWasWritten) {
  const ErrorFields fields{.severity = "FATAL",
                           .sqlstate = sqlstate::kTransactionResolutionUnknown,
                           .message = "the COMMIT may have been done",
                           .detail = "d",
                           .hint = "h"};
  for (const char type : {'E', 'N'}) {
    const auto body = server_body(type, [&](auto& out) {
      ASSERT_TRUE(type == 'E' ? append_error(out, fields) : append_notice(out, fields));
    });
    const auto read = parse_error_fields(body);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->severity, "FATAL");
    EXPECT_EQ(read->sqlstate, "08007");
    EXPECT_EQ(read->message, fields.message);
    EXPECT_EQ(read->detail, "d");
    EXPECT_EQ(read->hint, "h");
    EXPECT_TRUE(body.starts_with("SFATAL\0VFATAL\0C08007\0M"sv));
    // A head of it has at least its SQLSTATE, and a whole one isn't cut.
    for (std::size_t size = "SFATAL\0VFATAL\0C08007\0"sv.size(); size < body.size() - 1; ++size) {
      const auto head = std::string_view(body).substr(0, size);
      if (parse_error_fields(head, false)) {
        EXPECT_EQ(parse_error_fields(head, false)->sqlstate, "08007");
      }
      EXPECT_FALSE(parse_error_fields(head));
    }
  }
}

TEST(ErrorResponse, NeedsASeverityAndAnSqlstate) {
  EXPECT_FALSE(parse_error_fields(""));
  EXPECT_FALSE(parse_error_fields("\0"sv));
  EXPECT_FALSE(parse_error_fields("SERROR\0\0"sv));
  EXPECT_FALSE(parse_error_fields("C12345\0\0"sv));
  EXPECT_FALSE(parse_error_fields("SERROR\0C1234\0\0"sv));
  EXPECT_FALSE(parse_error_fields("SERROR\0C1234\n\0\0"sv));
  EXPECT_FALSE(parse_error_fields("SERROR\0C12345\0\0x"sv));
  EXPECT_EQ(parse_error_fields("SFEHLER\0C12345\0Xnew\0\0"sv)->severity, "FEHLER");
  std::string out;
  EXPECT_FALSE(append_error(out, {.severity = "ERROR", .sqlstate = "4000", .message = "m"}));
  EXPECT_FALSE(append_error(out, {.severity = "ERROR", .sqlstate = "40001"}));
  EXPECT_FALSE(append_error(out, {.severity = "ERROR", .sqlstate = "40001", .message = "\0"sv}));
  EXPECT_EQ(out, "");
}

TEST(Rows, AreWhatWasWritten) {
  const auto columns =
      std::to_array<Column>({{.name = "name", .type = 25},
                             {.name = "", .table = 1, .attribute = 2, .type = 23, .size = 4}});
  auto body =
      server_body('T', [&](auto& out) { ASSERT_TRUE(append_row_description(out, columns)); });
  const auto read = parse_row_description(body);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 2U);
  EXPECT_EQ((*read)[0].name, "name");
  EXPECT_EQ((*read)[0].size, -1);
  EXPECT_EQ((*read)[1].table, 1U);
  EXPECT_EQ((*read)[1].attribute, 2);
  EXPECT_EQ((*read)[1].type, 23U);
  for (std::size_t size = 0; size < body.size(); ++size)
    EXPECT_FALSE(parse_row_description(std::string_view(body).substr(0, size)));

  const auto values = std::to_array<Value>({"work_mem", std::nullopt, ""});
  body = server_body('D', [&](auto& out) { ASSERT_TRUE(append_data_row(out, values)); });
  std::array<Value, 3> row;
  ASSERT_TRUE(parse_data_row(body, row));
  EXPECT_EQ(row, values);
  for (std::size_t size = 0; size < body.size(); ++size)
    EXPECT_FALSE(parse_data_row(std::string_view(body).substr(0, size), row));
  EXPECT_THAT(parse_data_row(body, std::span(row).first(2)).error().message(),
              HasSubstr("DataRow, byte 2 of its body: 3 columns, not 2"));
  EXPECT_THAT(parse_data_row("\0\1\xff\xff\xff\xfe"sv, std::span(row).first(1)).error().message(),
              HasSubstr("a value of -2 bytes"));

  EXPECT_THAT(*parse_parameter_description("\0\2\0\0\0\x17\0\0\0\x19"sv), ElementsAre(23U, 25U));
  EXPECT_FALSE(parse_parameter_description("\0\2\0\0\0\x17"sv));
}

}  // namespace
}  // namespace clonesafe::wire::postgres
