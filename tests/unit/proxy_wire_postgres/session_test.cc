// A whole session with a real server, read as a proxy reads it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/postgres/authentication.h"
#include "proxy/wire/postgres/client_messages.h"
#include "proxy/wire/postgres/error_response.h"
#include "proxy/wire/postgres/rows.h"
#include "proxy/wire/postgres/server_messages.h"
#include "proxy/wire/postgres/startup.h"
#include "tests/unit/proxy_wire_postgres/captured.h"
#include "tests/unit/proxy_wire_postgres/pieces.h"

namespace clonesafe::wire::postgres {
namespace {

using testing::ElementsAre;

TEST(Session, OfPsqlIsReadFromItsServer) {
  const auto framed = frame(Framer(Framer::From::kServer), captured::kPsqlServer, 11);
  std::vector<std::string> tags;
  std::vector<Authentication::Kind> authentications;
  std::map<std::string, std::string> settings;
  std::string sqlstate;
  for (const auto& message : framed.messages) {
    const auto body = message.body();
    switch (static_cast<ServerMessage>(message.type)) {
      case ServerMessage::kAuthentication:
        authentications.push_back(parse_authentication(body)->kind);
        break;
      case ServerMessage::kParameterStatus: {
        const auto parameter = parse_parameter_status(body);
        settings.emplace(parameter->name, parameter->value);
        break;
      }
      case ServerMessage::kBackendKeyData:
        EXPECT_EQ(parse_backend_key_data(body, kVersion30)->key.size(), kKeySize30);
        break;
      case ServerMessage::kCommandComplete:
        tags.emplace_back(*parse_command_complete(body));
        break;
      case ServerMessage::kErrorResponse:
        sqlstate = parse_error_fields(body)->sqlstate;
        break;
      case ServerMessage::kRowDescription:
        EXPECT_EQ(parse_row_description(body)->at(1).name, "none");
        break;
      case ServerMessage::kDataRow: {
        std::array<Value, 2> row;
        ASSERT_TRUE(parse_data_row(body, row));
        EXPECT_THAT(row, ElementsAre(Value("1"), Value()));
        break;
      }
      case ServerMessage::kCopyOutResponse:
        EXPECT_EQ(parse_copy_response(body)->columns, 1);
        break;
      default:
        break;
    }
  }
  EXPECT_THAT(authentications,
              ElementsAre(Authentication::Kind::kSasl, Authentication::Kind::kSaslContinue,
                          Authentication::Kind::kSaslFinal, Authentication::Kind::kOk));
  // The LISTEN was told to be complete, and yet undone by the error behind it in the same Query.
  EXPECT_THAT(tags, ElementsAre("SELECT 1", "LISTEN", "COPY 1"));
  EXPECT_EQ(sqlstate, "22012");
  EXPECT_EQ(settings.size(), 13U);
  EXPECT_EQ(settings["standard_conforming_strings"], "on");
}

TEST(Session, OfPsqlIsReadFromItsClient) {
  auto input = captured::kPsqlClient;
  StartupFramer startup;
  ASSERT_TRUE(*startup.next(input));
  const auto framed = frame(Framer(Framer::From::kClient), input, 1);
  std::string types;
  for (const auto& message : framed.messages) types += message.type;
  EXPECT_EQ(types, "ppQQQX");
  EXPECT_EQ(parse_sasl_initial_response(framed.messages[0].body())->mechanism, "SCRAM-SHA-256");
  EXPECT_EQ(*parse_query(framed.messages[3].body()), "LISTEN news; SELECT 1/0");
}

TEST(Session, OfPgbenchIsWrittenByteForByte) {
  const auto framed = frame(Framer(Framer::From::kClient), captured::kPgbenchClient, 4096);
  std::string out;
  for (const auto& message : framed.messages) {
    const auto body = message.body();
    switch (static_cast<ClientMessage>(message.type)) {
      case ClientMessage::kParse:
        ASSERT_TRUE(append_parse(out, *parse_parse(body)));
        break;
      case ClientMessage::kBind: {
        const auto names = parse_bind_names(body);
        const auto rest = std::string_view(body).substr(names->size);
        ASSERT_TRUE(append_bind_names(out, names->portal, names->statement, rest.size()));
        out += rest;
        break;
      }
      case ClientMessage::kDescribe:
        ASSERT_TRUE(append_describe(out, *parse_describe(body)));
        break;
      case ClientMessage::kExecute:
        ASSERT_TRUE(append_execute(out, *parse_execute(body)));
        break;
      case ClientMessage::kSync:
        append_sync(out);
        break;
      case ClientMessage::kTerminate:
        append_terminate(out);
        break;
      default:
        FAIL() << message.type;
    }
  }
  EXPECT_EQ(out, captured::kPgbenchClient);
}

}  // namespace
}  // namespace clonesafe::wire::postgres
