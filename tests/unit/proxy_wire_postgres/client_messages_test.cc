#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/wire/postgres/client_messages.h"
#include "tests/unit/proxy_wire_postgres/pieces.h"

namespace clonesafe::wire::postgres {
namespace {

using namespace std::string_view_literals;
using testing::HasSubstr;

template <typename Append>
std::string client_body(char type, Append append) {
  return body_of(Framer::From::kClient, type, append);
}

// Nothing that is cut short, and nothing with a byte more, is such a message.
template <typename Parse>
void expect_exact(const std::string& body, Parse parse) {
  EXPECT_TRUE(parse(body));
  for (std::size_t size = 0; size < body.size(); ++size)
    EXPECT_FALSE(parse(std::string_view(body).substr(0, size))) << size;
  EXPECT_FALSE(parse(body + '\0'));
}

TEST(ClientMessages, QueryIsWhatWasWritten) {
  const auto body = client_body('Q', [](auto& out) { ASSERT_TRUE(append_query(out, "SELECT 1")); });
  EXPECT_EQ(*parse_query(body), "SELECT 1");
  expect_exact(body, parse_query);
  EXPECT_THAT(parse_query("a\0b\0"sv).error().message(),
              HasSubstr("PostgreSQL Query, byte 2 of its body: 2 bytes too many"));
}

TEST(ClientMessages, ParseIsWhatWasWritten) {
  const Parse parse{
      .statement = "s", .query = "SELECT $1", .types = "\0\0\0\x17"sv, .type_count = 1};
  const auto body = client_body('P', [&](auto& out) { ASSERT_TRUE(append_parse(out, parse)); });
  const auto read = parse_parse(body);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->statement, "s");
  EXPECT_EQ(read->query, "SELECT $1");
  EXPECT_EQ(read->type_count, 1);
  EXPECT_EQ(read->types, parse.types);
  expect_exact(body, parse_parse);
  std::string out;
  EXPECT_FALSE(append_parse(out, {.types = "\0"sv, .type_count = 1}));
  EXPECT_EQ(out, "");
}

TEST(ClientMessages, BindGetsOtherNamesAndKeepsItsValues) {
  const auto values = std::to_array<std::optional<std::string_view>>({"1", std::nullopt, ""});
  const auto body = client_body(
      'B', [&](auto& out) { ASSERT_TRUE(append_bind(out, "portal", "statement", values)); });
  const auto names = parse_bind_names(body);
  ASSERT_TRUE(names);
  EXPECT_EQ(names->portal, "portal");
  EXPECT_EQ(names->statement, "statement");
  const auto rest = body.substr(names->size);
  const auto renamed = client_body('B', [&](auto& out) {
    ASSERT_TRUE(append_bind_names(out, "portal", "other", rest.size()));
    out += rest;
  });
  EXPECT_EQ(parse_bind_names(renamed)->statement, "other");
  EXPECT_EQ(renamed.substr(parse_bind_names(renamed)->size), rest);
  EXPECT_THAT(parse_bind_names("portal\0state"sv).error().message(),
              HasSubstr("Bind, byte 7 of its body: text without its terminating zero"));
}

TEST(ClientMessages, TargetsAreStatementsAndPortals) {
  for (const auto kind : {Target::Kind::kStatement, Target::Kind::kPortal}) {
    const Target target{.kind = kind, .name = "n"};
    auto body = client_body('D', [&](auto& out) { ASSERT_TRUE(append_describe(out, target)); });
    EXPECT_EQ(parse_describe(body)->kind, kind);
    EXPECT_EQ(parse_describe(body)->name, "n");
    expect_exact(body, parse_describe);
    body = client_body('C', [&](auto& out) { ASSERT_TRUE(append_close(out, target)); });
    EXPECT_EQ(parse_close(body)->kind, kind);
    EXPECT_EQ(parse_close(body)->name, "n");
    expect_exact(body, parse_close);
  }
  EXPECT_THAT(parse_close("Xn\0"sv).error().message(), HasSubstr("'X' is neither 'S' nor 'P'"));
  EXPECT_THAT(parse_describe("\nn\0"sv).error().message(), HasSubstr("0x0a is neither"));
}

TEST(ClientMessages, ExecuteHasALimitOfRows) {
  const auto body = client_body(
      'E', [](auto& out) { ASSERT_TRUE(append_execute(out, {.portal = "p", .max_rows = 7})); });
  EXPECT_EQ(parse_execute(body)->portal, "p");
  EXPECT_EQ(parse_execute(body)->max_rows, 7);
  expect_exact(body, parse_execute);
}

TEST(ClientMessages, PasswordsAndSaslShareALetter) {
  auto body = client_body('p', [](auto& out) { ASSERT_TRUE(append_password(out, "secret")); });
  EXPECT_EQ(*parse_password(body), "secret");
  expect_exact(body, parse_password);

  for (const std::optional<std::string_view> response :
       {std::optional<std::string_view>("n,,n=,r=x"), std::optional<std::string_view>(""),
        std::optional<std::string_view>()}) {
    body = client_body('p', [&](auto& out) {
      ASSERT_TRUE(
          append_sasl_initial_response(out, {.mechanism = "SCRAM-SHA-256", .response = response}));
    });
    EXPECT_EQ(parse_sasl_initial_response(body)->mechanism, "SCRAM-SHA-256");
    EXPECT_EQ(parse_sasl_initial_response(body)->response, response);
    expect_exact(body, parse_sasl_initial_response);
  }
  EXPECT_THAT(parse_sasl_initial_response("m\0\xff\xff\xff\xfe"sv).error().message(),
              HasSubstr("a response of -2 bytes"));
  EXPECT_FALSE(parse_sasl_initial_response("m\0\x7f\xff\xff\xff"sv));

  body = client_body('p', [](auto& out) { ASSERT_TRUE(append_sasl_response(out, "c=biws")); });
  EXPECT_EQ(body, "c=biws");
}

TEST(ClientMessages, OthersAreReadAsFarAsNeeded) {
  EXPECT_EQ(*parse_function_call("\0\0\1\0more"sv), 256U);
  EXPECT_FALSE(parse_function_call("\0\0\1"sv));
  const auto body = client_body('f', [](auto& out) { ASSERT_TRUE(append_copy_fail(out, "why")); });
  EXPECT_EQ(*parse_copy_fail(body), "why");
  EXPECT_EQ(client_body('S', append_sync), "");
  EXPECT_EQ(client_body('H', append_flush), "");
  EXPECT_EQ(client_body('c', append_copy_done), "");
  EXPECT_EQ(client_body('X', append_terminate), "");
}

TEST(ClientMessages, ATextWithAZeroByteIsNeverWritten) {
  std::string out = "before";
  EXPECT_THAT(append_query(out, "SELECT\0 1"sv).error().message(),
              HasSubstr("Query to be sent: a zero byte in a text"));
  EXPECT_FALSE(append_parse(out, {.statement = "\0"sv}));
  EXPECT_FALSE(append_bind_names(out, "", "\0"sv, 0));
  EXPECT_FALSE(append_password(out, "\0"sv));
  EXPECT_FALSE(append_bind_names(out, "", "", kMaxLength));
  EXPECT_EQ(out, "before");
}

}  // namespace
}  // namespace clonesafe::wire::postgres
