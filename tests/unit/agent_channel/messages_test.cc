#include "vmm_device/agent_channel/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clonesafe/abi/secret_page.h"

namespace clonesafe::agent_channel {
namespace {

using testing::HasSubstr;

const std::string kId = "000102030405060708090a0b0c0d0e0f";
const std::string kRepair = R"({"name":"kernel rng","result":"ok","us":12,"detail":""})";

std::string safe_line(std::string_view repairs, std::string_view sources = R"(["restore page"])") {
  return R"({"type":"safe","restore_id":")" + kId +
         R"(","generation":"fedcba9876543210","reseed_epoch":"1","state":"safe","sources":)" +
         std::string(sources) + R"(,"repairs":)" + std::string(repairs) + "}";
}

std::string error_of(const std::string& line) {
  auto message = parse_guest_message(line);
  return message ? "no error" : message.error().message();
}

TEST(GuestMessage, HelloIsRead) {
  auto message = parse_guest_message(
      R"({"type":"hello","version":1,"agent":"0.1.0","kernel":"6.1.0","x":[]})");
  ASSERT_TRUE(message);
  const auto& hello = std::get<Hello>(*message);
  EXPECT_EQ(hello.version, 1u);
  EXPECT_EQ(hello.agent, "0.1.0");
  EXPECT_EQ(hello.kernel, "6.1.0");
}

TEST(GuestMessage, RegisterPageIsRead) {
  auto message =
      parse_guest_message(R"({"type":"register_page","address":"7fff000","nonce":")" + kId + "\"}");
  ASSERT_TRUE(message);
  const auto& page = std::get<RegisterPage>(*message);
  EXPECT_EQ(page.address, GuestAddress(0x7fff000));
  EXPECT_EQ(page.nonce[1], 1);
  EXPECT_EQ(page.nonce[15], 15);
}

std::string secrets_line(std::string_view pages) {
  return R"({"type":"register_secrets","id":"7","pages":)" + std::string(pages) + "}";
}

TEST(GuestMessage, RegisterSecretsIsRead) {
  const std::string page = R"({"address":"7fff000","nonce":")" + kId + "\"}";
  auto message = parse_guest_message(secrets_line("[" + page + "," + page + "]"));
  ASSERT_TRUE(message) << message.error().message();
  const auto& secrets = std::get<RegisterSecrets>(*message);
  EXPECT_EQ(secrets.id, "7");
  ASSERT_EQ(secrets.pages.size(), 2u);
  EXPECT_EQ(secrets.pages[1].address, GuestAddress(0x7fff000));
  EXPECT_EQ(secrets.pages[1].nonce[15], 15);
  EXPECT_TRUE(std::get<RegisterSecrets>(*parse_guest_message(secrets_line("[]"))).pages.empty());

  EXPECT_EQ(error_of(secrets_line("{}")), "message register_secrets: \"pages\" is not a list");
  EXPECT_EQ(error_of(secrets_line("[1]")), "message register_secrets: pages is not an object");
  EXPECT_EQ(error_of(secrets_line("[" + page + R"(,{"address":"1000"}])")),
            "message register_secrets: pages: \"nonce\" is missing");
  EXPECT_EQ(error_of(R"({"type":"register_secrets","pages":[]})"),
            "message register_secrets: \"id\" is missing");
}

// A whole list at the limit fits into one line.
TEST(GuestMessage, NumberOfSecretsIsBounded) {
  const std::string page = R"({"address":"fffffffffffff000","nonce":")" + kId + "\"}";
  std::string pages = page;
  for (unsigned i = 1; i < CLONESAFE_SECRET_PAGES_MAX; ++i) pages += "," + page;
  EXPECT_LT(secrets_line("[" + pages + "]").size(), CLONESAFE_HOST_LINE_MAX);
  EXPECT_EQ(error_of(secrets_line("[" + pages + "]")), "no error");
  EXPECT_EQ(error_of(secrets_line("[" + pages + "," + page + "]")),
            "message register_secrets: \"pages\" has too many elements");
}

