#include "guest_agent/control/host_messages.h"

#include "guest_agent/control/control_server.h"
#include "tests/unit/agent/fakes.h"

namespace clonesafe::agent {
namespace {

constexpr char kId[] = "000102030405060708090a0b0c0d0e0f";

std::string refusal_of_line(std::string_view line) {
  const auto message = parse_host_message(line);
  return message ? "(accepted)" : message.error().message();
}

TEST(HostMessages, WelcomeSaysWhichRestore) {
  const auto message = parse_host_message(
      std::string(R"({"type":"welcome","version":1,"host":"clonevm 0.1","restore_id":")") + kId +
      R"(","kind":"clone","new_member":[1,{}]})");
  ASSERT_TRUE(message);
  const Welcome& welcome = std::get<Welcome>(*message);
  EXPECT_EQ(welcome.host, "clonevm 0.1");
  EXPECT_EQ(hex(welcome.words.restore_id), kId);
  EXPECT_EQ(welcome.words.kind, RestoreKind::kClone);
}

TEST(HostMessages, HostMayTellTheTimeAndADocument) {
  const std::string start =
      std::string(R"({"type":"welcome","version":1,"host":"h","kind":"clone","restore_id":")") +
      kId + "\"";
  const auto message =
      parse_host_message(start + R"(,"host_realtime_ns":"18c0ffee","metadata":"a\nb"})");
  ASSERT_TRUE(message);
  const HostWords& words = std::get<Welcome>(*message).words;
  EXPECT_EQ(words.realtime_ns, 0x18c0ffeeU);
  EXPECT_EQ(words.metadata, "a\nb");
  EXPECT_FALSE(std::get<Welcome>(*parse_host_message(start + "}")).words.metadata);
  for (const char* const wrong : {R"(12)", R"("")", R"("12x")", R"("11112222333344445")"}) {
    EXPECT_NE(
        refusal_of_line(start + R"(,"host_realtime_ns":)" + wrong + "}").find("host_realtime_ns"),
        std::string::npos)
        << wrong;
  }
  EXPECT_NE(refusal_of_line(start + R"(,"metadata":")" + std::string(24577, 'x') + "\"}")
                .find("metadata"),
            std::string::npos);
}

TEST(HostMessages, PrepareHasIdAndDeadline) {
  const auto message = parse_host_message(R"({"type":"prepare","id":"a","deadline_ms":2500})");
  ASSERT_TRUE(message);
  EXPECT_EQ(std::get<Prepare>(*message).id, "a");
  EXPECT_EQ(std::get<Prepare>(*message).deadline.count(), 2500);
}

TEST(HostMessages, RefusalOfTheHostCarriesItsReason) {
  const auto message = parse_host_message(R"({"type":"registered","ok":false,"error":"moved"})");
  ASSERT_TRUE(message);
  EXPECT_FALSE(std::get<Registered>(*message).ok);
  EXPECT_EQ(std::get<Registered>(*message).error, "moved");
  EXPECT_TRUE(std::get<Registered>(*parse_host_message(R"({"type":"registered","ok":true})")).ok);
}

TEST(HostMessages, HostThatKeepsSecretsSaysHowMany) {
  const std::string start = R"({"type":"welcome","version":1,"host":"h","kind":"boot",)";
  const std::string id = std::string(R"("restore_id":")") + kId + "\"";
  EXPECT_EQ(std::get<Welcome>(*parse_host_message(start + id + "}")).secret_pages, 0U);
  EXPECT_EQ(
      std::get<Welcome>(*parse_host_message(start + id + R"(,"secret_pages":512})")).secret_pages,
      512U);
  EXPECT_NE(refusal_of_line(start + id + R"(,"secret_pages":"many"})").find("secret_pages"),
            std::string::npos);
}

TEST(HostMessages, AnswerToAListOfSecretsNamesIt) {
  const auto good = parse_host_message(R"({"type":"secrets_registered","id":"7","ok":true})");
  ASSERT_TRUE(good);
  EXPECT_EQ(std::get<SecretsRegistered>(*good).id, "7");
  EXPECT_TRUE(std::get<SecretsRegistered>(*good).ok);
  const auto bad =
      parse_host_message(R"({"type":"secrets_registered","id":"7","ok":false,"error":"moved"})");
  ASSERT_TRUE(bad);
  EXPECT_EQ(std::get<SecretsRegistered>(*bad).error, "moved");
  EXPECT_NE(refusal_of_line(R"({"type":"secrets_registered","ok":true})").find("'id'"),
            std::string::npos);
  EXPECT_NE(refusal_of_line(R"({"type":"secrets_registered","id":"7","ok":false})").find("error"),
            std::string::npos);
  EXPECT_TRUE(
      std::holds_alternative<CheckSecrets>(*parse_host_message(R"({"type":"check_secrets"})")));
}