TEST(GuestMessage, PreparedIsReadWithAnErrorOnlyWhenItFailed) {
  auto good =
      parse_guest_message(R"({"type":"prepared","id":"a","ok":true,"steps":[)" + kRepair + "]}");
  ASSERT_TRUE(good);
  EXPECT_TRUE(std::get<Prepared>(*good).ok);
  EXPECT_EQ(std::get<Prepared>(*good).steps.size(), 1u);
  auto bad =
      parse_guest_message(R"({"type":"prepared","id":"a","ok":false,"error":"busy","steps":[]})");
  ASSERT_TRUE(bad);
  EXPECT_EQ(std::get<Prepared>(*bad).error, "busy");
  EXPECT_EQ(error_of(R"({"type":"prepared","id":"a","ok":false,"steps":[]})"),
            "message prepared: \"error\" is missing");
}

TEST(GuestMessage, SafeIsRead) {
  auto message = parse_guest_message(safe_line("[" + kRepair + "]"));
  ASSERT_TRUE(message);
  const auto& report = std::get<SafeReport>(*message);
  EXPECT_EQ(report.restore_id[2], 2);
  EXPECT_EQ(report.generation, 0xfedcba9876543210u);
  EXPECT_EQ(report.reseed_epoch, 1u);
  EXPECT_EQ(report.state, "safe");
  EXPECT_THAT(report.sources, testing::ElementsAre("restore page"));
  ASSERT_EQ(report.repairs.size(), 1u);
  EXPECT_EQ(report.repairs[0].name, "kernel rng");
  EXPECT_EQ(report.repairs[0].result, "ok");
  EXPECT_EQ(report.repairs[0].us, 12u);
}

TEST(GuestMessage, RefusalsNameTheMember) {
  EXPECT_THAT(error_of("x"), HasSubstr("not JSON"));
  EXPECT_THAT(error_of(""), HasSubstr("not JSON"));
  EXPECT_THAT(error_of("{} {}"), HasSubstr("not JSON"));
  EXPECT_THAT(error_of("{\"type\":\"\xff\"}"), HasSubstr("not JSON"));
  EXPECT_EQ(error_of("[]"), "message is not an object");
  EXPECT_EQ(error_of("{}"), "message: \"type\" is missing");
  EXPECT_EQ(error_of(R"({"type":7})"), "message: \"type\" is not a string");
  EXPECT_EQ(error_of(R"({"type":"reboot"})"), "message of an unknown type \"reboot\"");
  EXPECT_EQ(error_of(R"({"type":"hello","version":-1,"agent":"","kernel":""})"),
            "message hello: \"version\" is not a whole number");
  EXPECT_EQ(error_of(R"({"type":"hello","version":1.5,"agent":"","kernel":""})"),
            "message hello: \"version\" is not a whole number");
  EXPECT_EQ(error_of(R"({"type":"hello","version":1,"agent":"","kernel":null})"),
            "message hello: \"kernel\" is not a string");
  EXPECT_EQ(error_of(R"({"type":"register_page","address":"0x1000","nonce":"00"})"),
            "message register_page: \"address\" is not a string of lower-case hexadecimal digits");
  EXPECT_EQ(error_of(R"({"type":"register_page","address":4096,"nonce":"00"})"),
            "message register_page: \"address\" is not a string of lower-case hexadecimal digits");
  EXPECT_EQ(error_of(R"({"type":"register_page","address":"","nonce":"00"})"),
            "message register_page: \"address\" is not a 64-bit number");
  EXPECT_EQ(error_of(R"({"type":"register_page","address":"10000000000000000","nonce":"00"})"),
            "message register_page: \"address\" is not a 64-bit number");
  EXPECT_EQ(error_of(R"({"type":"register_page","address":"1000","nonce":"00"})"),
            "message register_page: \"nonce\" is not 16 bytes");
  EXPECT_EQ(error_of(safe_line("{}")), "message safe: \"repairs\" is not a list");
  EXPECT_EQ(error_of(safe_line("[1]")), "message safe: repairs is not an object");
  EXPECT_EQ(error_of(safe_line(R"([{"name":"a","result":"maybe","us":1,"detail":""}])")),
            "message safe: repairs: \"result\" is none of the known values");
  EXPECT_EQ(error_of(safe_line("[]", "[1]")),
            "message safe: \"sources\" holds something else than a short string");
  EXPECT_EQ(error_of(R"({"type":"prepared","id":"a","ok":1,"steps":[]})"),
            "message prepared: \"ok\" is not true or false");
}