TEST(HostMessages, WhatIsWrongIsNamed) {
  EXPECT_NE(refusal_of_line("").find("not JSON"), std::string::npos);
  EXPECT_NE(refusal_of_line("nonsense").find("not JSON"), std::string::npos);
  EXPECT_NE(refusal_of_line("[1]").find("object"), std::string::npos);
  EXPECT_NE(refusal_of_line("{}").find("no type"), std::string::npos);
  EXPECT_NE(refusal_of_line(R"({"type":5})").find("no type"), std::string::npos);
  EXPECT_NE(refusal_of_line(R"({"type":"dance"})").find("'dance'"), std::string::npos);
  EXPECT_NE(refusal_of_line(R"({"type":"prepare","id":"a"})").find("deadline_ms"),
            std::string::npos);
  EXPECT_NE(refusal_of_line(R"({"type":"prepare","id":"a","deadline_ms":-1})").find("deadline_ms"),
            std::string::npos);
  EXPECT_NE(refusal_of_line(R"({"type":"prepare","id":"a","deadline_ms":1e9})").find("deadline_ms"),
            std::string::npos);
  EXPECT_NE(refusal_of_line(R"({"type":"prepare","id":")" + std::string(65, 'x') +
                            R"(","deadline_ms":1})")
                .find("'id'"),
            std::string::npos);
  EXPECT_NE(refusal_of_line(R"({"type":"abort"})").find("'id'"), std::string::npos);
  EXPECT_NE(
      refusal_of_line(R"({"type":"resumed","restore_id":"00","kind":"resume"})").find("restore_id"),
      std::string::npos);
  EXPECT_NE(
      refusal_of_line(std::string(R"({"type":"resumed","kind":"x","restore_id":")") + kId + "\"}")
          .find("'kind'"),
      std::string::npos);
  EXPECT_NE(
      refusal_of_line(std::string(R"({"type":"welcome","version":2,"host":"h","kind":"boot",)") +
                      R"("restore_id":")" + kId + "\"}")
          .find("version"),
      std::string::npos);
  EXPECT_NE(refusal_of_line(R"({"type":"registered","ok":false})").find("error"),
            std::string::npos);
}

TEST(HostMessages, DeepNestingIsRefused) {
  EXPECT_NE(refusal_of_line(R"({"type":)" + std::string(5000, '[')).find("not JSON"),
            std::string::npos);
}

TEST(HostMessages, LinesAreAsTheProtocolHasThem) {
  EXPECT_EQ(hello_line("0.1.0", "6.12"),
            "{\"type\":\"hello\",\"version\":1,\"agent\":\"0.1.0\",\"kernel\":\"6.12\"}\n");
  EXPECT_EQ(
      register_line({.address = 0x1234000, .nonce = id(0xab)}),
      "{\"type\":\"register_page\",\"address\":\"1234000\",\"nonce\":\"" + hex(id(0xab)) + "\"}\n");
  EXPECT_EQ(register_secrets_line("7", {{.address = 0x1234000, .nonce = id(0xab)}}),
            "{\"type\":\"register_secrets\",\"id\":\"7\",\"pages\":[{\"address\":\"1234000\","
            "\"nonce\":\"" +
                hex(id(0xab)) + "\"}]}\n");
  EXPECT_EQ(register_secrets_line("8", {}),
            "{\"type\":\"register_secrets\",\"id\":\"8\",\"pages\":[]}\n");
  EXPECT_EQ(prepared_line("a", fail("no \"way\"\n"), {}),
            "{\"type\":\"prepared\",\"id\":\"a\",\"ok\":false,\"error\":\"no \\\"way\\\"\\n\","
            "\"steps\":[]}\n");
  const SafeReport report = {
      .restore_id = id(1),
      .generation = 0x1f,
      .reseed_epoch = 2,
      .degraded = true,
      .sources = {"vmgenid"},
      .repairs = {{.name = "x", .outcome = Outcome::kFailed, .us = 3, .detail = "why"}}};
  EXPECT_EQ(safe_line(report),
            "{\"type\":\"safe\",\"restore_id\":\"" + hex(id(1)) +
                "\",\"generation\":\"1f\",\"reseed_epoch\":\"2\",\"state\":\"degraded\","
                "\"sources\":[\"vmgenid\"],\"repairs\":[{\"name\":\"x\",\"result\":\"failed\","
                "\"us\":3,\"detail\":\"why\"}]}\n");
}

}  // namespace
}  // namespace clonesafe::agent