TEST(GuestMessage, LengthsCountsAndDepthAreBounded) {
  std::string many = kRepair;
  for (int i = 0; i < 256; ++i) many += "," + kRepair;
  EXPECT_EQ(error_of(safe_line("[" + many + "]")),
            "message safe: \"repairs\" has too many elements");
  const std::string long_detail(1025, 'x');
  EXPECT_EQ(
      error_of(safe_line(R"([{"name":"a","result":"ok","us":1,"detail":")" + long_detail + "\"}]")),
      "message safe: repairs: \"detail\" is too long");
  const std::string deep = std::string(9, '[') + std::string(9, ']');
  EXPECT_THAT(error_of(R"({"type":"hello","x":)" + deep + "}"), HasSubstr("not JSON"));
}

TEST(GuestMessage, ControlCharactersDoNotReachATerminal) {
  auto message = parse_guest_message(
      "{\"type\":\"hello\",\"version\":1,\"agent\":\"a\\u001b[2Jb\\u007f\\u009bc\","
      "\"kernel\":\"\\u00e9\\n\"}");
  ASSERT_TRUE(message);
  EXPECT_EQ(std::get<Hello>(*message).agent, "a [2Jb  c");
  EXPECT_EQ(std::get<Hello>(*message).kernel, "\u00e9 ");
}

TEST(HostMessage, LinesAreAsTheProtocolSays) {
  RestoreId id{};
  for (std::uint8_t i = 0; i < 16; ++i) id[i] = i;
  EXPECT_EQ(welcome_line(1, "clonevm 0.1", id, RestoreKind::kClone, 0),
            R"({"type":"welcome","version":1,"host":"clonevm 0.1","restore_id":")" + kId +
                "\",\"kind\":\"clone\"}\n");
  EXPECT_THAT(welcome_line(1, "h", id, RestoreKind::kClone, 512),
              HasSubstr("\"kind\":\"clone\",\"secret_pages\":512}"));
  EXPECT_EQ(secrets_registered_line("7", {}),
            "{\"type\":\"secrets_registered\",\"id\":\"7\",\"ok\":true}\n");
  EXPECT_EQ(secrets_registered_line("7", fail("moved")),
            "{\"type\":\"secrets_registered\",\"id\":\"7\",\"ok\":false,\"error\":\"moved\"}\n");
  EXPECT_EQ(check_secrets_line(), "{\"type\":\"check_secrets\"}\n");
  EXPECT_EQ(registered_line({}), "{\"type\":\"registered\",\"ok\":true}\n");
  EXPECT_EQ(registered_line(fail("no \"room\"")),
            "{\"type\":\"registered\",\"ok\":false,\"error\":\"no \\\"room\\\"\"}\n");
  EXPECT_EQ(prepare_line("s1", std::chrono::milliseconds(1500)),
            "{\"type\":\"prepare\",\"id\":\"s1\",\"deadline_ms\":1500}\n");
  EXPECT_EQ(resumed_line(id, RestoreKind::kResume),
            R"({"type":"resumed","restore_id":")" + kId + "\",\"kind\":\"resume\"}\n");
  EXPECT_EQ(abort_line("s1"), "{\"type\":\"abort\",\"id\":\"s1\"}\n");
}

TEST(LineReader, CutsLinesWhereverTheStreamWasCut) {
  const std::string stream = "one\n\nthree\nfo";
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    LineReader reader;
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      reader.add(stream.substr(at, step));
      while (true) {
        auto line = reader.next();
        ASSERT_TRUE(line);
        if (!*line) break;
        lines.emplace_back(**line);
      }
    }
    EXPECT_THAT(lines, testing::ElementsAre("one", "", "three")) << step;
  }
}

TEST(LineReader, LimitIsWithTheNewline) {
  LineReader fits;
  fits.add(std::string(CLONESAFE_HOST_LINE_MAX - 1, 'x') + "\n");
  auto line = fits.next();
  ASSERT_TRUE(line);
  EXPECT_EQ((*line)->size(), CLONESAFE_HOST_LINE_MAX - 1);

  LineReader too_long;
  too_long.add(std::string(CLONESAFE_HOST_LINE_MAX - 1, 'x'));
  EXPECT_TRUE(too_long.next());
  too_long.add("x");
  EXPECT_FALSE(too_long.next()) << "waits for a newline that can't help any more";
}

}  // namespace
}  // namespace clonesafe::agent_channel
